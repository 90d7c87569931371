// The mode "Drag": points of a picture are pulled to where the person wants them, while one looks on.

import { type Upload, upload } from "./api";
import { button, byId, make } from "./dom";
import { encode, painted } from "./masks";
import { type Hand, type Place, type View, dot } from "./stage";
import { type Frame, type Point, type Start, beginDrag, drag, dragAddress, dragger, leaveDrag, stopDrag, takeFrom, undoDrag } from "./touch_api";
import { type Marked, type Mode, type Opened, type Page, type Paper, brush, choices, choose, chosen, gaveUp, paper } from "./touch_page";

interface Arrow {
  handle: Point;
  target: Point | null;
}

const [HANDLE, TARGET] = ["#b3261e", "#1d5f9e"];
const NEAR = 14;
const ENDS: Record<string, string> = { arrived: "There.", stopped: "Stopped.", steps: "Not all the way; drag again to go on." };

export function pull(page: Page, marked: Marked, mark: (picture: Upload) => void): Mode {
  const { stage } = page;
  const select = byId("dragger", HTMLSelectElement);
  const kind = byId("kind", HTMLSelectElement);
  const line = byId("drag-line", HTMLParagraphElement);
  const [start, stop] = [byId("drag-start", HTMLButtonElement), byId("drag-stop", HTMLButtonElement)];
  let [session, size, undos] = ["", 64, 0];
  let image: HTMLImageElement | null = null;
  let arrows: Arrow[] = [];
  let region: Paper | null = null;
  let [going, moving]: [AbortController | null, boolean] = [null, false];
  let [held, last, over]: [Arrow | null, Place | null, Place | null] = [null, null, null];
  let grabbed: { arrow: Arrow; end: "handle" | "target" } | null = null;
  let [active, asked, newest] = [false, "", 0];
  choices(select, page.tools.draggers);

  // ------------------------------------------------------------------------------------------------- the picture
  async function show(address: string): Promise<void> {
    const own = ++newest;
    const next = new Image();
    next.src = address;
    await next.decode();
    if (own !== newest) return; // a later frame was quicker
    image = next;
    if (active) stage.show(image, size, size);
  }

  async function facts(): Promise<void> {
    if (!select.value || asked === select.value) return;
    const system = select.value;
    asked = system;
    const known = await dragger(system);
    if (system !== select.value) return; // another one was chosen in the meantime
    kind.replaceChildren(...known.kinds.map((each) => make("option", { value: each }, each)));
    byId("kind-field", HTMLLabelElement).hidden = known.kinds.length < 2;
    byId("drag-draw", HTMLButtonElement).disabled = byId("drag-words", HTMLInputElement).disabled = !known.words;
    byId("drag-words-note", HTMLElement).textContent = known.words
      ? "The sentence is drawn by this model, and then dragged in it."
      : `This model reads no sentences: it draws its own pictures, and looks for yours in them.${page.tools.draggers.length > 1 ? " Another model may read them." : ""}`;
  }

  async function begin(from: Start): Promise<void> {
    if (!select.value) return explain();
    going?.abort();
    const controller = new AbortController();
    going = controller;
    page.say("");
    tell("Getting the picture ready…");
    refresh();
    try {
      const ready = await beginDrag(select.value, from, (step, total, stage) => tell(`${stage}: ${step} of ${total}`), controller.signal);
      if (!ready) throw new Error("the picture never came");
      if (session) void leaveDrag(session).catch(() => undefined);
      [session, size, undos, arrows, region] = [ready.id, ready.size, 0, [], null];
      await show(ready.picture);
      byId("canvas-box", HTMLDivElement).scrollIntoView({ block: "nearest" });
      tell("");
    } catch (error) {
      tell("");
      if (!gaveUp(error)) throw error;
    } finally {
      if (going === controller) going = null;
      refresh();
    }
  }

  async function run(): Promise<void> {
    const ready = arrows.filter((each): each is { handle: Point; target: Point } => each.target !== null);
    if (!session || going || ready.length === 0) return;
    const controller = new AbortController();
    [going, moving] = [controller, true];
    page.say("");
    refresh();
    const began = performance.now();
    let frames = 0;
    const places = (point: Point): Point => ({ x: point.x - 0.5, y: point.y - 0.5 }); // 0 is the middle of a pixel there
    const follow = (frame: Frame): void => {
      frame.handles.forEach((handle, index) => (ready[index]!.handle = { x: handle.x + 0.5, y: handle.y + 0.5 }));
      if (frame.picture) void show(frame.picture);
      else stage.redraw();
    };
    try {
      const body = { handles: ready.map((each) => places(each.handle)), targets: ready.map((each) => places(each.target)), region: region ? encode(painted(region.canvas)) : "" };
      const end = await drag(session, body, (frame) => {
        if (frame.picture) frames++;
        follow(frame);
        const speed = frames / ((performance.now() - began) / 1000);
        line.dataset["rate"] = speed.toFixed(1);
        const pace = speed >= 1 ? `${speed.toFixed(0)} pictures a second` : "a picture now and then";
        tell(`Step ${frame.number} · ${frame.away.toFixed(1)} pixels to go · ${pace}`);
      }, controller.signal);
      if (!end) throw new Error("the drag never ended");
      follow(end.last);
      undos = end.undo;
      tell(`${ENDS[end.ending]} ${end.last.number} steps, ${end.seconds.toFixed(1)} s.`);
    } catch (error) {
      tell("");
      if (!gaveUp(error)) throw error;
    } finally {
      [going, moving] = [null, false];
      refresh();
    }
  }

  function halt(): void {
    if (moving) page.attempt(() => stopDrag(session));
    else going?.abort();
  }

  function undo(): void {
    if (going) return;
    if (arrows.at(-1) && arrows.at(-1)!.target === null) arrows = arrows.slice(0, -1);
    else if (undos > 0) {
      page.attempt(async () => {
        const back = await undoDrag(session);
        undos = back.undo;
        arrows = [];
        await show(back.picture);
        tell("Taken back.");
        refresh();
      });
    } else arrows = arrows.slice(0, -1);
    refresh();
  }

  function clear(): void {
    if (moving) return halt();
    if (going) return going.abort();
    [arrows, region] = [[], null];
    refresh();
  }

  // ------------------------------------------------------------------------------------------------- the pointer
  function near(place: Place): { arrow: Arrow; end: "handle" | "target" } | null {
    const reach = (NEAR * (place.pen ? 1.6 : 1)) / stage.scale();
    for (const arrow of [...arrows].reverse()) {
      for (const end of ["target", "handle"] as const) {
        const point = arrow[end];
        if (point && Math.hypot(point.x - place.x, point.y - place.y) < reach) return { arrow, end };
      }
    }
    return null;
  }

  const hand: Hand = {
    down: (place) => {
      if (!session || moving) return;
      last = place;
      if (chosen("pull") === "region") {
        region ??= paper(size, size);
        return hand.move(place);
      }
      grabbed = near(place);
      if (grabbed && place.out) {
        arrows = arrows.filter((each) => each !== grabbed!.arrow);
        grabbed = null;
      } else if (!grabbed && !place.out) {
        const open = arrows.find((each) => each.target === null);
        if (open) open.target = { x: place.x, y: place.y };
        else {
          held = { handle: { x: place.x, y: place.y }, target: null };
          arrows = [...arrows, held];
        }
      }
      refresh();
    },
    move: (place) => {
      if (!last) return;
      if (chosen("pull") === "region") region?.stroke(last, place, brush() / stage.scale(), place.out);
      else if (grabbed) grabbed.arrow[grabbed.end] = { x: place.x, y: place.y };
      else if (held && Math.hypot(place.x - held.handle.x, place.y - held.handle.y) * stage.scale() > 6) held.target = { x: place.x, y: place.y };
      if (chosen("pull") === "region") last = place;
      stage.redraw();
    },
    up: () => {
      [held, grabbed, last] = [null, null, null];
      refresh();
    },
    cancel: () => {
      if (held) arrows = arrows.filter((each) => each !== held);
      [held, grabbed, last] = [null, null, null];
      refresh();
    },
    hover: (place) => {
      over = place;
      stage.redraw();
    },
  };

  function draw(view: View): void {
    if (!image) return;
    if (region) drawRegion(view, region);
    for (const { handle, target } of arrows) {
      if (target) arrow(view, handle, target);
      dot(view, handle.x, handle.y, HANDLE, "none");
      if (target) dot(view, target.x, target.y, TARGET, "none");
    }
    const open = arrows.find((each) => each.target === null);
    if (open && over && !moving) arrow(view, open.handle, over);
  }

  // -------------------------------------------------------------------------------------------------- the controls
  const tell = (sentence: string): void => void (line.textContent = sentence);

  function refresh(): void {
    const ready = arrows.some((each) => each.target !== null);
    start.hidden = going !== null;
    stop.hidden = going === null;
    start.disabled = !session || !ready;
    byId("drag-clear", HTMLButtonElement).disabled = going !== null || (arrows.length === 0 && !region);
    byId("to-mark", HTMLButtonElement).disabled = !session || going !== null;
    byId("drag-own", HTMLButtonElement).disabled = !marked.picture() || going !== null;
    byId("drag-new", HTMLButtonElement).disabled = going !== null;
    for (const each of document.querySelectorAll<HTMLButtonElement>("#drag-exports button")) each.disabled = !session || moving || (each.dataset["film"] === "true" && undos === 0);
    if (!active) return;
    byId("undo", HTMLButtonElement).disabled = going !== null || (arrows.length === 0 && undos === 0);
    byId("brush-field", HTMLLabelElement).hidden = chosen("pull") !== "region";
    page.hint(hint(ready));
    stage.redraw();
  }

  function hint(ready: boolean): string {
    if (!session) return "";
    if (moving) return "It moves. Stop keeps what you see; undo brings back what was.";
    if (going) return "";
    if (chosen("pull") === "region") return "Paint what may move; all else stays as it is. The right button or Alt rubs out.";
    if (arrows.some((each) => each.target === null)) return "And where shall it go? Click there.";
    return ready ? "Press Drag, or add another arrow. Ends of arrows can be moved; a right click takes one away." : "Pull from a point of the picture to where it shall go.";
  }

  function explain(): void {
    page.say("No model whose pictures can be dragged has weights yet. Train one with “bottega train draggan”, and open this page again.");
  }

  const fresh = (): void => page.attempt(() => begin({ seed: Math.floor(Math.random() * 2 ** 31), kind: kind.value }));
  byId("drag-new", HTMLButtonElement).addEventListener("click", fresh);
  byId("drag-own", HTMLButtonElement).addEventListener("click", () => own(marked.picture()));
  byId("drag-words-form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    const said = byId("drag-words", HTMLInputElement).value.trim();
    if (!said) return page.say("Write a sentence first.");
    page.attempt(() => begin({ words: said, seed: Math.floor(Math.random() * 2 ** 31) }));
  });
  start.addEventListener("click", () => page.attempt(run));
  stop.addEventListener("click", halt);
  byId("drag-clear", HTMLButtonElement).addEventListener("click", clear);
  byId("undo", HTMLButtonElement).addEventListener("click", () => active && undo());
  byId("to-mark", HTMLButtonElement).addEventListener("click", () =>
    page.attempt(async () => {
      const answer = await fetch(dragAddress(session, "picture"));
      mark(await upload(new File([await answer.blob()], "dragged.png", { type: "image/png" })));
    }),
  );
  const films: [string, string, boolean][] = [["PNG", "picture", false], ["GIF", "film?form=gif", true], ["WebM", "film?form=webm", true]];
  byId("drag-exports", HTMLDivElement).append(...films.map(([name, what, film]) => button(name, () => page.attempt(() => takeFrom(dragAddress(session, what))), { disabled: true, "data-film": String(film) })));
  for (const each of document.querySelectorAll("input[name=pull]")) each.addEventListener("change", refresh);
  select.addEventListener("change", () => page.attempt(facts));

  function own(picture: Opened | null): void {
    if (picture) page.attempt(() => begin({ picture: picture.input, kind: kind.value }));
  }

  return {
    enter: () => {
      active = true;
      stage.use(hand);
      stage.layer(draw);
      stage.show(image, size, size);
      if (!select.value) {
        page.empty("Nothing to drag yet", "No model whose pictures can be dragged has weights here.");
        explain();
      } else if (!session) {
        page.empty("Draw a picture, or drop one", "Then pull from a point to where it shall go.", [button("New picture", fresh)]);
        page.attempt(facts);
      }
      refresh();
    },
    leave: () => {
      active = false;
      if (moving) halt();
    },
    open: own,
    key: (event) => {
      if (event.key.toLowerCase() === "z") undo();
      else if (event.key === "Enter") page.attempt(run);
      else if (event.key === "Escape") clear();
      else if (event.key === "p") choose("pull", "arrow");
      else if (event.key === "m") choose("pull", "region");
      else return false;
      return true;
    },
  };
}

