// The page "Solvers": one prompt and one noise, all solvers side by side.

import { type Job, type Order, Refused, cancel, follow, item, submit, systems, thingAddress } from "./api";
import { byId, make } from "./dom";

const SYSTEM = "fast_sampling";
const AT_ONCE = 3;

interface Card {
  solver: string;
  element: HTMLElement;
  picture: HTMLImageElement;
  line: HTMLElement;
  job: string;
}

const words = (error: unknown): string => (error instanceof Refused ? error.message : "This page has a fault; its console says more.");

async function open(): Promise<void> {
  const error = byId("error", HTMLParagraphElement);
  const say = (sentence: string): void => {
    error.textContent = sentence;
    error.hidden = sentence === "";
  };
  const form = (await systems()).find((each) => each.id === SYSTEM);
  const solver = form?.fields.find((field) => field.name === "solver");
  if (!form || !solver) {
    say("The system fast_sampling is not installed.");
    return;
  }
  const prior = byId("prior", HTMLSelectElement);
  const part = form.parts.find((each) => each.name === "prior");
  prior.append(...(part?.choices ?? []).map((each) => make("option", { value: each }, each)));
  if (part) prior.value = part.choices.includes("unidiffuser") ? "unidiffuser" : part.default;
  const [steps, shown] = [byId("steps", HTMLInputElement), byId("steps-shown", HTMLOutputElement)];
  steps.addEventListener("input", () => (shown.textContent = steps.value));
  const grid = byId("grid", HTMLOListElement);
  const stop = byId("cancel", HTMLButtonElement);
  const cards = solver.choices.map((choice) => card(choice.value, choice.label));
  grid.append(...cards.map((each) => each.element));
  let waiting: Card[] = [];
  const running = new Map<string, Card>();
  const heard = new Map<string, Job>(); // a quick job's news may come before the answer that names it

  function order(one: Card): Order {
    const settings: Order["settings"] = { [solver!.name]: one.solver, steps: Number(steps.value) };
    for (const name of ["guidance", "seed"]) settings[name] = byId(name, HTMLInputElement).valueAsNumber;
    const prompt = byId("prompt", HTMLInputElement).value.trim();
    return { system: SYSTEM, inputs: prompt ? [{ text: prompt }] : [], settings, parts: part ? { prior: prior.value } : {} };
  }

  async function next(): Promise<void> {
    while (running.size < AT_ONCE) {
      const one = waiting.shift();
      if (!one) break;
      const place = Symbol().toString() + one.solver; // holds the place until the server has named the job
      running.set(place, one);
      try {
        one.job = (await submit(order(one))).id;
        running.set(one.job, one);
        const news = heard.get(one.job);
        if (news) queueMicrotask(() => change(news));
      } catch (fault) {
        waiting = [];
        say(words(fault));
      }
      running.delete(place);
    }
    stop.disabled = running.size === 0;
  }

  async function start(): Promise<void> {
    say("");
    await Promise.all([...running.keys()].map((job) => cancel(job).catch(() => undefined)));
    running.clear();
    for (const each of cards) {
      each.line.textContent = "waiting";
      each.element.dataset["state"] = "queued";
      each.job = "";
    }
    heard.clear();
    waiting = [...cards];
    await next();
  }

  function change(job: Job): void {
    heard.set(job.id, job);
    const one = cards.find((each) => each.job !== "" && each.job === job.id);
    if (!one) return;
    one.element.dataset["state"] = job.state;
    if (job.preview) one.picture.src = job.preview;
    if (job.state === "running") one.line.textContent = job.total > 0 ? `step ${job.step} of ${job.total}` : "getting ready";
    if (job.state === "queued" || job.state === "running") return;
    running.delete(job.id);
    if (job.state === "done") void finish(one, job);
    else one.line.textContent = job.state === "failed" ? job.error : "cancelled";
    void next();
  }

  async function finish(one: Card, job: Job): Promise<void> {
    one.picture.src = thingAddress(job.item, 0);
    const made = await item(job.item);
    one.line.textContent = made.things[0]?.text ? `${job.seconds.toFixed(2)} s · ${made.things[0].text}` : `${job.seconds.toFixed(2)} s`;
  }

  follow(
    (jobs) => jobs.forEach(change),
    change,
    (lost) => {
      byId("place", HTMLParagraphElement).textContent = lost ? "the studio does not answer" : "on this machine only";
      byId("place", HTMLParagraphElement).classList.toggle("lost", lost);
    },
  );
  byId("form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    void start();
  });
  steps.addEventListener("change", () => {
    if (cards.some((each) => each.job !== "")) void start();
  });
  stop.addEventListener("click", () => {
    waiting = [];
    for (const job of running.keys()) void cancel(job).catch((fault: unknown) => say(words(fault)));
  });
}

function card(solver: string, label: string): Card {
  const picture = make("img", { alt: `Drawn by ${label}` });
  const line = make("p", { class: "solver-line" });
  const element = make("li", { class: "solver", "data-solver": solver }, make("div", { class: "solver-picture" }, picture), make("h2", {}, label), line);
  return { solver, element, picture, line, job: "" };
}

document.addEventListener("submit", (event) => event.preventDefault()); // before the systems are known, too
open().catch((error: unknown) => {
  byId("error", HTMLParagraphElement).textContent = words(error);
  byId("error", HTMLParagraphElement).hidden = false;
  if (!(error instanceof Refused)) throw error;
});
