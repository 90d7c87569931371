// Work in progress: one card per unfinished job, with its newest intermediate picture.

import type { Job } from "./api";
import { button, byId, make } from "./dom";

interface Card {
  job: Job;
  element: HTMLElement;
  picture: HTMLImageElement;
  progress: HTMLProgressElement;
  line: HTMLElement;
  verb: HTMLButtonElement;
}

export interface Bench {
  set: (jobs: Job[]) => void;
  change: (job: Job) => void;
  cancelNewest: () => boolean;
  busy: () => boolean;
}

export function bench(cancel: (job: string) => void, onBusy: (busy: boolean) => void): Bench {
  const place = byId("bench", HTMLElement);
  const cards = new Map<string, Card>();

  function add(job: Job): Card {
    const picture = make("img", { alt: "", hidden: true });
    const progress = make("progress", { max: 1 });
    const line = make("p", { class: "work-line" });
    const verb = button("Cancel", () => cancel(job.id), { class: "quiet" });
    const element = make(
      "article",
      { class: "work", "data-job": job.id },
      make("div", { class: "work-picture" }, picture),
      make("div", { class: "work-words" }, make("p", { class: "work-title" }, title(job)), line, progress, verb),
    );
    const card = { job, element, picture, progress, line, verb };
    cards.set(job.id, card);
    place.append(element);
    return card;
  }

  function drop(id: string): void {
    cards.get(id)?.element.remove();
    cards.delete(id);
  }

  function show(card: Card, job: Job): void {
    card.job = job;
    card.element.dataset["state"] = job.state;
    card.line.textContent = line(job);
    card.verb.disabled = job.cancelling;
    if (job.total > 0) card.progress.value = job.step / job.total;
    else card.progress.removeAttribute("value");
    card.progress.hidden = job.state === "queued";
    card.progress.setAttribute("aria-label", `Progress of ${title(job)}`);
    if (job.preview) {
      card.picture.src = job.preview;
      card.picture.hidden = false;
    }
  }

  function fail(card: Card, job: Job): void {
    card.element.dataset["state"] = "failed";
    card.picture.parentElement?.remove();
    card.progress.remove();
    card.line.textContent = job.error;
    card.line.setAttribute("role", "alert");
    card.verb.replaceWith(button("Dismiss", () => drop(job.id), { class: "quiet" }));
    cards.delete(job.id);
    setTimeout(() => onBusy(cards.size > 0));
  }

  function change(job: Job): void {
    const card = cards.get(job.id);
    if (card && job.version < card.job.version) return;
    if (job.state === "queued" || job.state === "running") show(card ?? add(job), job);
    else if (job.state === "failed") fail(card ?? add(job), job);
    else drop(job.id);
    onBusy(cards.size > 0);
  }

  return {
    set: (jobs) => {
      const here = new Set(jobs.map((job) => job.id));
      for (const id of [...cards.keys()]) if (!here.has(id)) drop(id);
      jobs.forEach(change);
      onBusy(cards.size > 0);
    },
    change,
    cancelNewest: () => {
      const newest = [...cards.values()].filter((card) => !card.job.cancelling).at(-1);
      if (newest) cancel(newest.job.id);
      return newest !== undefined;
    },
    busy: () => cards.size > 0,
  };
}

const title = (job: Job): string => (job.replay ? `Again: ${job.label || "the same"}` : job.label || "From nothing");

function line(job: Job): string {
  if (job.cancelling) return "Stopping at the next step";
  if (job.state === "queued") return job.ahead === 0 ? "Next in line" : `Waiting, ${job.ahead} before it`;
  if (job.total === 0) return "Getting ready";
  const left = job.step > 0 ? (job.seconds / job.step) * (job.total - job.step) : 0;
  const estimate = left >= 1 ? `, about ${Math.ceil(left)} s left` : "";
  return `${job.stage} ${job.step} of ${job.total}${estimate}`;
}
