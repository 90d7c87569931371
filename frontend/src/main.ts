// The page "Pictures": the desk on the left, the bench and the wall on the right, held together here.

import { type Item, Refused, type Value, cancel, follow, submit, systems } from "./api";
import { bench } from "./bench";
import { type Desk, desk, verbFor } from "./desk";
import { button, byId } from "./dom";
import { wall } from "./gallery";
import { light } from "./light";

const TRIES = ["red apple", "cat face with tears of joy", "a blue heart"];

const words = (error: unknown): string => (error instanceof Refused ? error.message : "This page has a fault; its console says more.");

async function open(): Promise<void> {
  const forms = await systems();
  if (forms.length === 0) {
    byId("error", HTMLParagraphElement).textContent = "No system with weights is installed yet.";
    byId("error", HTMLParagraphElement).hidden = false;
    return;
  }
  const table: Desk = desk(forms, async (order) => {
    try {
      await submit(order);
    } catch (error) {
      table.error(words(error));
    }
  });
  const stop = (job: string): void => void cancel(job).catch((error: unknown) => table.error(words(error)));
  const cancelButton = byId("cancel", HTMLButtonElement);
  const works = bench(stop, (busy) => (cancelButton.disabled = !busy));
  const verbs = () => table.pictureModes().map((choice) => ({ choice, label: verbFor(choice) }));
  const large = light(verbs, (shown, mode) => table.give(shown.input, shown.words || "picture", shown.address, mode));
  const pictures = wall({
    reuse: table.reuse,
    modeLabel: (item) => table.modeLabel(item.system, modeOf(item)),
    error: (error) => table.error(typeof error === "string" ? error : words(error)),
    light: large,
  });
  function modeOf(item: Item): Value {
    const field = forms.find((form) => form.id === item.system)?.fields.find((each) => each.mode);
    return field ? (item.settings[field.name] ?? field.default) : "";
  }

  follow(
    (jobs) => {
      works.set(jobs);
      void pictures.load().catch((error: unknown) => table.error(words(error)));
    },
    (job) => {
      works.change(job);
      if (job.state !== "done") return;
      const added = pictures.add(job.item).catch((error: unknown) => table.error(words(error)));
      if (job.replay) void added.then(() => pictures.replayed(job.item, job.identical));
    },
    (lost) => {
      byId("place", HTMLParagraphElement).textContent = lost ? "the studio does not answer" : "on this machine only";
      byId("place", HTMLParagraphElement).classList.toggle("lost", lost);
    },
  );

  cancelButton.addEventListener("click", () => works.cancelNewest());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("form", HTMLFormElement).requestSubmit();
    if (event.key === "Escape" && !byId("light", HTMLDialogElement).open) works.cancelNewest();
  });
  byId("tries", HTMLParagraphElement).append(
    ...TRIES.map((each) =>
      button(each, () => {
        byId("prompt", HTMLTextAreaElement).value = each;
        byId("form", HTMLFormElement).requestSubmit();
      }),
    ),
  );
}

document.addEventListener("submit", (event) => event.preventDefault()); // before the systems are known, too
open().catch((error: unknown) => {
  const line = byId("error", HTMLParagraphElement);
  line.textContent = words(error);
  line.hidden = false;
  if (!(error instanceof Refused)) throw error;
});
