// The page "Words": talking to a language model, and seeing how texts are written several tokens a pass.

import { type Conversation, type Job, type Order, Refused, type SystemForm, cancel, follow, item, submit, systems, talking, traces } from "./api";
import { byId, make } from "./dom";
import { type Control, control } from "./fields";
import { conversation } from "./talk";
import { type Trace, traced } from "./trace";

const TALK = "talk";
const VIEWS: Record<string, { label: string; sentence: string }> = {
  [TALK]: { label: "Talk", sentence: "A language model answers, token by token, on this machine." },
  speculative: { label: "Drafts", sentence: "A small model drafts a few tokens, the large one judges them all in one pass: the same text in fewer passes." },
  cllm: { label: "Jacobi", sentence: "All tokens of a window are guessed at once and corrected together, pass after pass, until they stand." },
};
const FIRST_ROW = ["draft_length", "window", "max_new_tokens", "temperature"];
const QUESTION = "Work out (41 + 33) - 14.";

const words = (error: unknown): string => (error instanceof Refused ? error.message : "This page has a fault; its console says more.");
const number = (id: string): number => byId(id, HTMLInputElement).valueAsNumber;

async function open(): Promise<void> {
  const error = byId("error", HTMLParagraphElement);
  const say = (sentence: string): void => {
    error.textContent = sentence;
    error.hidden = sentence === "";
  };
  const [models, forms] = await Promise.all([talking(), systems()]);
  const stop = byId("cancel", HTMLButtonElement);
  const model = byId("system", HTMLSelectElement);
  model.append(...models.map((each) => make("option", { value: each.id }, each.title)));
  const settings = (): Omit<Conversation, "messages"> => ({ system: model.value, temperature: number("temperature"), top_p: number("top-p"), most: number("most"), seed: Math.floor(Math.random() * 2 ** 31) });
  const talk = conversation(settings, () => byId("rules", HTMLTextAreaElement).value.trim(), say, (busy) => (stop.disabled = !busy));

  const shown = [...(models.length > 0 ? [TALK] : []), ...Object.keys(VIEWS).filter((id) => forms.some((form) => form.id === id))];
  if (shown.length === 0) return say("No system with a language model is installed yet.");
  const view = (): string => document.querySelector<HTMLInputElement>("input[name=view]:checked")?.value ?? shown[0]!;
  byId("views", HTMLFieldSetElement).append(
    ...shown.map((id, index) => make("label", { class: "pill" }, make("input", { type: "radio", name: "view", value: id, checked: index === 0 }), make("span", {}, VIEWS[id]!.label))),
  );
  byId("question", HTMLTextAreaElement).value = QUESTION;
  let controls = new Map<string, Control>();

  function showView(): void {
    const id = view();
    const talks = id === TALK;
    byId("sentence", HTMLParagraphElement).textContent = VIEWS[id]!.sentence;
    for (const name of ["system-field", "rules-field", "chat-numbers", "anew", "talk"]) document.getElementById(name)!.hidden = !talks;
    for (const name of ["question-field", "trace-numbers", "further", "generate", "trace"]) document.getElementById(name)!.hidden = talks;
    const form = forms.find((each) => each.id === id);
    if (form) controls = fields(form);
    say("");
  }

  let running = "";
  const heard = new Map<string, Job>(); // a quick job's news may come before the answer that names it
  const trace = byId("trace", HTMLElement);
  const line = make("p", { class: "trace-waiting", role: "status" });

  async function start(): Promise<void> {
    const question = byId("question", HTMLTextAreaElement).value.trim();
    if (!question) return say("Write a question first.");
    say("");
    const order: Order = { system: view(), inputs: [{ text: question }], settings: {} };
    for (const [name, each] of controls) {
      const value = each.read();
      if (value !== null) order.settings[name] = value;
    }
    running = (await submit(order)).id;
    stop.disabled = false;
    line.textContent = "getting ready";
    trace.replaceChildren(line);
    const news = heard.get(running);
    if (news) change(news);
  }

  function change(job: Job): void {
    heard.set(job.id, job);
    if (job.id !== running) return;
    if (job.state === "running" && job.total > 0) line.textContent = `${job.stage} ${job.step} of ${job.total}`;
    if (job.state === "queued" || job.state === "running") return;
    running = "";
    stop.disabled = true;
    if (job.state === "done") finish(job).catch((fault: unknown) => say(words(fault)));
    else {
      trace.replaceChildren();
      say(job.error);
    }
  }

  async function finish(job: Job): Promise<void> {
    const [first] = await traces<Trace>((await item(job.item)).id);
    trace.replaceChildren(first ? traced(first, job.seconds) : make("p", { class: "trace-waiting" }, "Nothing was written."));
  }

  byId("views", HTMLFieldSetElement).addEventListener("change", showView);
  byId("form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    if (view() !== TALK) start().catch((fault: unknown) => say(words(fault)));
  });
  stop.addEventListener("click", () => {
    talk.stop();
    if (running) void cancel(running).catch((fault: unknown) => say(words(fault)));
  });
  follow(
    (jobs) => jobs.forEach(change),
    change,
    (lost) => {
      byId("place", HTMLParagraphElement).textContent = lost ? "the studio does not answer" : "on this machine only";
      byId("place", HTMLParagraphElement).classList.toggle("lost", lost);
    },
  );
  showView();
}

/** The settings of a system that tells how it writes: a few at hand, the others folded away. */
function fields(form: SystemForm): Map<string, Control> {
  const controls = new Map<string, Control>();
  const [row, further] = [byId("trace-numbers", HTMLDivElement), byId("further-fields", HTMLDivElement)];
  row.replaceChildren();
  further.replaceChildren();
  for (const field of form.fields) {
    const made = field.mode || field.name === "mode" || field.name === "requests" ? null : control(field);
    if (!made) continue;
    controls.set(field.name, made);
    (FIRST_ROW.includes(field.name) ? row : further).append(made.element);
  }
  byId("further", HTMLDetailsElement).hidden = further.children.length === 0;
  return controls;
}

document.addEventListener("submit", (event) => event.preventDefault()); // before the systems are known, too
open().catch((error: unknown) => {
  byId("error", HTMLParagraphElement).textContent = words(error);
  byId("error", HTMLParagraphElement).hidden = false;
  if (!(error instanceof Refused)) throw error;
});
