// What the page remembers between visits: the settings, in this browser. Results are remembered by the server.

import type { Value } from "./api";

const KEY = "bottega.pictures";

export interface Memory {
  system: string;
  prompt: string;
  seedLocked: boolean;
  settings: Record<string, Record<string, Value>>;
}

export function recall(): Memory {
  const empty: Memory = { system: "", prompt: "", seedLocked: false, settings: {} };
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return typeof kept === "object" && kept !== null ? { ...empty, ...kept } : empty;
  } catch {
    return empty; // a damaged or forbidden store is as good as an empty one
  }
}

export function keep(memory: Memory): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(memory));
  } catch {
    // a private window keeps nothing; the page works without
  }
}
