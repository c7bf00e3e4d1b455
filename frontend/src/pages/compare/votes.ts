/** Blind votes, kept in this browser, and what they say about each set of model and adapters. */

import * as z from "zod/mini";

import { listOf, stored } from "@/lib/stored";

import { isHidden, letter } from "./comparison";
import type { Comparison, Vote } from "./comparison";
import { clopperPearson } from "./interval";
import type { Interval } from "./interval";

const BALLOT = z.object({
  /** Of the comparison. */
  id: z.string(),
  at: z.number(),
  model: z.string(),
  /** In the order in which they were shown; null is the base. */
  shown: z.array(z.nullable(z.string())),
  prompt: z.string(),
  seed: z.number(),
  outcome: z.enum(["side", "tie", "bad"]),
  /** The letter of the preferred side, if one was. */
  letter: z.nullable(z.string()),
  /** The side that was preferred; null also stands for the base. */
  winner: z.nullable(z.string()),
});
export type Ballot = z.infer<typeof BALLOT>;

const MOST_BALLOTS = 2_000;
const LONGEST_PROMPT = 300;

export const votesStore = stored("droidft.compare.votes", listOf(BALLOT), { shared: true });

/** One name for a set of sides, in whatever order they were shown. */
export function setKey(model: string, sides: readonly (string | null)[]): string {
  return JSON.stringify([model, ...sides.map((side) => side ?? "").sort()]);
}

/** The comparison with its vote, revealed; and the ballot. Null where no vote can be given any more. */
export function voted(
  comparison: Comparison,
  vote: Vote,
  at: number,
): { comparison: Comparison; ballot: Ballot } | null {
  const preferred = typeof vote === "number" ? comparison.sides[vote] : undefined;
  if (!isHidden(comparison) || (typeof vote === "number" && preferred === undefined)) return null;
  const ballot: Ballot = {
    id: comparison.id,
    at,
    model: comparison.request.model_name,
    shown: comparison.sides.map((side) => side.adapter),
    prompt: comparison.request.prompt.slice(0, LONGEST_PROMPT),
    seed: comparison.request.seed,
    outcome: typeof vote === "number" ? "side" : vote,
    letter: typeof vote === "number" ? letter(vote) : null,
    winner: preferred?.adapter ?? null,
  };
  return { comparison: { ...comparison, vote, revealed: true }, ballot };
}

export function cast(ballot: Ballot): boolean {
  return votesStore.update((ballots) =>
    [...ballots.filter(({ id }) => id !== ballot.id), ballot].slice(-MOST_BALLOTS),
  );
}

export function inSet(ballots: readonly Ballot[], key: string): Ballot[] {
  return ballots.filter((ballot) => setKey(ballot.model, ballot.shown) === key);
}

export interface Standing {
  adapter: string | null;
  wins: number;
  /** Share of the decisive votes; null where there are none. */
  share: number | null;
  interval: Interval;
}

export interface Tally {
  votes: number;
  decisive: number;
  ties: number;
  bad: number;
  /** Base first, then by name. */
  standings: Standing[];
  /** What each side's share would be if nobody preferred any. */
  chance: number;
  /** Of each side's own interval, such that all of them together hold with 95 %. */
  level: number;
  /** The side whose interval lies above chance, if there is one. */
  preferred: Standing | null;
}

/**
 * Count a set's ballots. Ties and "all bad" are counted and left out of the shares. Two sides have one share between
 * them, so its interval is at 95 %; for more, each side's is widened (Bonferroni).
 */
export function tally(ballots: readonly Ballot[], sides: readonly (string | null)[]): Tally {
  const ordered = [...sides].sort((a, b) => (a ?? "").localeCompare(b ?? ""));
  const decisive = ballots.filter((ballot) => ballot.outcome === "side");
  const level = ordered.length <= 2 ? 0.95 : 1 - 0.05 / ordered.length;
  const chance = 1 / Math.max(1, ordered.length);
  const standings = ordered.map((adapter): Standing => {
    const wins = decisive.filter((ballot) => ballot.winner === adapter).length;
    return {
      adapter,
      wins,
      share: decisive.length === 0 ? null : wins / decisive.length,
      interval: clopperPearson(wins, decisive.length, level),
    };
  });
  return {
    votes: ballots.length,
    decisive: decisive.length,
    ties: ballots.filter((ballot) => ballot.outcome === "tie").length,
    bad: ballots.filter((ballot) => ballot.outcome === "bad").length,
    standings,
    chance,
    level,
    preferred: standings.find((standing) => standing.interval.low > chance) ?? null,
  };
}
