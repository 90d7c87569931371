// A conversation with a language model, written while one looks on.

import { type Conversation, type Ending, Refused, type Said, talk } from "./api";
import { button, byId, make } from "./dom";

const TRIES = [
  "Work out (41 + 33) - 14.",
  "As a JSON object: Saturday in Cusco: rain, between -4 and 2 degrees.",
  "Table: lamps(name, room, watts, price, stock).\nWork out the average and lowest watts of the lamps with price below 76.",
];

const words = (error: unknown): string => (error instanceof Refused ? error.message : "This page has a fault; its console says more.");

export interface Talk {
  stop: () => void;
}

/** Settings are asked for anew with every message. */
export function conversation(settings: () => Omit<Conversation, "messages">, rules: () => string, say: (sentence: string) => void, onBusy: (busy: boolean) => void): Talk {
  const place = byId("said", HTMLOListElement);
  const message = byId("message", HTMLTextAreaElement);
  const send = byId("send", HTMLButtonElement);
  let said: Said[] = [];
  let going: AbortController | null = null;

  function show(speaker: Said["speaker"], text: string): HTMLElement {
    byId("silence", HTMLDivElement).hidden = true;
    const words = make("p", { class: "said-words" }, text);
    place.append(make("li", { class: "said-one", "data-speaker": speaker }, words));
    words.scrollIntoView({ block: "nearest" });
    return words;
  }

  async function answer(text: string): Promise<void> {
    say("");
    const before = said;
    const asked: Said[] = [...before, { speaker: "user", text }];
    const own = show("user", text);
    const words = show("assistant", "");
    const entry = words.parentElement!;
    entry.dataset["state"] = "running";
    const controller = new AbortController();
    going = controller;
    busy(true);
    const above: Said[] = rules() ? [{ speaker: "system", text: rules() }] : [];
    try {
      const end = await talk({ ...settings(), messages: [...above, ...asked] }, (piece) => grow(words, piece), controller.signal);
      said = [...asked, { speaker: "assistant", text: words.textContent || " " }];
      entry.append(make("p", { class: "said-facts" }, end ? facts(end) : "the studio stopped answering"));
    } catch (error) {
      if (controller.signal.aborted && words.textContent) {
        said = [...asked, { speaker: "assistant", text: words.textContent }];
        entry.append(make("p", { class: "said-facts" }, "stopped"));
      } else {
        entry.remove();
        own.parentElement?.remove(); // what was not answered was not said
        message.value = text;
        byId("silence", HTMLDivElement).hidden = place.children.length > 0;
        if (!controller.signal.aborted) throw error;
      }
    } finally {
      entry.dataset["state"] = "done";
      going = null;
      busy(false);
    }
  }

  function busy(now: boolean): void {
    send.disabled = now;
    onBusy(now);
    if (!now) message.focus();
  }

  function start(text: string): void {
    if (!text.trim() || going) return;
    message.value = "";
    answer(text.trim()).catch((error: unknown) => {
      say(words(error));
      if (!(error instanceof Refused)) throw error;
    });
  }

  byId("say", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    start(message.value);
  });
  message.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    start(message.value);
  });
  byId("anew", HTMLButtonElement).addEventListener("click", () => {
    going?.abort();
    said = [];
    place.replaceChildren();
    byId("silence", HTMLDivElement).hidden = false;
    say("");
    message.focus();
  });
  byId("tries", HTMLParagraphElement).append(...TRIES.map((text) => button(text.split("\n").at(-1)!, () => start(text))));
  return { stop: () => going?.abort() };
}

function grow(words: HTMLElement, piece: string): void {
  words.append(piece);
  words.scrollIntoView({ block: "nearest" });
}

function facts(end: Ending): string {
  const speed = end.seconds > 0 ? ` · ${(end.tokens / end.seconds).toFixed(0)} tokens a second` : "";
  const cut = end.ending === "length" ? " · cut at its length" : "";
  return `${end.tokens} tokens · ${end.seconds.toFixed(1)} s${speed}${cut}`;
}
