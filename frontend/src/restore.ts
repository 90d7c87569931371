// The page "Restore": a picture, what is known of it, and what it may have been.

import { type Field, type Item, type Job, type Order, Refused, type Value, cancel, follow, item, submit, systems, thingAddress, upload, uploadAddress } from "./api";
import { byId, make } from "./dom";
import { type Easel, type Ink, easel } from "./easel";
import { type Control, control } from "./fields";

const SYSTEM = "posterior";
const FIRST_ROW = ["steps", "count", "seed"];
const HINTS: Record<string, string> = {
  inpaint: "Paint over what should be drawn anew.",
  stroke: "Paint roughly what you would like to see.",
  ct: "X-ray projections of a phantom; nothing to paint.",
  mri: "Some frequencies of a phantom; nothing to paint.",
};

const words = (error: unknown): string => (error instanceof Refused ? error.message : "This page has a fault; its console says more.");
const inkOf = (task: string): Ink => (task === "inpaint" ? "mask" : task === "stroke" ? "paint" : "none");

async function open(): Promise<void> {
  const error = byId("error", HTMLParagraphElement);
  const say = (sentence: string): void => {
    error.textContent = sentence;
    error.hidden = sentence === "";
  };
  const form = (await systems()).find((each) => each.id === SYSTEM);
  const tasks = form?.fields.find((field) => field.mode);
  if (!form || !tasks) {
    say("The system posterior is not installed.");
    return;
  }
  const table = easel();
  const controls = settings(form.fields);
  const task = (): string => document.querySelector<HTMLInputElement>("input[name=task]:checked")?.value ?? "";
  byId("tasks", HTMLFieldSetElement).append(
    ...tasks.choices
      .filter((choice) => choice.takes !== "text")
      .map((choice) => make("label", { class: "pill" }, make("input", { type: "radio", name: "task", value: choice.value }), make("span", {}, choice.label))),
  );

  function showTask(): void {
    const scan = tasks!.choices.find((choice) => choice.value === task())?.takes === "nothing";
    table.ink(inkOf(task()));
    byId("canvas", HTMLCanvasElement).hidden = scan;
    for (const each of document.querySelectorAll<HTMLElement>(".easel-tools")) each.hidden = scan;
    byId("colour-field", HTMLLabelElement).hidden = task() !== "stroke";
    byId("hint", HTMLParagraphElement).textContent = HINTS[task()] ?? "The picture is degraded first, and then restored.";
    say("");
  }

  byId("tasks", HTMLFieldSetElement).addEventListener("change", showTask);
  const first = document.querySelector<HTMLInputElement>("input[name=task][value=inpaint]") ?? document.querySelector<HTMLInputElement>("input[name=task]");
  if (first) first.checked = true;
  showTask();
  pictures(table, say);

  let running = "";
  const heard = new Map<string, Job>(); // a quick job's news may come before the answer that names it
  const stop = byId("cancel", HTMLButtonElement);
  const results = byId("results", HTMLElement);

  async function start(): Promise<void> {
    say("");
    const order: Order = { system: SYSTEM, inputs: [], settings: { [tasks!.name]: task(), compare: task() !== "stroke" }, pictures: {} };
    for (const [name, each] of controls) {
      const value = each.read();
      if (value !== null) order.settings[name] = value;
    }
    if (tasks!.choices.find((choice) => choice.value === task())?.takes === "picture") {
      if (table.empty()) return say(task() === "stroke" ? "Paint something first." : "Choose a picture first.");
      if (inkOf(task()) === "mask" && !table.marked()) return say("Paint over what should be drawn anew first.");
      order.inputs = [{ upload: (await upload(new File([await table.picture()], "picture.png", { type: "image/png" }))).id }];
      if (inkOf(task()) === "mask") order.pictures = { mask: { upload: (await upload(new File([await table.mask()], "mask.png", { type: "image/png" }))).id } };
    }
    running = (await submit(order)).id;
    stop.disabled = false;
    results.prepend(waiting(running, task()));
    const news = heard.get(running);
    if (news) change(news);
  }

  function change(job: Job): void {
    heard.set(job.id, job);
    const place = results.querySelector<HTMLElement>(`[data-job="${job.id}"]`);
    if (!place) return;
    const [picture, line] = [place.querySelector("img")!, place.querySelector<HTMLElement>(".work-line")!];
    if (job.preview) {
      picture.src = job.preview;
      picture.hidden = false;
    }
    line.textContent = job.state === "running" && job.total > 0 ? `${job.stage} ${job.step} of ${job.total}` : job.state === "failed" ? job.error : job.state;
    if (job.state === "queued" || job.state === "running") return;
    stop.disabled = true;
    if (job.state === "done") void item(job.item).then((made) => place.replaceWith(shown(made)), (fault: unknown) => say(words(fault)));
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
    start().catch((fault: unknown) => say(words(fault)));
  });
  stop.addEventListener("click", () => void cancel(running).catch((fault: unknown) => say(words(fault))));
}

