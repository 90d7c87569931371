// The mode "Mark": what is said of a thing is answered with masks; things are kept in a list and taken home.

import { button, byId, make } from "./dom";
import { type Mask, coloured, decode, encode, outline, painted } from "./masks";
import { type Hand, type Place, type View, dot } from "./stage";
import { type Answer, type Box, type Form, type Kept, type Refined, type Said, type Sheet, type Spot, look, masks, take, warm } from "./touch_api";
import { type Marked, type Mode, type Opened, type Page, type Paper, brush, choices, choose, chosen, css, gaveUp, paper, tint, words } from "./touch_page";

/** A mask with all that is needed to show it. */
interface Shape {
  counts: string;
  score: number;
  area: number;
  box: [number, number, number, number];
  mask: Mask;
  border: Path2D;
  source: Refined | null;
  fill: Map<string, HTMLCanvasElement>;
}

interface Thing {
  shape: Shape;
  name: string;
}

/** Everything that undo brings back. It never changes, but for the answer that comes later. */
interface Moment {
  spots: Spot[];
  box: Box | null;
  paint: HTMLCanvasElement | null;
  words: string;
  things: Thing[];
  held: Refined | null;
  shapes: Shape[];
  at: number;
  asked: boolean;
}

const NOTHING: Moment = { spots: [], box: null, paint: null, words: "", things: [], held: null, shapes: [], at: 0, asked: false };
const GLANCE_MS = 300;
const MOST = 64;
const THUMB = 96;
const UNSURE = 0.4;
const HINTS: Record<string, string> = {
  point: "Click on a thing. The right button, Alt or Out says what does not belong to it.",
  box: "Draw a box around a thing, from corner to corner.",
  paint: "Paint roughly over a thing; lift the brush to see what is meant.",
};
const isEmpty = (now: Moment): boolean => now.spots.length === 0 && !now.box && !now.paint && !now.words;

