/** Past comparisons, kept in this browser: the newest, as many as fit. */

import { listOf, stored } from "@/lib/stored";

import { sideName } from "./choices";
import { COMPARISON } from "./comparison";
import type { Comparison } from "./comparison";

export const MOST_ENTRIES = 100;
/** Browsers give a site about 5 million characters in all. */
const MOST_CHARACTERS = 2_000_000;

export const historyStore = stored("droidft.compare.history", listOf(COMPARISON), { shared: true });

/** Newest first, the oldest dropped where there are too many or they are too long. */
export function bounded(entries: readonly Comparison[], characters = MOST_CHARACTERS): Comparison[] {
  let room = characters;
  const kept: Comparison[] = [];
  for (const entry of entries.slice(0, MOST_ENTRIES)) {
    room -= JSON.stringify(entry).length;
    if (room < 0) break;
    kept.push(entry);
  }
  return kept;
}

/** Keep a comparison, in place of an older state of it. Whether there was room. */
export function keep(comparison: Comparison): boolean {
  const place = (entries: Comparison[]) =>
    entries.some((entry) => entry.id === comparison.id)
      ? entries.map((entry) => (entry.id === comparison.id ? comparison : entry))
      : [comparison, ...entries];
  const entries = place(historyStore.get());
  for (let room = MOST_CHARACTERS; room > 1000; room /= 2) {
    const kept = bounded(entries, room);
    if (kept.some((entry) => entry.id === comparison.id) && historyStore.set(kept)) return true;
  }
  return false;
}

export function forget(id: string): void {
  historyStore.update((entries) => entries.filter((entry) => entry.id !== id));
}

/** Entries whose prompt, system prompt, answers or sides hold every word. */
export function search(entries: readonly Comparison[], words: string): Comparison[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  if (wanted.length === 0) return [...entries];
  return entries.filter((entry) => {
    const { prompt, system_prompt: system, model_name: model } = entry.request;
    const names = entry.sides.map((side) => `${sideName(side.adapter)}\n${side.text}`);
    const text = [prompt, system ?? "", model, ...names].join("\n").toLowerCase();
    return wanted.every((word) => text.includes(word));
  });
}