function settings(fields: Field[]): Map<string, Control> {
  const controls = new Map<string, Control>();
  for (const field of fields) {
    const made = field.mode || field.name === "compare" ? null : control(field);
    if (!made) continue;
    controls.set(field.name, made);
    byId(FIRST_ROW.includes(field.name) ? "numbers" : "further-fields", HTMLDivElement).append(made.element);
  }
  return controls;
}

/** The buttons that bring a picture onto the easel. */
function pictures(table: Easel, say: (sentence: string) => void): void {
  const file = byId("file", HTMLInputElement);
  const bring = async (address: string): Promise<void> => {
    const picture = new Image();
    picture.src = address;
    await picture.decode();
    table.show(picture);
    say("");
  };
  const attempt = (deed: () => Promise<void>) => () => void deed().catch((error: unknown) => say(words(error)));
  byId("sample", HTMLButtonElement).addEventListener(
    "click",
    attempt(async () => {
      const answer = await fetch(`/api/samples?index=${Math.floor(Math.random() * 10_000)}`, { method: "POST" });
      if (!answer.ok) throw new Refused("The studio does not answer. Is it still running?");
      await bring(uploadAddress(((await answer.json()) as { id: string }).id));
    }),
  );
  byId("choose", HTMLButtonElement).addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    const chosen = file.files?.[0];
    file.value = "";
    if (chosen) attempt(async () => bring(uploadAddress((await upload(chosen)).id)))();
  });
  byId("blank", HTMLButtonElement).addEventListener("click", () => table.show(null));
  byId("undo", HTMLButtonElement).addEventListener("click", () => table.undo());
}

function waiting(job: string, task: string): HTMLElement {
  return make(
    "article",
    { class: "work", "data-job": job },
    make("div", { class: "work-picture" }, make("img", { alt: "", hidden: true })),
    make("div", { class: "work-words" }, make("p", { class: "work-title" }, task), make("p", { class: "work-line" }, "queued")),
  );
}

function shown(made: Item): HTMLElement {
  const figures = made.things.map((thing, index) =>
    make("figure", {}, make("img", { src: thingAddress(made.id, index), alt: thing.text || "A picture", width: thing.width, height: thing.height }), make("figcaption", {}, thing.text || "a picture that may have been")),
  );
  const facts = Object.entries(made.settings).filter(([name]) => name !== "compare").map(([name, value]: [string, Value]) => `${name} ${String(value)}`).join(" · ");
  return make("article", { class: "restored", "data-item": made.id }, make("div", { class: "restored-pictures" }, ...figures), make("p", { class: "item-facts" }, `${facts} · ${made.seconds.toFixed(1)} s`));
}

document.addEventListener("submit", (event) => event.preventDefault()); // before the systems are known, too
open().catch((error: unknown) => {
  byId("error", HTMLParagraphElement).textContent = words(error);
  byId("error", HTMLParagraphElement).hidden = false;
  if (!(error instanceof Refused)) throw error;
});
