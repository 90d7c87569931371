// The left side of the page: what to make, from what, and how.

import type { Choice, Input, Item, Order, SystemForm, Takes, Value } from "./api";
import { byId, button, make } from "./dom";
import { type Control, control } from "./fields";
import { type Slot, slot } from "./slots";
import { keep, recall } from "./memory";
import { pictures } from "./pictures";

const FIRST_ROW = ["count", "steps", "guidance", "seed"];
const LARGEST_SEED = 2 ** 31;

export interface Desk {
  reuse: (item: Item) => void;
  give: (input: Input, name: string, address: string, mode: string) => void;
  pictureModes: () => Choice[];
  modeLabel: (system: string, value: Value | undefined) => string;
  error: (sentence: string) => void;
}

export function verbFor(choice: Choice): string {
  if (choice.value === "image-to-text") return "Words for it";
  if (choice.value === "image-variation") return "Variations of it";
  return choice.label;
}

export function desk(forms: SystemForm[], send: (order: Order) => Promise<void>): Desk {
  const memory = recall();
  const form = byId("form", HTMLFormElement);
  const prompt = byId("prompt", HTMLTextAreaElement);
  const modes = byId("modes", HTMLFieldSetElement);
  const error = byId("error", HTMLParagraphElement);
  const select = byId("system", HTMLSelectElement);
  const verbs = byId("drop-verbs", HTMLDivElement);
  const controls = new Map<string, Control>();
  const slots = new Map<string, Slot>();
  const parts = new Map<string, HTMLSelectElement>();
  let current: SystemForm | undefined;
  const lock = seedLock(memory.seedLocked, remember);
  const given = pictures((count) => (verbs.hidden = count === 0 || pictureModes().length === 0), say);

  function say(sentence: string): void {
    error.textContent = sentence;
    error.hidden = sentence === "";
  }

  const modeField = () => current?.fields.find((field) => field.mode);
  const takes = (): Takes => (modeField() ? mode()?.takes : current?.fields.find((field) => field.kind === "inputs")?.takes) ?? "nothing";
  const pictureModes = (): Choice[] => modeField()?.choices.filter((choice) => choice.takes === "picture") ?? [];

  function mode(): Choice | undefined {
    const chosen = form.querySelector<HTMLInputElement>("input[name=mode]:checked")?.value;
    return modeField()?.choices.find((choice) => choice.value === chosen);
  }

  const modeName = (): string => modeField()?.name ?? "mode";

  function setMode(value: Value | undefined): void {
    for (const radio of form.querySelectorAll<HTMLInputElement>("input[name=mode]")) radio.checked = radio.value === value;
    showMode();
  }

  function showMode(): void {
    byId("prompt-field", HTMLDivElement).hidden = takes() !== "text";
    given.show(pictureModes().length > 0 || takes() === "picture");
    say("");
  }

  function remember(): void {
    if (!current) return;
    const settings: Record<string, Value> = {};
    for (const [name, each] of controls) settings[name] = each.read();
    const chosen = mode();
    if (chosen) settings[modeName()] = chosen.value;
    memory.settings[current.id] = settings;
    keep({ ...memory, system: current.id, prompt: prompt.value, seedLocked: lock.locked() });
  }

  function open(system: SystemForm): void {
    current = system;
    controls.clear();
    slots.clear();
    parts.clear();
    byId("sentence", HTMLParagraphElement).textContent = system.sentence;
    byId("sentence", HTMLParagraphElement).title = `${system.citation}\n${system.licence}`;
    const [numbers, further] = [byId("numbers", HTMLDivElement), byId("further-fields", HTMLDivElement)];
    numbers.replaceChildren();
    further.replaceChildren();
    const order = (name: string): number => (FIRST_ROW.includes(name) ? FIRST_ROW.indexOf(name) : FIRST_ROW.length);
    for (const field of [...system.fields].sort((a, b) => order(a.name) - order(b.name))) {
      if (field.kind === "picture") {
        const place = slot(field, say);
        slots.set(field.name, place);
        further.append(place.element);
        continue;
      }
      const made = field.mode ? null : control(field);
      if (!made) continue;
      controls.set(field.name, made);
      if (field.name === "seed") made.element.append(lock.element);
      (FIRST_ROW.includes(field.name) ? numbers : further).append(made.element);
    }
    for (const part of system.parts) {
      const select = make("select", { name: part.name }, ...part.choices.map((each) => make("option", { value: each }, each)));
      select.value = part.default;
      parts.set(part.name, select);
      further.append(make("label", { class: "field" }, make("span", {}, part.name[0]!.toUpperCase() + part.name.slice(1)), select));
    }
    byId("further", HTMLDetailsElement).hidden = further.childElementCount === 0;
    const field = modeField();
    modes.hidden = !field;
    modes.replaceChildren(make("legend", {}, "Make"), ...(field?.choices ?? []).map(pill));
    verbs.replaceChildren(...pictureModes().map((choice) => button(verbFor(choice), () => start(choice.value))));
    controls.get("seed")?.write(newSeed());
    setMode(field?.default);
    fill(memory.settings[system.id] ?? {});
  }

  function fill(settings: Record<string, Value>): void {
    for (const [name, value] of Object.entries(settings)) {
      const each = controls.get(name);
      if (each && (value !== null || each.field.optional)) each.write(value);
    }
    const chosen = settings[modeName()];
    if (typeof chosen === "string" && modeField()?.choices.some((choice) => choice.value === chosen)) setMode(chosen);
  }

  function start(value: string): void {
    setMode(value);
    form.requestSubmit();
  }

  function inputs(): Input[] | string {
    if (takes() === "nothing") return [];
    if (takes() === "picture") {
      const chosen = given.inputs();
      return chosen.length > 0 ? chosen : "Drop a picture first, or choose a file.";
    }
    const lines = prompt.value.split("\n").map((line) => line.trim()).filter((line) => line !== "");
    return lines.map((text) => ({ text }));
  }

  async function submit(): Promise<void> {
    if (!current) return;
    const chosen = inputs();
    if (typeof chosen === "string") {
      say(chosen);
      return;
    }
    if (!lock.locked()) controls.get("seed")?.write(newSeed());
    const settings: Record<string, Value> = {};
    for (const [name, each] of controls) {
      const value = each.read();
      if (value !== null) settings[name] = value;
    }
    const made = mode();
    if (made) settings[modeName()] = made.value;
    const pictures: Record<string, Input> = {};
    for (const [name, each] of slots) {
      const picture = each.read();
      if (picture) pictures[name] = picture;
    }
    remember();
    say("");
    const chosenParts = Object.fromEntries([...parts].map(([name, each]) => [name, each.value]));
    await send({ system: current.id, inputs: chosen, settings, pictures, parts: chosenParts });
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void submit();
  });
  form.addEventListener("change", () => {
    showMode();
    remember();
  });
  prompt.addEventListener("input", remember);
  select.addEventListener("change", () => {
    const chosen = forms.find((each) => each.id === select.value);
    if (chosen) open(chosen);
  });
  prompt.value = memory.prompt;
  select.append(...forms.map((each) => make("option", { value: each.id }, each.title)));
  byId("system-field", HTMLLabelElement).hidden = forms.length < 2;
  const first = forms.find((each) => each.id === memory.system) ?? forms.find((each) => each.id === "unidiffuser") ?? forms[0];
  if (first) {
    select.value = first.id;
    open(first);
  }

  return {
    reuse: (item) => {
      const system = forms.find((each) => each.id === item.system);
      if (system && system !== current) {
        select.value = system.id;
        open(system);
      }
      fill(item.settings);
      for (const [name, part] of Object.entries(item.parts)) if (parts.has(name)) parts.get(name)!.value = part;
      lock.set(true);
      const texts = item.inputs.filter((each) => each.kind === "text").map((each) => each.label);
      if (texts.length > 0) prompt.value = texts.join("\n");
      remember();
      form.scrollIntoView({ block: "start" });
      byId("generate", HTMLButtonElement).focus();
    },
    give: (input, name, address, value) => {
      given.use(input, name, address);
      start(value);
    },
    pictureModes,
    modeLabel: (system, value) =>
      forms
        .find((each) => each.id === system)
        ?.fields.find((field) => field.mode)
        ?.choices.find((choice) => choice.value === value)?.label ?? "",
    error: say,
  };
}

const newSeed = (): number => crypto.getRandomValues(new Uint32Array(1))[0]! % LARGEST_SEED;

function pill(choice: Choice): HTMLLabelElement {
  return make("label", { class: "pill" }, make("input", { type: "radio", name: "mode", value: choice.value }), make("span", {}, choice.label));
}

function seedLock(initially: boolean, onChange: () => void) {
  let locked = initially;
  const element = button("", () => set(!locked), { class: "lock", id: "lock" });
  function set(value: boolean): void {
    locked = value;
    element.setAttribute("aria-pressed", String(locked));
    element.setAttribute("aria-label", "Keep this seed");
    element.title = locked ? "Kept: the same settings make the same bits" : "A new seed every time; press to keep this one";
    element.textContent = locked ? "Kept" : "New each time";
    onChange();
  }
  queueMicrotask(() => set(locked));
  return { element, locked: () => locked, set };
}
