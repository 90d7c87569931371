// The mode "Everywhere": what was marked in one picture is found in many, or in the frames of a film.

import { type Upload, uploadAddress } from "./api";
import { button, byId, make } from "./dom";
import { type Mask, coloured, decode, outline } from "./masks";
import { type Candidate, type Form, type Sheet, film as readFilm, search, take } from "./touch_api";
import { type Marked, type Mode, type Page, choices, css, gaveUp, tint } from "./touch_page";

interface Place {
  upload: Upload;
  image: HTMLImageElement;
  found: { candidate: Candidate; mask: Mask } | null;
  wanted: boolean;
  card: HTMLElement;
}

export interface Everywhere extends Mode {
  add: (uploads: Upload[], film: boolean) => Promise<void>;
  addFilm: (file: File) => Promise<Upload | null>;
  count: () => number;
}

const MOST = 64;

export function everywhere(page: Page, marked: Marked): Everywhere {
  const select = byId("finder", HTMLSelectElement);
  const grid = byId("found", HTMLDivElement);
  const line = byId("search-line", HTMLParagraphElement);
  const [start, stop] = [byId("search-start", HTMLButtonElement), byId("search-stop", HTMLButtonElement)];
  let places: Place[] = [];
  let [isFilm, active] = [false, false];
  let going: AbortController | null = null;
  let which = 0;
  choices(select, page.tools.finders);

  /** The one thing to look for: of those that are kept, the chosen one. */
  function example(): Sheet | null {
    const sheet = marked.sheet();
    const thing = sheet?.objects[Math.min(which, sheet.objects.length - 1)];
    return sheet && thing ? { ...sheet, objects: [thing] } : null;
  }

  async function add(uploads: Upload[], film: boolean): Promise<void> {
    going?.abort();
    if (film || isFilm) places = [];
    isFilm = film;
    const room = MOST - places.length;
    if (uploads.length > room) page.say(`At most ${MOST} pictures are searched together; the first ${MOST} are taken.`);
    const fresh = await Promise.all(uploads.slice(0, room).map(place));
    places = [...places, ...fresh];
    show();
  }

  async function place(upload: Upload): Promise<Place> {
    const image = new Image();
    image.src = uploadAddress(upload.id);
    await image.decode();
    const card = make("figure", { class: "found-one" }, make("canvas", { width: upload.width, height: upload.height, role: "img", "aria-label": upload.name }), make("figcaption", {}, upload.name));
    const one: Place = { upload, image, found: null, wanted: true, card };
    card.addEventListener("click", () => {
      if (!one.found || one.found.candidate.area === 0) return;
      one.wanted = !one.wanted;
      draw(one);
      refresh();
    });
    draw(one);
    return one;
  }

  function draw(one: Place): void {
    const canvas = one.card.querySelector("canvas")!;
    const context = canvas.getContext("2d")!;
    context.drawImage(one.image, 0, 0, canvas.width, canvas.height);
    const caption = one.card.querySelector("figcaption")!;
    one.card.dataset["state"] = !one.found ? "waiting" : one.found.candidate.area === 0 ? "nothing" : one.wanted ? "found" : "left";
    if (!one.found) return void (caption.textContent = one.upload.name);
    const { candidate, mask } = one.found;
    caption.textContent = candidate.area === 0 ? `${one.upload.name} · not here` : `${one.upload.name} · ${Math.round(100 * candidate.score)} %${one.wanted ? "" : " · left out"}`;
    if (candidate.area === 0 || !one.wanted) return;
    context.drawImage(coloured(mask, tint(0), 0.5), 0, 0);
    const border = outline(mask);
    const wide = Math.max(1.5, canvas.width / 130);
    for (const [width, style] of [[2 * wide, "rgb(255 255 255 / 85%)"], [wide, css(tint(0))]] as const) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.stroke(border);
    }
  }

  async function run(): Promise<void> {
    const shown = example();
    if (going || !select.value || !shown || places.length === 0) return;
    const controller = new AbortController();
    going = controller;
    page.say("");
    for (const each of places) {
      each.found = null;
      each.wanted = true;
      draw(each);
    }
    refresh();
    const [asked, began] = [places, performance.now()];
    let done = 0;
    try {
      await search(select.value, [shown], asked.map((each) => ({ upload: each.upload.id })), isFilm, (index, candidate) => {
        const one = asked[index]!;
        one.found = { candidate, mask: decode(candidate.counts, one.upload.width, one.upload.height) };
        draw(one);
        line.textContent = `${++done} of ${asked.length}`;
      }, controller.signal);
      const hits = asked.filter((each) => each.found && each.found.candidate.area > 0).length;
      line.textContent = `Found in ${hits} of ${asked.length}, in ${((performance.now() - began) / 1000).toFixed(1)} s.`;
    } catch (error) {
      line.textContent = done > 0 ? `Stopped after ${done} of ${asked.length}.` : "";
      if (!gaveUp(error)) throw error;
    } finally {
      if (going === controller) going = null;
      refresh();
    }
  }

  function sheets(): Sheet[] {
    return places
      .filter((each) => isFilm || (each.found && each.wanted && each.found.candidate.area > 0))
      .map((each) => ({
        picture: { upload: each.upload.id },
        objects: each.found && each.wanted && each.found.candidate.area > 0 ? [{ counts: each.found.candidate.counts, name: example()?.objects[0]?.name ?? "thing", score: each.found.candidate.score, source: null }] : [],
      }));
  }

  function show(): void {
    grid.replaceChildren(...places.map((each) => each.card));
    grid.classList.toggle("empty", places.length === 0);
    if (places.length === 0) grid.append(make("p", { class: "empty-title" }, "The same thing, everywhere"), make("p", {}, "Mark a thing in one picture; then drop the pictures or the film in which to look for it."));
    refresh();
  }

  function refresh(): void {
    const shown = example();
    start.hidden = going !== null;
    stop.hidden = going === null;
    start.disabled = !select.value || !shown || places.length === 0;
    byId("where-clear", HTMLButtonElement).disabled = places.length === 0 || going !== null;
    byId("where", HTMLParagraphElement).textContent = places.length === 0 ? "Drop pictures or a film anywhere." : isFilm ? `A film: ${places.length} frames.` : `${places.length} picture${places.length === 1 ? "" : "s"}.`;
    const able = places.some((each) => each.found && each.wanted && each.found.candidate.area > 0) && going === null;
    for (const each of document.querySelectorAll<HTMLButtonElement>("#found-exports button")) {
      each.disabled = !able;
      each.hidden = each.dataset["film"] === "true" && !isFilm;
    }
    if (!active) return;
    showExample(shown);
    page.hint(hint(shown !== null));
  }

  function hint(marks: boolean): string {
    if (going) return "";
    if (!select.value) return "No model that finds things again has weights yet. Train one with “bottega train seggpt”, and open this page again.";
    if (!marks) return "First mark a thing: go to Mark, and click on it.";
    if (places.length === 0) return "Now drop pictures or a film.";
    return places.some((each) => each.found) ? "Click on a picture to leave it out, or to take it in again." : "Press Find everywhere.";
  }

  function showExample(shown: Sheet | null): void {
    const [box, picture] = [byId("example", HTMLDivElement), marked.picture()];
    box.replaceChildren();
    if (!picture || !shown) return void box.append(button("Mark a thing", () => page.go("mark")));
    const canvas = make("canvas", { width: picture.width, height: picture.height, role: "img", "aria-label": "The marked thing" });
    const context = canvas.getContext("2d")!;
    context.drawImage(picture.image, 0, 0, picture.width, picture.height);
    for (const each of shown.objects) context.drawImage(coloured(decode(each.counts, picture.width, picture.height), tint(0), 0.6), 0, 0);
    const things = marked.sheet()?.objects ?? [];
    const pills = things.map((thing, index) => {
      const pill = button(thing.name, () => {
        which = index;
        refresh();
      }, { class: "quiet", "aria-pressed": String(thing.counts === shown.objects[0]!.counts) });
      return pill;
    });
    if (pills.length > 1) box.append(make("div", { class: "example-things", role: "group", "aria-label": "Which thing" }, ...pills));
    box.append(canvas, button("Mark another", () => page.go("mark"), { class: "quiet" }));
  }

  const forms: [Form, string, boolean][] = [["png", "PNG", false], ["json", "COCO", false], ["npz", "npz", false], ["gif", "GIF", true], ["webm", "WebM", true]];
  byId("found-exports", HTMLDivElement).append(...forms.map(([form, name, film]) => button(name, () => page.attempt(() => take(form, "", sheets(), byId("trim", HTMLInputElement).checked)), { disabled: true, "data-film": String(film) })));
  start.addEventListener("click", () => page.attempt(run));
  stop.addEventListener("click", () => going?.abort());
  byId("where-clear", HTMLButtonElement).addEventListener("click", () => {
    [places, isFilm] = [[], false];
    line.textContent = "";
    show();
  });
  show();

  return {
    enter: () => {
      active = true;
      page.stage.use(null);
      show();
    },
    leave: () => {
      active = false;
    },
    open: (picture) => page.attempt(() => add([{ id: "upload" in picture.input ? picture.input.upload : "", name: picture.name, width: picture.width, height: picture.height }], false)),
    key: (event) => {
      if (event.key === "Enter") page.attempt(run);
      else if (event.key === "Escape") going?.abort();
      else return false;
      return true;
    },
    add,
    addFilm: async (file) => {
      const frames = await readFilm(file);
      await add(frames, true);
      return frames[0] ?? null;
    },
    count: () => places.length,
  };
}
