// What the modes of the page "Touch" share: the picture, the canvas, and the lines that speak to the person.

import { type Input, Refused } from "./api";
import { byId, make } from "./dom";
import type { Stage } from "./stage";
import type { Sheet, Tool, Tools } from "./touch_api";

export type ModeName = "mark" | "drag" | "everywhere";

/** As the server's films show them. */
export const TINTS = [[214, 69, 45], [47, 125, 168], [66, 140, 83], [196, 143, 26], [133, 84, 158], [26, 143, 133]] as const;
export const tint = (index: number): readonly [number, number, number] => TINTS[index % TINTS.length]!;
export const css = ([red, green, blue]: readonly [number, number, number], alpha = 1): string => `rgb(${red} ${green} ${blue} / ${alpha})`;

export interface Opened {
  input: Input;
  name: string;
  address: string;
  image: HTMLImageElement;
  width: number;
  height: number;
}

export interface Page {
  tools: Tools;
  stage: Stage;
  say: (sentence: string) => void;
  hint: (sentence: string) => void;
  empty: (title: string, words: string, tries?: HTMLElement[]) => void;
  go: (mode: ModeName) => void;
  attempt: (deed: () => Promise<unknown>) => void;
}

export interface Mode {
  enter: () => void;
  leave: () => void;
  open: (picture: Opened) => void;
  key: (event: KeyboardEvent) => boolean;
}

/** What one mode asks of another. */
export interface Marked {
  sheet: () => Sheet | null;
  picture: () => Opened | null;
}

export const words = (error: unknown): string => (error instanceof Refused ? error.message : "This page has a fault; its console says more.");
export const gaveUp = (error: unknown): boolean => error instanceof DOMException && error.name === "AbortError";

export function choices(select: HTMLSelectElement, tools: Tool[]): void {
  select.replaceChildren(...tools.map((tool) => make("option", { value: tool.id, title: tool.sentence }, tool.title)));
  select.closest(".field")!.toggleAttribute("hidden", tools.length < 2);
}

export const chosen = (name: string): string => document.querySelector<HTMLInputElement>(`input[name=${name}]:checked`)?.value ?? "";

export function choose(name: string, value: string): void {
  const found = document.querySelector<HTMLInputElement>(`input[name=${name}][value=${value}]`);
  if (!found || found.checked) return;
  found.checked = true;
  found.dispatchEvent(new Event("change", { bubbles: true }));
}

export const brush = (): number => Number(byId("brush", HTMLInputElement).value);

/** A canvas to paint a mask on, of a picture's size; strokes are round, and `out` rubs out. */
export interface Paper {
  canvas: HTMLCanvasElement;
  stroke: (from: { x: number; y: number }, to: { x: number; y: number }, width: number, out: boolean) => void;
}

export function paper(width: number, height: number, from?: CanvasImageSource): Paper {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  if (from) context.drawImage(from, 0, 0);
  return {
    canvas,
    stroke: (start, end, size, out) => {
      context.globalCompositeOperation = out ? "destination-out" : "source-over";
      context.strokeStyle = "rgb(196 143 26)";
      context.lineWidth = size;
      context.lineCap = "round";
      context.beginPath();
      context.moveTo(start.x, start.y);
      context.lineTo(end.x + 0.01, end.y);
      context.stroke();
    },
  };
}
