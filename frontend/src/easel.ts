// A canvas to paint on: a picture below, strokes above. Strokes are a mask or colours, as the task needs.

import { byId } from "./dom";

export type Ink = "none" | "mask" | "paint";

const SIDE = 256;
const MASK = "rgb(160 63 36 / 60%)";

interface Stroke {
  colour: string;
  width: number;
  points: [number, number][];
}

export interface Easel {
  ink: (ink: Ink) => void;
  show: (picture: CanvasImageSource | null) => void;
  picture: () => Promise<Blob>;
  mask: () => Promise<Blob>;
  empty: () => boolean;
  marked: () => boolean;
  undo: () => void;
}

export function easel(): Easel {
  const canvas = byId("canvas", HTMLCanvasElement);
  const [colour, brush] = [byId("colour", HTMLInputElement), byId("brush", HTMLInputElement)];
  let ink: Ink = "none";
  let below: CanvasImageSource | null = null;
  let strokes: Stroke[] = [];

  function trace(context: CanvasRenderingContext2D, stroke: Stroke, style: string): void {
    context.strokeStyle = style;
    context.lineWidth = stroke.width;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    stroke.points.forEach(([x, y], index) => (index === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
    if (stroke.points.length === 1) context.lineTo(stroke.points[0]![0] + 0.1, stroke.points[0]![1]);
    context.stroke();
  }

  function paint(context: CanvasRenderingContext2D, withStrokes: boolean): void {
    context.fillStyle = "white";
    context.fillRect(0, 0, SIDE, SIDE);
    if (below) context.drawImage(below, 0, 0, SIDE, SIDE);
    if (withStrokes) for (const stroke of strokes) trace(context, stroke, ink === "mask" ? MASK : stroke.colour);
  }

  const show = (): void => paint(canvas.getContext("2d")!, ink !== "none");

  function sheet(draw: (context: CanvasRenderingContext2D) => void): Promise<Blob> {
    const other = document.createElement("canvas");
    other.width = other.height = SIDE;
    draw(other.getContext("2d")!);
    return new Promise((resolve, reject) => other.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), "image/png"));
  }

  function place(event: PointerEvent): [number, number] {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (ink === "none") return;
    canvas.setPointerCapture(event.pointerId);
    strokes.push({ colour: colour.value, width: Number(brush.value), points: [place(event)] });
    show();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (ink === "none" || !canvas.hasPointerCapture(event.pointerId)) return;
    strokes.at(-1)?.points.push(place(event));
    show();
  });
  show();

  return {
    ink: (chosen) => {
      if (chosen !== ink) strokes = [];
      ink = chosen;
      canvas.dataset["ink"] = chosen;
      show();
    },
    show: (picture) => {
      below = picture;
      strokes = [];
      show();
    },
    picture: () => sheet((context) => paint(context, ink === "paint")),
    mask: () =>
      sheet((context) => {
        context.fillStyle = "black";
        context.fillRect(0, 0, SIDE, SIDE);
        for (const stroke of strokes) trace(context, stroke, "white");
      }),
    empty: () => below === null && strokes.length === 0,
    marked: () => strokes.length > 0,
    undo: () => {
      strokes.pop();
      show();
    },
  };
}
