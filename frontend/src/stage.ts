// The large canvas of the page "Touch": a picture as large as fits, and layers above it that stay sharp at any size.

import { byId } from "./dom";

export interface Place {
  x: number;
  y: number;
  out: boolean;
  pen: boolean;
}

/** What the pointer does. Places are in pixels of the picture, from its corner, and always inside it. */
export interface Hand {
  down: (place: Place) => void;
  move: (place: Place) => void;
  up: (place: Place) => void;
  hover: (place: Place | null) => void;
  cancel: () => void;
}

export interface View {
  context: CanvasRenderingContext2D;
  scale: number;
  toScreen: (x: number, y: number) => [number, number];
  inPicture: (draw: () => void) => void;
}

export interface Stage {
  show: (picture: CanvasImageSource | null, width: number, height: number) => void;
  redraw: () => void;
  use: (hand: Hand | null) => void;
  layer: (draw: (view: View) => void) => void;
  scale: () => number;
  focus: () => void;
}

const MARGIN = 10;
const CLOSEST = 16;
const ARROWS: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function stage(): Stage {
  const canvas = byId("canvas", HTMLCanvasElement);
  const frame = byId("canvas-box", HTMLDivElement);
  let [picture, width, height] = [null as CanvasImageSource | null, 1, 1];
  let hand: Hand | null = null;
  let draw: (view: View) => void = () => undefined;
  let waiting = false;
  let [across, down, ratio] = [1, 1, 1];
  let [zoom, panX, panY] = [1, 0, 0];
  let cursor: Place | null = null; // for the arrow keys

  const scale = (): number => zoom * Math.min((across - 2 * MARGIN) / width, (down - 2 * MARGIN) / height);
  const corner = (): [number, number] => [(across - width * scale()) / 2 + panX, (down - height * scale()) / 2 + panY];

  /** Comes nearer to (or away from) a point of the canvas, which stays where it is; the picture never leaves the canvas. */
  function near(factor: number, x: number, y: number, dragX = 0, dragY = 0): void {
    const [left, top] = corner();
    const before = scale();
    zoom = Math.min(CLOSEST, Math.max(1, zoom * factor));
    const grown = scale() / before;
    panX = x - (x - left) * grown - (across - width * scale()) / 2 + dragX;
    panY = y - (y - top) * grown - (down - height * scale()) / 2 + dragY;
    const [mostX, mostY] = [Math.max(0, (width * scale() - across) / 2 + MARGIN), Math.max(0, (height * scale() - down) / 2 + MARGIN)];
    panX = Math.min(mostX, Math.max(-mostX, panX));
    panY = Math.min(mostY, Math.max(-mostY, panY));
    canvas.dataset["zoom"] = zoom.toFixed(2);
    redraw();
  }

  function measure(): void {
    ratio = window.devicePixelRatio || 1;
    [across, down] = [Math.max(1, frame.clientWidth), Math.max(1, frame.clientHeight)];
    canvas.width = Math.round(across * ratio);
    canvas.height = Math.round(down * ratio);
    redraw();
  }

  function redraw(): void {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      paint();
    });
  }

  function paint(): void {
    const context = canvas.getContext("2d")!;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, across, down);
    if (!picture) return;
    const [[left, top], size] = [corner(), scale()];
    const inPicture = (paintIt: () => void): void => {
      context.save();
      context.translate(left, top);
      context.scale(size, size);
      paintIt();
      context.restore();
    };
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    inPicture(() => context.drawImage(picture!, 0, 0, width, height));
    draw({ context, scale: size, inPicture, toScreen: (x, y) => [left + x * size, top + y * size] });
    if (cursor) cross(context, left + cursor.x * size, top + cursor.y * size);
  }

  function place(event: PointerEvent): Place {
    const [box, [left, top], size] = [canvas.getBoundingClientRect(), corner(), scale()];
    const clamp = (value: number, most: number): number => Math.min(Math.max(value, 0), most - 0.01);
    return {
      x: clamp((event.clientX - box.left - left) / size, width),
      y: clamp((event.clientY - box.top - top) / size, height),
      out: event.button === 2 || (event.buttons & 2) !== 0 || event.altKey,
      pen: event.pointerType !== "mouse",
    };
  }

  let pressed = -1;
  const touching = new Map<number, { x: number; y: number }>();
  const spread = (): { x: number; y: number; wide: number } => {
    const [one, two] = [...touching.values()] as [{ x: number; y: number }, { x: number; y: number }];
    return { x: (one.x + two.x) / 2, y: (one.y + two.y) / 2, wide: Math.hypot(one.x - two.x, one.y - two.y) };
  };
  const onCanvas = (event: MouseEvent): { x: number; y: number } => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (!picture || event.button === 1) return;
    event.preventDefault();
    cursor = null;
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    touching.set(event.pointerId, onCanvas(event));
    if (touching.size === 2 && event.pointerType === "touch") {
      if (pressed >= 0) hand?.cancel(); // two fingers come nearer
      pressed = -1;
    } else if (touching.size === 1 && hand) {
      pressed = event.pointerId;
      hand.down(place(event));
    }
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!picture) return;
    if (touching.size === 2 && touching.has(event.pointerId)) {
      const before = spread();
      touching.set(event.pointerId, onCanvas(event));
      const after = spread();
      near(after.wide / Math.max(1, before.wide), before.x, before.y, after.x - before.x, after.y - before.y);
    } else if (event.pointerId === pressed) for (const each of event.getCoalescedEvents?.() ?? [event]) hand?.move(place(each));
    else if (touching.size === 0 && event.pointerType === "mouse") hand?.hover(place(event));
  });
  const release = (event: PointerEvent): void => {
    touching.delete(event.pointerId);
    if (event.pointerId !== pressed) return;
    pressed = -1;
    if (event.type === "pointercancel") hand?.cancel();
    else hand?.up(place(event));
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => hand?.hover(null));
  canvas.addEventListener("wheel", (event) => {
    if (!picture || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const { x, y } = onCanvas(event);
    near(Math.exp(-event.deltaY / 250), x, y);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (!picture || event.ctrlKey || event.metaKey) return;
    const arrow = ARROWS[event.key];
    if (arrow) {
      const stride = (event.shiftKey ? 1 : 12) / scale();
      const [x, y] = [(cursor?.x ?? width / 2) + arrow[0] * stride, (cursor?.y ?? height / 2) + arrow[1] * stride];
      cursor = { x: Math.min(Math.max(x, 0), width - 0.01), y: Math.min(Math.max(y, 0), height - 0.01), out: event.altKey, pen: false };
      hand?.hover(cursor);
      redraw();
    } else if (event.key === " " && cursor) {
      hand?.down({ ...cursor, out: event.altKey });
      hand?.up({ ...cursor, out: event.altKey });
    } else if (event.key === "+" || event.key === "-") near(event.key === "+" ? 1.25 : 0.8, across / 2, down / 2);
    else if (event.key === "0") near(1 / CLOSEST, across / 2, down / 2);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  canvas.addEventListener("blur", () => {
    cursor = null;
    redraw();
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  new ResizeObserver(measure).observe(frame);
  measure();

  return {
    show: (shown, wide, high) => {
      if (wide !== width || high !== height) [zoom, panX, panY, cursor] = [1, 0, 0, null];
      [picture, width, height] = [shown, wide, high];
      canvas.dataset["picture"] = shown ? `${wide}x${high}` : "";
      redraw();
    },
    redraw,
    use: (used) => {
      hand = used;
    },
    layer: (drawn) => {
      draw = drawn;
      redraw();
    },
    scale,
    focus: () => canvas.focus({ preventScroll: true }),
  };
}

function cross(context: CanvasRenderingContext2D, x: number, y: number): void {
  for (const [width, style] of [[3.5, "rgb(0 0 0 / 60%)"], [1.5, "white"]] as const) {
    context.lineWidth = width;
    context.strokeStyle = style;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]] as const) {
      context.moveTo(x + 4 * dx, y + 4 * dy);
      context.lineTo(x + 12 * dx, y + 12 * dy);
    }
    context.stroke();
  }
}

/** A dot that is seen on any picture. */
export function dot(view: View, x: number, y: number, colour: string, sign: "plus" | "minus" | "none", radius = 7): void {
  const { context } = view;
  const [left, top] = view.toScreen(x, y);
  context.beginPath();
  context.arc(left, top, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = "white";
  context.stroke();
  context.lineWidth = 0.75;
  context.strokeStyle = "rgb(0 0 0 / 55%)";
  context.beginPath();
  context.arc(left, top, radius + 1.3, 0, 2 * Math.PI);
  context.stroke();
  if (sign === "none") return;
  context.strokeStyle = "white";
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(left - 3, top);
  context.lineTo(left + 3, top);
  if (sign === "plus") {
    context.moveTo(left, top - 3);
    context.lineTo(left, top + 3);
  }
  context.stroke();
}
