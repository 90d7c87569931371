// The server's messages, and one function per thing that can be asked of it.

export type Takes = "text" | "picture" | "nothing";
export type Value = string | number | boolean | null;

export interface Choice {
  value: string;
  label: string;
  takes: Takes;
}

export interface Field {
  name: string;
  kind: "inputs" | "whole" | "number" | "switch" | "text" | "picture" | "choice";
  help: string;
  default: Value;
  choices: Choice[];
  optional: boolean;
  largest: number | null;
  mode: boolean;
  takes: Takes;
}

export interface Part {
  name: string;
  default: string;
  choices: string[];
}

export interface SystemForm {
  id: string;
  title: string;
  sentence: string;
  citation: string;
  licence: string;
  fields: Field[];
  parts: Part[];
}

export interface Job {
  id: string;
  system: string;
  label: string;
  state: "queued" | "running" | "done" | "failed" | "cancelled";
  version: number;
  ahead: number;
  step: number;
  total: number;
  stage: string;
  seconds: number;
  cancelling: boolean;
  preview: string;
  item: string;
  identical: boolean | null;
  error: string;
  replay: boolean;
}

export interface Thing {
  kind: "picture" | "words";
  text: string;
  file: string;
  width: number;
  height: number;
}

export interface Item {
  id: string;
  system: string;
  created: number;
  seconds: number;
  settings: Record<string, Value>;
  inputs: { kind: "text" | "picture"; label: string; file: string }[];
  things: Thing[];
  sheet: string;
  parts: Record<string, string>;
  pictures: Record<string, { kind: "text" | "picture"; label: string; file: string }>;
}

export interface Upload {
  id: string;
  name: string;
  width: number;
  height: number;
}

export type Input = { text: string } | { upload: string } | { item: string; picture: number };

export interface Order {
  system: string;
  inputs: Input[];
  settings: Record<string, Value>;
  parts?: Record<string, string>;
  pictures?: Record<string, Input>;
}

/** What the server said no to, in its own words. */
export class Refused extends Error {}

export async function ask(path: string, init?: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch {
    throw new Refused("The studio does not answer. Is it still running?");
  }
  if (answer.ok) return answer;
  const said: unknown = await answer.json().catch(() => null);
  const sentence = typeof said === "object" && said !== null && "error" in said ? String(said.error) : "";
  throw new Refused(sentence || `The studio answered with ${answer.status}.`);
}

export async function json<T>(path: string, init?: RequestInit): Promise<T> {
  return (await (await ask(path, init)).json()) as T;
}

export const systems = (): Promise<SystemForm[]> => json("/api/systems");

export const submit = (order: Order): Promise<{ id: string }> =>
  json("/api/jobs", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(order),
  });

export const cancel = (job: string): Promise<unknown> => json(`/api/jobs/${job}`, { method: "DELETE" });

export const replay = (item: string): Promise<{ id: string }> => json(`/api/gallery/${item}/replay`, { method: "POST" });

export const gallery = (before?: string): Promise<{ items: Item[]; more: boolean }> =>
  json(`/api/gallery?limit=24${before ? `&before=${before}` : ""}`);

export const item = (id: string): Promise<Item> => json(`/api/gallery/${id}`);

export const remove = (id: string): Promise<unknown> => ask(`/api/gallery/${id}`, { method: "DELETE" });

export const upload = (file: File): Promise<Upload> =>
  json(`/api/uploads?name=${encodeURIComponent(file.name.slice(-80))}`, {
    method: "POST",
    headers: { "Content-Type": file.type || "application/octet-stream" },
    body: file,
  });

export const thingAddress = (id: string, index: number): string => `/api/gallery/${id}/things/${index}`;
export const inputAddress = (id: string, index: number): string => `/api/gallery/${id}/inputs/${index}`;
export const uploadAddress = (id: string): string => `/api/uploads/${id}`;

export interface Talking {
  id: string;
  title: string;
  sentence: string;
}

export interface Said {
  speaker: "system" | "user" | "assistant";
  text: string;
}

export interface Conversation {
  system: string;
  messages: Said[];
  temperature: number;
  top_p: number;
  most: number;
  seed: number;
}

export interface Ending {
  ending: "stop" | "length";
  tokens: number;
  seconds: number;
}

export const talking = (): Promise<Talking[]> => json("/api/words");

export const traces = <T>(item: string): Promise<T[]> => json(`/api/gallery/${item}/traces`);

/** Sends a message and hears the answer event by event, until it ends or is given up. Faults are refusals. */
export async function hear(path: string, body: unknown, onEvent: (kind: string, said: unknown) => void, signal: AbortSignal): Promise<void> {
  const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
  const reader = (await ask(path, init)).body?.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    const blocks = (waiting + part.value).split("\n\n");
    waiting = blocks.pop() ?? "";
    for (const block of blocks) {
      const [kind, data] = block.split("\ndata: ");
      const said: unknown = JSON.parse(data ?? "{}");
      if (kind === "event: fault") throw new Refused((said as { error: string }).error);
      onEvent((kind ?? "").replace("event: ", ""), said);
    }
  }
}

/** Has a conversation answered, piece by piece; null when the server went away in the middle. */
export async function talk(asked: Conversation, onPiece: (text: string) => void, signal: AbortSignal): Promise<Ending | null> {
  let ending: Ending | null = null;
  await hear("/api/words", asked, (kind, said) => {
    if (kind === "piece") onPiece((said as { text: string }).text);
    else ending = said as Ending;
  }, signal);
  return ending;
}

/** Follows every job: first all unfinished ones, then each change. The browser connects again by itself. */
export function follow(onAll: (jobs: Job[]) => void, onChange: (job: Job) => void, onLost: (lost: boolean) => void): void {
  const source = new EventSource("/api/events");
  source.addEventListener("jobs", (event: MessageEvent<string>) => {
    onLost(false);
    onAll(JSON.parse(event.data) as Job[]);
  });
  source.addEventListener("job", (event: MessageEvent<string>) => onChange(JSON.parse(event.data) as Job));
  source.addEventListener("error", () => {
    onLost(true);
    if (source.readyState === EventSource.CLOSED) setTimeout(() => follow(onAll, onChange, onLost), 3000);
  });
}
