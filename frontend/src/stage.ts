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

export function stage(): Stage {
  const canvas = byId("canvas", HTMLCanvasElement);
  const frame = byId("canvas-box", HTMLDivElement);
  let [picture, width, height] = [null as CanvasImageSource | null, 1, 1];
  let hand: Hand | null = null;
  let draw: (view: View) => void = () => undefined;
  let waiting = false;
  let [across, down, ratio] = [1, 1, 1];

  const scale = (): number => Math.min((across - 2 * MARGIN) / width, (down - 2 * MARGIN) / height);
  const corner = (): [number, number] => [(across - width * scale()) / 2, (down - height * scale()) / 2];

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
  canvas.addEventListener("pointerdown", (event) => {
    if (!hand || !picture || pressed >= 0 || event.button === 1) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    pressed = event.pointerId;
    hand.down(place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!hand || !picture) return;
    if (event.pointerId === pressed) for (const each of event.getCoalescedEvents?.() ?? [event]) hand.move(place(each));
    else if (pressed < 0 && event.pointerType === "mouse") hand.hover(place(event));
  });
  const release = (event: PointerEvent): void => {
    if (event.pointerId !== pressed) return;
    pressed = -1;
    hand?.up(place(event));
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => hand?.hover(null));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  new ResizeObserver(measure).observe(frame);
  measure();

  return {
    show: (shown, wide, high) => {
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
