/** Sampled completions as they are shown: together with the others of their prompt. */

import type { SampledCompletion } from "@/api";

export interface Group {
  place: string;
  prompt: string;
  rows: SampledCompletion[];
  /** Whether all that are shown have no advantage: the group teaches nothing. */
  tied: boolean;
}

/** The completions by prompt, in the order in which the prompts come up. */
export function groupsOf(rows: readonly SampledCompletion[]): Group[] {
  const groups = new Map<string, Group>();
  for (const row of rows) {
    const key = `${row.place}\n${row.prompt}`;
    const group = groups.get(key) ?? { place: row.place, prompt: row.prompt, rows: [], tied: true };
    group.rows.push(row);
    group.tied &&= row.advantage === 0;
    groups.set(key, group);
  }
  return [...groups.values()].map((group) => ({ ...group, tied: group.tied && group.rows.length > 1 }));
}

/** Names of the rewards, in the order in which they come up. */
export function rewardsOf(rows: readonly SampledCompletion[]): string[] {
  return [...new Set(rows.flatMap((row) => Object.keys(row.rewards)))];
}

/** An advantage with its sign: `+1.2`, `−0.4`, `0`. */
export function signed(value: number): string {
  if (value === 0) return "0";
  return `${value > 0 ? "+" : "−"}${Math.abs(value).toFixed(2)}`;
}
