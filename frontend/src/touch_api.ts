// What the page "Touch" asks of the server.

import { type Input, type Upload, ask, hear, json } from "./api";

export interface Tool {
  id: string;
  title: string;
  sentence: string;
}

export interface Tools {
  segmenters: Tool[];
  finders: Tool[];
  draggers: Tool[];
  videos: boolean;
}

export interface Spot {
  x: number;
  y: number;
  inside: boolean;
}

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export interface Refined {
  answer: string;
  candidate: number;
}

export interface Said {
  spots: Spot[];
  box: Box | null;
  painted: string;
  words: string;
  refines: Refined | null;
}

export interface Candidate {
  counts: string;
  score: number;
  box: [number, number, number, number];
  area: number;
}

export interface Answer {
  answer: string;
  candidates: Candidate[];
  seconds: number;
}

export interface Kept {
  counts: string;
  name: string;
  score: number;
  source: Refined | null;
}

export interface Sheet {
  picture: Input;
  objects: Kept[];
}

export interface Point {
  x: number;
  y: number;
}

export interface Frame {
  number: number;
  picture: string;
  handles: Point[];
  away: number;
}

export interface DragEnd {
  ending: "arrived" | "stopped" | "steps";
  last: Frame;
  undo: number;
  seconds: number;
}

export type Start = { seed: number; kind: string } | { picture: Input; kind: string } | { words: string; seed: number };
export type Form = "png" | "json" | "npz" | "gif" | "webm";

const post = (body: unknown): RequestInit => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const tools = (): Promise<Tools> => json("/api/touch");
export const scene = (index: number): Promise<Upload> => json(`/api/touch/scenes?index=${index}`, { method: "POST" });
export const film = (file: File): Promise<Upload[]> => json(`/api/touch/films?name=${encodeURIComponent(file.name.slice(-80))}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file });
export const warm = (system: string): Promise<unknown> => json(`/api/touch/segmenters/${encodeURIComponent(system)}`, { method: "POST" });
export const look = (system: string, picture: Input): Promise<{ width: number; height: number; words: boolean; seconds: number }> => json("/api/touch/looks", post({ system, picture }));
export const masks = (system: string, picture: Input, said: Said, glance: boolean, signal: AbortSignal): Promise<Answer> => json("/api/touch/masks", { ...post({ system, picture, ...said, glance }), signal });

/** A file of what was kept, handed to the browser to download. */
export async function take(form: Form, system: string, sheets: Sheet[], trim: boolean): Promise<void> {
  save(await ask("/api/touch/exports", post({ form, system, sheets, trim })));
}

export async function takeFrom(path: string): Promise<void> {
  save(await ask(path));
}

async function save(answer: Response): Promise<void> {
  const named = /filename\*=UTF-8''(.+)$/.exec(answer.headers.get("Content-Disposition") ?? "");
  const address = URL.createObjectURL(await answer.blob());
  const link = document.createElement("a");
  link.href = address;
  link.download = decodeURIComponent(named?.[1] ?? "touched");
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

export function search(system: string, examples: Sheet[], pictures: Input[], film: boolean, onFound: (index: number, mask: Candidate) => void, signal: AbortSignal): Promise<void> {
  return hear("/api/touch/searches", { system, examples, pictures, film }, (kind, said) => {
    if (kind !== "found") return;
    const found = said as { index: number; mask: Candidate };
    onFound(found.index, found.mask);
  }, signal);
}

export const dragger = (system: string): Promise<{ size: number; kinds: string[]; words: boolean }> => json(`/api/touch/draggers/${encodeURIComponent(system)}`);
export const undoDrag = (id: string): Promise<{ picture: string; undo: number }> => json(`/api/touch/drags/${id}/undo`, { method: "POST" });
export const stopDrag = (id: string): Promise<unknown> => json(`/api/touch/drags/${id}/stop`, { method: "POST" });
export const leaveDrag = (id: string): Promise<unknown> => json(`/api/touch/drags/${id}`, { method: "DELETE" });
export const dragAddress = (id: string, what: string): string => `/api/touch/drags/${id}/${what}`;

export async function beginDrag(system: string, start: Start, onStep: (step: number, total: number, stage: string) => void, signal: AbortSignal): Promise<{ id: string; size: number; picture: string } | null> {
  let ready: { id: string; size: number; picture: string } | null = null;
  await hear("/api/touch/drags", { system, start }, (kind, said) => {
    if (kind === "preparing") {
      const at = said as { step: number; total: number; stage: string };
      onStep(at.step, at.total, at.stage);
    } else ready = said as { id: string; size: number; picture: string };
  }, signal);
  return ready;
}

export async function drag(id: string, body: { handles: Point[]; targets: Point[]; region: string }, onFrame: (frame: Frame) => void, signal: AbortSignal): Promise<DragEnd | null> {
  let end: DragEnd | null = null;
  await hear(`/api/touch/drags/${id}/move`, body, (kind, said) => {
    if (kind === "frame") onFrame(said as Frame);
    else end = said as DragEnd;
  }, signal);
  return end;
}
