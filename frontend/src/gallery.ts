// The wall: every result, newest first, with what can be done with it.

import { type Item, Refused, type Thing, gallery as page, inputAddress, item as one, remove, replay, thingAddress } from "./api";
import { button, byId, make } from "./dom";
import type { Light, Shown } from "./light";

export interface Wall {
  load: () => Promise<void>;
  add: (id: string) => Promise<void>;
  replayed: (id: string, identical: boolean | null) => void;
}

export interface Deeds {
  reuse: (item: Item) => void;
  modeLabel: (item: Item) => string;
  error: (sentence: string) => void;
  light: Light;
}

const MANY = 5;

export function wall(deeds: Deeds): Wall {
  const list = byId("items", HTMLOListElement);
  const older = byId("older", HTMLButtonElement);
  const shown = new Map<string, HTMLElement>();

  function count(more: boolean): void {
    const number = shown.size;
    byId("gallery-count", HTMLParagraphElement).textContent = number === 0 ? "" : `${number}${more ? "+" : ""} kept on this machine`;
    byId("empty", HTMLDivElement).hidden = number > 0;
    older.hidden = !more;
  }

  function put(item: Item, first: boolean): void {
    const element = card(item, deeds, () => {
      shown.delete(item.id);
      element.remove();
      count(!older.hidden);
    });
    shown.get(item.id)?.remove();
    shown.set(item.id, element);
    if (first) list.prepend(element);
    else list.append(element);
  }

  async function load(before?: string): Promise<void> {
    const got = await page(before);
    if (before === undefined) {
      shown.clear();
      list.replaceChildren();
    }
    for (const item of got.items) put(item, false);
    count(got.more);
  }

  older.addEventListener("click", () => {
    const last = [...shown.keys()].at(-1);
    void load(last).catch(deeds.error);
  });

  return {
    load: () => load(),
    add: async (id) => {
      if (shown.has(id)) return;
      put(await one(id), true);
      count(!older.hidden);
    },
    replayed: (id, identical) => {
      const badge = shown.get(id)?.querySelector<HTMLElement>(".item-badge");
      if (!badge) return;
      badge.textContent = identical ? "Made again: every bit the same" : "Made again: not the same bits";
      badge.dataset["identical"] = String(identical);
      badge.hidden = false;
    },
  };
}

function card(item: Item, deeds: Deeds, gone: () => void): HTMLElement {
  const pictures = item.things.map((thing, index) => ({ thing, index })).filter(({ thing }) => thing.kind === "picture");
  const words = item.things.filter((thing) => thing.kind === "words");
  const views: Shown[] = pictures.map(({ thing, index }) => ({
    address: thingAddress(item.id, index),
    words: thing.text,
    input: { item: item.id, picture: index },
  }));
  const badge = make("p", { class: "item-badge", role: "status", hidden: true });
  const parts: HTMLElement[] = [];
  const given = item.inputs.map((each, index) => ({ each, index })).filter(({ each }) => each.kind === "picture");
  if (given.length > 0) parts.push(make("div", { class: "item-given" }, ...given.map(({ each, index }) => make("img", { src: inputAddress(item.id, index), alt: each.label, loading: "lazy" }))));
  if (pictures.length > 0) parts.push(make("div", { class: "item-pictures", "data-count": pictures.length }, ...pictures.map(({ thing }, index) => picture(thing, views, index, deeds.light, item))));
  if (words.length > 0) parts.push(make("ul", { class: "item-words" }, ...words.map((thing) => make("li", {}, thing.text || "(no words)"))));
  return make(
    "li",
    { class: pictures.length >= MANY ? "item wide" : "item", "data-item": item.id },
    ...parts,
    make("div", { class: "item-foot" }, make("h3", { class: "item-title" }, title(item, deeds)), make("p", { class: "item-facts" }, facts(item, deeds)), badge, acts(item, deeds, badge, gone)),
  );
}

function picture(thing: Thing, views: Shown[], index: number, light: Light, item: Item): HTMLElement {
  const image = make("img", { src: views[index]!.address, alt: thing.text || "A picture without words", width: thing.width, height: thing.height, loading: "lazy" });
  const frame = make("button", { type: "button", class: "frame", "aria-label": `Look at ${thing.text || `picture ${index + 1}`}` }, image);
  frame.addEventListener("click", () => light.open(views, index));
  const worthSaying = thing.text !== "" && (item.inputs.length !== 1 || thing.text !== item.inputs[0]!.label);
  return make("figure", {}, frame, ...(worthSaying ? [make("figcaption", {}, thing.text)] : []));
}

function acts(item: Item, deeds: Deeds, badge: HTMLElement, gone: () => void): HTMLElement {
  const attempt = (deed: () => Promise<unknown>) => () =>
    void deed().catch((error: unknown) => deeds.error(error instanceof Refused ? error.message : "This did not work."));
  const again = button("Replay", attempt(() => {
    badge.hidden = true;
    return replay(item.id);
  }), { title: "Make it again and compare every bit" });
  const first = item.things.findIndex((thing) => thing.kind === "picture");
  const links = [];
  if (first >= 0) {
    const address = item.sheet ? `/api/gallery/${item.id}/sheet` : `${thingAddress(item.id, first)}?download=1`;
    links.push(make("a", { href: address, download: true, title: item.sheet ? "All pictures on one sheet; each has its own download" : "The picture, with its recipe inside" }, "Download"));
  }
  links.push(make("a", { href: `/api/gallery/${item.id}/recipe`, download: `recipe-${item.id.slice(0, 6)}.json`, title: "All that is needed to make it again" }, "Recipe"));
  const away = button("Delete", () => {
    if (away.dataset["sure"] === "yes") {
      void attempt(async () => {
        await remove(item.id);
        gone();
      })();
      return;
    }
    away.dataset["sure"] = "yes";
    away.textContent = "Really delete?";
    setTimeout(() => {
      away.dataset["sure"] = "";
      away.textContent = "Delete";
    }, 4000);
  }, { class: "away" });
  return make("div", { class: "item-acts" }, again, button("Reuse", () => deeds.reuse(item), { title: "Put these settings on the desk" }), ...links, away);
}

function title(item: Item, deeds: Deeds): string {
  const labels = item.inputs.map((each) => each.label);
  return labels.length > 0 ? labels.join(" · ") : deeds.modeLabel(item);
}

function facts(item: Item, deeds: Deeds): string {
  const { settings } = item;
  const when = new Date(item.created * 1000);
  const today = when.toDateString() === new Date().toDateString();
  return [
    item.inputs.length > 0 ? deeds.modeLabel(item) : "",
    "steps" in settings ? `${settings["steps"]} steps` : "",
    "guidance" in settings ? `guidance ${settings["guidance"]}` : "",
    "seed" in settings ? `seed ${settings["seed"]}` : "",
    `${item.seconds < 10 ? Math.max(item.seconds, 0.1).toFixed(1) : Math.round(item.seconds)} s`,
    when.toLocaleString(undefined, today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" }),
  ].filter((part) => part !== "").join(" · ");
}
