// One picture of the gallery, large. Arrow keys go from picture to picture.

import type { Choice, Input } from "./api";
import { button, byId } from "./dom";

export interface Shown {
  address: string;
  words: string;
  input: Input;
}

export interface Light {
  open: (shown: Shown[], index: number) => void;
}

export function light(verbs: () => { choice: Choice; label: string }[], use: (shown: Shown, mode: string) => void): Light {
  const dialog = byId("light", HTMLDialogElement);
  const picture = byId("light-picture", HTMLImageElement);
  const words = byId("light-words", HTMLParagraphElement);
  const download = byId("light-download", HTMLAnchorElement);
  const [before, after] = [byId("light-before", HTMLButtonElement), byId("light-after", HTMLButtonElement)];
  let all: Shown[] = [];
  let at = 0;

  function show(index: number): void {
    const one = all[index];
    if (!one) return;
    at = index;
    picture.src = one.address;
    picture.alt = one.words || "A picture without words";
    words.textContent = one.words;
    download.href = `${one.address}?download=1`;
    before.disabled = at === 0;
    after.disabled = at === all.length - 1;
    for (const old of dialog.querySelectorAll(".light-use")) old.remove();
    for (const { choice, label } of verbs()) {
      const verb = button(label, () => {
        dialog.close();
        use(one, choice.value);
      }, { class: "light-use" });
      download.before(verb);
    }
  }

  before.addEventListener("click", () => show(at - 1));
  after.addEventListener("click", () => show(at + 1));
  byId("light-close", HTMLButtonElement).addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(at - 1);
    if (event.key === "ArrowRight") show(at + 1);
  });
  return {
    open: (shown, index) => {
      all = shown;
      show(index);
      dialog.showModal();
    },
  };
}