export function mark(page: Page): Mode & Marked {
  const { stage } = page;
  const select = byId("segmenter", HTMLSelectElement);
  let picture: Opened | null = null;
  let now: Moment = NOTHING;
  let [past, future]: [Moment[], Moment[]] = [[], []];
  let going: AbortController | null = null;
  let [drawing, sheet, last]: [Box | null, Paper | null, Place | null] = [null, null, null];
  let [ghost, glancing, quick, over]: [Shape | null, boolean, boolean, Place | null] = [null, false, true, null];
  let [active, cut, meeting] = [false, false, 0];
  choices(select, page.tools.segmenters);
  if (select.value) page.attempt(() => warm(select.value));

  // ---------------------------------------------------------------------------------------------- what was said
  function step(next: Moment): void {
    past.push(now);
    if (past.length > 200) past.shift();
    future = [];
    now = next;
    ghost = null;
    if (isEmpty(now)) {
      going?.abort();
      return show();
    }
    ask(now);
  }

  const held = (): Refined | null => (now.shapes[now.at]?.source ? now.shapes[now.at]!.source : now.held);

  function said(moment: Moment): Said {
    return { spots: moment.spots, box: moment.box, painted: moment.paint ? encode(painted(moment.paint)) : "", words: moment.words, refines: moment.held };
  }

  function ask(moment: Moment): void {
    if (!picture || !select.value) return;
    going?.abort();
    const controller = new AbortController();
    going = controller;
    stage.redraw();
    page.say("");
    byId("canvas", HTMLCanvasElement).setAttribute("aria-busy", "true");
    const started = performance.now();
    masks(select.value, picture.input, said(moment), false, controller.signal)
      .then((answer) => {
        moment.shapes = shapes(answer);
        moment.at = moment.shapes.length === 3 ? best(moment.shapes) : 0;
        moment.asked = true;
        quick = performance.now() - started < GLANCE_MS;
        performance.measure("touch-answer", { start: started });
      })
      .catch((error: unknown) => {
        if (gaveUp(error)) return;
        if (now === moment) undo();
        page.say(words(error));
      })
      .finally(() => {
        if (going === controller) going = null;
        byId("canvas", HTMLCanvasElement).setAttribute("aria-busy", String(going !== null));
        show();
      });
  }

  function shapes(answer: Answer): Shape[] {
    return answer.candidates.map((each, index) => {
      const mask = decode(each.counts, picture!.width, picture!.height);
      return { ...each, mask, border: outline(mask), source: answer.answer ? { answer: answer.answer, candidate: index } : null, fill: new Map() };
    });
  }

  const best = (all: Shape[]): number => all.reduce((winner, each, index) => (each.score > all[winner]!.score ? index : winner), 0);

  function undo(): void {
    const before = past.pop();
    if (!before) return;
    going?.abort();
    future.push(now);
    restore(before);
  }

  function redo(): void {
    const after = future.pop();
    if (!after) return;
    past.push(now);
    restore(after);
  }

  function restore(moment: Moment): void {
    now = moment;
    sheet = null;
    if (!now.asked && !isEmpty(now)) ask(now); // it was given up before its answer came
    show();
  }

  const clear = (): void => {
    if (!isEmpty(now)) step({ ...NOTHING, things: now.things });
    sheet = null;
    page.say("");
  };

  function keep(): void {
    const kept = now.shapes[now.at];
    if (!kept || kept.area === 0 || going) return;
    if (now.things.length >= MOST) return page.say(`At most ${MOST} things are kept of one picture; take them home first.`);
    step({ ...NOTHING, things: [...now.things, { shape: kept, name: `thing ${now.things.length + 1}` }] });
    sheet = null;
  }

  // ------------------------------------------------------------------------------------------------- the pointer
  const out = (place: Place): boolean => place.out !== (chosen("side") === "out");
  const tool = (): string => chosen("tool");

  function click(place: Place): void {
    if (now.spots.length >= MOST) return page.say(`At most ${MOST} clicks on one thing; keep it or clear it.`);
    const wanted = !out(place) || isEmpty(now); // the first click says what is meant
    step({ ...now, spots: [...now.spots, { x: place.x, y: place.y, inside: wanted }], held: held(), shapes: now.shapes, asked: false });
  }

  const hand: Hand = {
    down: (place) => {
      if (!select.value) return explain();
      ghost = null;
      if (tool() === "box") drawing = { left: place.x, top: place.y, right: place.x, bottom: place.y };
      if (tool() === "paint") {
        sheet = paper(picture!.width, picture!.height, now.paint ?? undefined);
        sheet.stroke(place, place, brush() / stage.scale(), out(place));
      }
      last = place;
      stage.redraw();
    },
    move: (place) => {
      if (over) over = place;
      if (drawing) [drawing.right, drawing.bottom] = [place.x, place.y];
      if (sheet && last) sheet.stroke(last, place, brush() / stage.scale(), out(place));
      if (tool() !== "point") last = place;
      stage.redraw();
    },
    up: (place) => {
      const box = drawing;
      drawing = null;
      if (tool() === "point" && last) click({ ...last, out: last.out || place.out });
      else if (box && Math.abs(box.right - box.left) > 3 && Math.abs(box.bottom - box.top) > 3) {
        const square = { left: Math.min(box.left, box.right), top: Math.min(box.top, box.bottom), right: Math.max(box.left, box.right), bottom: Math.max(box.top, box.bottom) };
        step({ ...now, box: square, held: null, asked: false });
      } else if (tool() === "paint" && sheet) {
        const something = painted(sheet.canvas).inside.some((each) => each === 1);
        step({ ...now, paint: something ? sheet.canvas : null, held: null, asked: false });
        sheet = null;
      }
      last = null;
      stage.redraw();
    },
    cancel: () => {
      [drawing, sheet, last] = [null, null, null];
      stage.redraw();
    },
    hover: (place) => {
      over = place;
      if (!place || tool() !== "point" || !isEmpty(now)) ghost = null;
      stage.redraw();
      glance();
    },
  };

  /** What a click here would mark, as long as answers are quick. */
  function glance(): void {
    if (!over || !picture || !select.value || meeting > 0 || glancing || !quick || going || tool() !== "point" || !isEmpty(now) || !active) return;
    const [place, shown] = [over, picture];
    glancing = true;
    const started = performance.now();
    masks(select.value, shown.input, { spots: [{ x: place.x, y: place.y, inside: true }], box: null, painted: "", words: "", refines: null }, true, new AbortController().signal)
      .then((answer) => {
        quick = performance.now() - started < GLANCE_MS;
        if (over && isEmpty(now) && picture === shown) ghost = shapes(answer)[0] ?? null;
      })
      .catch(() => (ghost = null)) // the click itself will say what is wrong
      .finally(() => {
        glancing = false;
        stage.redraw();
        if (over && over !== place) glance();
      });
  }

  // ------------------------------------------------------------------------------------------------------ drawing
  function filled(one: Shape, colour: readonly [number, number, number], alpha: number): HTMLCanvasElement {
    const key = `${colour.join()} ${alpha}`;
    if (!one.fill.has(key)) one.fill.set(key, coloured(one.mask, colour, alpha));
    return one.fill.get(key)!;
  }

  /** Everything else lies in the shade, so that a thing is seen whatever its colour. */
  function veil(one: Shape): HTMLCanvasElement {
    if (!one.fill.has("veil")) {
      const others = { ...one.mask, inside: one.mask.inside.map((each) => 1 - each) };
      one.fill.set("veil", coloured(others, [24, 18, 12], 0.42));
    }
    return one.fill.get("veil")!;
  }

  function drawShape(view: View, one: Shape, index: number, alpha: number, strong: boolean): void {
    const { context } = view;
    view.inPicture(() => {
      context.imageSmoothingEnabled = false;
      context.drawImage(filled(one, tint(index), alpha), 0, 0);
      context.lineJoin = context.lineCap = "round";
      if (strong) {
        context.lineWidth = 3.5 / view.scale;
        context.strokeStyle = "rgb(255 255 255 / 85%)";
        context.stroke(one.border);
      }
      context.lineWidth = (strong ? 1.75 : 1.25) / view.scale;
      context.strokeStyle = css(tint(index));
      context.stroke(one.border);
    });
  }

  function drawCut(view: View): void {
    const { context } = view;
    const all = [...now.things.map((thing) => thing.shape), ...(now.shapes[now.at] ? [now.shapes[now.at]!] : [])];
    const board = document.createElement("canvas");
    [board.width, board.height] = [picture!.width, picture!.height];
    const on = board.getContext("2d")!;
    const side = Math.max(2, Math.round(10 / view.scale));
    for (let row = 0; row * side < board.height; row++) {
      for (let column = 0; column * side < board.width; column++) {
        on.fillStyle = (row + column) % 2 ? "#d9d4cc" : "#f6f3ee";
        on.fillRect(column * side, row * side, side, side);
      }
    }
    on.globalCompositeOperation = "destination-out";
    for (const each of all) on.drawImage(filled(each, [0, 0, 0], 1), 0, 0);
    view.inPicture(() => {
      context.imageSmoothingEnabled = false;
      context.drawImage(board, 0, 0);
    });
  }

  function draw(view: View): void {
    if (!picture) return;
    const own = now.things.length;
    const held = now.shapes[now.at];
    if (cut && (own > 0 || held)) drawCut(view);
    else {
      now.things.forEach((thing, index) => drawShape(view, thing.shape, index, 0.35, false));
      if (ghost && !held) drawShape(view, ghost, own, 0.18, false);
      if (held && held.area > 0) {
        view.inPicture(() => view.context.drawImage(veil(held), 0, 0));
        drawShape(view, held, own, 0.25, true);
      }
    }
    const paint = sheet?.canvas ?? now.paint;
    if (paint && !cut) {
      view.context.globalAlpha = 0.45;
      view.inPicture(() => view.context.drawImage(paint, 0, 0));
      view.context.globalAlpha = 1;
    }
    const box = drawing ?? now.box;
    if (box) drawBox(view, box, css(tint(own)));
    for (const spot of now.spots) dot(view, spot.x, spot.y, spot.inside ? "#2f7d4f" : "#b3261e", spot.inside ? "plus" : "minus");
    if (over && tool() === "paint") ring(view, over);
  }

  function show(): void {
    byId("undo", HTMLButtonElement).disabled = past.length === 0;
    byId("redo", HTMLButtonElement).disabled = future.length === 0;
    byId("clear", HTMLButtonElement).disabled = isEmpty(now);
    const able = (now.shapes[now.at]?.area ?? 0) > 0 && going === null;
    byId("keep", HTMLButtonElement).disabled = !able;
    byId("to-everywhere", HTMLButtonElement).disabled = !able && now.things.length === 0;
    for (const each of document.querySelectorAll<HTMLButtonElement>("#exports button")) each.disabled = !able && now.things.length === 0;
    showCandidates();
    showThings();
    if (active) page.hint(hint());
    stage.redraw();
  }

  function hint(): string {
    if (!picture || !select.value) return "";
    if (going) return "Looking…";
    if (meeting > 0) return "Getting to know the picture… You may click already.";
    if (isEmpty(now)) return HINTS[tool()] ?? "";
    const held = now.shapes[now.at];
    if (!held) return "";
    if (held.area === 0) return "Nothing was found there. Click elsewhere, or undo.";
    if (held.score < UNSURE) return "The model is not sure of this. Another click in it, one out beside it, or a box helps.";
    return `Right? Keep it. Otherwise ${now.shapes.length > 1 ? `choose another (1 to ${now.shapes.length}), ` : ""}click in more of it, or out what is too much.`;
  }

  function showCandidates(): void {
    byId("candidates", HTMLDivElement).replaceChildren(
      ...now.shapes.map((each, index) => {
        const chip = button("", () => pick(index), { class: "candidate", role: "radio", "aria-checked": String(index === now.at), title: `Candidate ${index + 1} (${index + 1})` });
        chip.append(thumb(each, now.things.length), make("span", {}, each.area === 0 ? "empty" : `${Math.round(100 * each.score)} %`));
        return chip;
      }),
    );
  }

  /** A candidate, and the part of the picture around all of them. */
  function thumb(one: Shape, index: number): HTMLCanvasElement {
    const canvas = make("canvas", { width: THUMB, height: THUMB, "aria-hidden": "true" });
    const context = canvas.getContext("2d")!;
    const around = now.shapes.filter((each) => each.area > 0).map((each) => each.box);
    const [left, top] = [Math.min(...around.map((box) => box[0])), Math.min(...around.map((box) => box[1]))];
    const [right, bottom] = [Math.max(...around.map((box) => box[2])), Math.max(...around.map((box) => box[3]))];
    const side = 1.25 * Math.max(right - left, bottom - top, 12);
    if (!Number.isFinite(side)) return canvas;
    context.scale(THUMB / side, THUMB / side);
    context.translate(side / 2 - (left + right) / 2, side / 2 - (top + bottom) / 2);
    context.globalAlpha = 0.6;
    context.drawImage(picture!.image, 0, 0, picture!.width, picture!.height);
    context.globalAlpha = 1;
    context.drawImage(filled(one, tint(index), 0.75), 0, 0);
    return canvas;
  }

  function pick(index: number): void {
    if (!now.shapes[index]) return;
    now.at = index;
    show();
  }

  function showThings(): void {
    byId("things-none", HTMLParagraphElement).hidden = now.things.length > 0;
    const list = byId("things", HTMLOListElement);
    if (list.contains(document.activeElement) && list.children.length === now.things.length && document.activeElement instanceof HTMLInputElement) return;
    list.replaceChildren(...now.things.map((thing, index) => row(thing, index)));
  }

  function row(thing: Thing, index: number): HTMLLIElement {
    const name = make("input", { type: "text", value: thing.name, maxlength: 80, "aria-label": `Name of thing ${index + 1}` });
    name.addEventListener("input", () => (thing.name = name.value.trim() || `thing ${index + 1}`));
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = css(tint(index));
    const away = button("×", () => step({ ...now, things: now.things.filter((each) => each !== thing), asked: now.asked }), { class: "thing-away", "aria-label": `Let ${thing.name} go` });
    const home = button("↓", () => page.attempt(() => take("png", select.value, [{ picture: picture!.input, objects: [kept(thing)] }], true)), { class: "thing-away", "aria-label": `Cut-out of ${thing.name}`, title: "Download the cut-out" });
    return make("li", { class: "thing" }, swatch, name, make("span", { class: "thing-score" }, `${Math.round(100 * thing.shape.score)} %`), home, away);
  }

  // ------------------------------------------------------------------------------------------------------ exports
  const kept = (thing: Thing): Kept => ({ counts: thing.shape.counts, name: thing.name, score: thing.shape.score, source: thing.shape.source });

  /** The kept things; where none is kept, the one under the hand. */
  function current(): Sheet | null {
    if (!picture) return null;
    const held = now.shapes[now.at];
    const things = now.things.length > 0 ? now.things : held && held.area > 0 ? [{ shape: held, name: "thing 1" }] : [];
    return things.length > 0 ? { picture: picture.input, objects: things.map(kept) } : null;
  }

  function home(form: Form): void {
    const sheet = current();
    if (sheet) page.attempt(() => take(form, select.value, [sheet], byId("trim", HTMLInputElement).checked));
  }

  function explain(): void {
    page.say("No model that answers clicks has weights yet. Train one with “bottega train sam”, and open this page again.");
  }

  const forms: [Form, string][] = [["png", "PNG"], ["json", "COCO"], ["npz", "npz"]];
  byId("exports", HTMLDivElement).append(...forms.map(([form, name]) => button(name, () => home(form), { disabled: true })));
  byId("keep", HTMLButtonElement).addEventListener("click", keep);
  byId("clear", HTMLButtonElement).addEventListener("click", clear);
  byId("undo", HTMLButtonElement).addEventListener("click", () => active && undo());
  byId("redo", HTMLButtonElement).addEventListener("click", () => active && redo());
  byId("to-everywhere", HTMLButtonElement).addEventListener("click", () => page.go("everywhere"));
  byId("look", HTMLButtonElement).addEventListener("click", (event) => {
    cut = !cut;
    (event.currentTarget as HTMLButtonElement).setAttribute("aria-pressed", String(cut));
    stage.redraw();
  });
  byId("words-form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = byId("words", HTMLInputElement).value.trim();
    if (asked && picture) step({ ...now, words: asked, held: null, asked: false });
  });
  for (const each of document.querySelectorAll("input[name=tool], input[name=side]")) {
    each.addEventListener("change", () => {
      byId("brush-field", HTMLLabelElement).hidden = tool() !== "paint";
      show();
    });
  }
  select.addEventListener("change", () => picture && open(picture));

  function open(opened: Opened): void {
    going?.abort();
    [picture, now, past, future, sheet, ghost] = [opened, NOTHING, [], [], null, null];
    quick = true;
    if (active) stage.show(opened.image, opened.width, opened.height);
    show();
    if (!select.value) return explain();
    const own = ++meeting;
    page.attempt(async () => {
      try {
        const looked = await look(select.value, opened.input);
        byId("words-form", HTMLFormElement).hidden = !looked.words;
      } finally {
        if (own === meeting) meeting = 0;
        quick = true;
        show();
        glance();
      }
    });
    show();
  }

  return {
    enter: () => {
      active = true;
      byId("brush-field", HTMLLabelElement).hidden = tool() !== "paint";
      stage.use(hand);
      stage.layer(draw);
      stage.show(picture?.image ?? null, picture?.width ?? 1, picture?.height ?? 1);
      if (!picture) page.empty("Drop a picture", "Then click on a thing, and it is marked.");
      show();
    },
    leave: () => {
      active = false;
      ghost = over = null;
    },
    open,
    key: (event) => {
      if (event.key.toLowerCase() === "z") event.shiftKey ? redo() : undo();
      else if (event.key === "Enter") keep();
      else if (event.key === "Escape") clear();
      else if (/^[1-9]$/.test(event.key)) pick(Number(event.key) - 1);
      else if (event.key === "x") choose("side", chosen("side") === "in" ? "out" : "in");
      else if (event.key === "c") byId("look", HTMLButtonElement).click();
      else if (event.key === "p") choose("tool", "point");
      else if (event.key === "b") choose("tool", "box");
      else if (event.key === "m") choose("tool", "paint");
      else return false;
      return true;
    },
    sheet: current,
    picture: () => picture,
  };
}

function drawBox(view: View, box: Box, colour: string): void {
  const { context } = view;
  const [[left, top], [right, bottom]] = [view.toScreen(box.left, box.top), view.toScreen(box.right, box.bottom)];
  for (const [width, style] of [[4, "rgb(255 255 255 / 85%)"], [2, colour]] as const) {
    context.lineWidth = width;
    context.strokeStyle = style;
    context.strokeRect(left, top, right - left, bottom - top);
  }
}

function ring(view: View, place: Place): void {
  const { context } = view;
  const [left, top] = view.toScreen(place.x, place.y);
  for (const [width, style] of [[3, "rgb(0 0 0 / 45%)"], [1.5, "white"]] as const) {
    context.lineWidth = width;
    context.strokeStyle = style;
    context.beginPath();
    context.arc(left, top, brush() / 2, 0, 2 * Math.PI);
    context.stroke();
  }
}