function arrow(view: View, from: Point, to: Point): void {
  const { context } = view;
  const [[x, y], [u, v]] = [view.toScreen(from.x, from.y), view.toScreen(to.x, to.y)];
  const angle = Math.atan2(v - y, u - x);
  for (const [width, style] of [[5, "rgb(255 255 255 / 85%)"], [2.5, "#2a241d"]] as const) {
    context.lineWidth = width;
    context.strokeStyle = style;
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(u, v);
    for (const turn of [2.6, -2.6]) {
      context.moveTo(u - 9 * Math.cos(angle), v - 9 * Math.sin(angle));
      context.lineTo(u - 9 * Math.cos(angle) + 9 * Math.cos(angle + turn), v - 9 * Math.sin(angle) + 9 * Math.sin(angle + turn));
    }
    context.stroke();
  }
}

/** What may not move lies in the shade, what may is golden. */
function drawRegion(view: View, region: Paper): void {
  const veil = document.createElement("canvas");
  [veil.width, veil.height] = [region.canvas.width, region.canvas.height];
  const on = veil.getContext("2d")!;
  on.fillStyle = "rgb(30 24 18 / 50%)";
  on.fillRect(0, 0, veil.width, veil.height);
  on.globalCompositeOperation = "destination-out";
  on.drawImage(region.canvas, 0, 0);
  view.inPicture(() => {
    view.context.drawImage(veil, 0, 0);
    view.context.globalAlpha = 0.3;
    view.context.drawImage(region.canvas, 0, 0);
    view.context.globalAlpha = 1;
  });
}
