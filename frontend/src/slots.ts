// A place for one further picture of a form: a mask, a style, a painting.

import { type Field, type Input, Refused, upload, uploadAddress } from "./api";
import { button, make } from "./dom";

export interface Slot {
  element: HTMLElement;
  read: () => Input | null;
}

export function slot(field: Field, onError: (sentence: string) => void): Slot {
  let given: Input | null = null;
  const file = make("input", { type: "file", accept: "image/*", hidden: true });
  const shown = make("img", { alt: field.name, hidden: true });
  const choose = button("Choose a picture", () => file.click(), { class: "quiet" });
  const away = button("×", () => set(null, ""), { class: "thumb-away", "aria-label": `Take away ${field.name}`, hidden: true });

  function set(input: Input | null, address: string): void {
    given = input;
    shown.hidden = away.hidden = input === null;
    if (input) shown.src = address;
  }

  file.addEventListener("change", () => {
    const chosen = file.files?.[0];
    file.value = "";
    if (!chosen) return;
    upload(chosen).then(
      (kept) => set({ upload: kept.id }, uploadAddress(kept.id)),
      (error: unknown) => onError(error instanceof Refused ? error.message : "This file could not be read."),
    );
  });
  const name = field.name.slice(0, 1).toUpperCase() + field.name.slice(1).replaceAll("_", " ");
  const element = make("div", { class: "field slot", title: field.help }, make("span", {}, name), make("div", { class: "slot-picture" }, shown, away), choose, file);
  return { element, read: () => given };
}
