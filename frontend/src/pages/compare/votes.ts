/** Blind votes, kept in this browser, and what they say about each set of model and adapters. */

import * as z from "zod/mini";

import { listOf, stored } from "@/lib/stored";

import { isHidden, letter } from "./comparison";
import type { Comparison, Vote } from "./comparison";

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

export interface Counted {
  votes: number;
  decisive: number;
  ties: number;
  bad: number;
  /** Base first, then by name, with the decisive votes that each has won. */
  sides: { adapter: string | null; wins: number }[];
}

/** Count a set's ballots. Ties and "all bad" are counted and left out of the shares. */
export function tally(ballots: readonly Ballot[], sides: readonly (string | null)[]): Counted {
  const decisive = ballots.filter((ballot) => ballot.outcome === "side");
  return {
    votes: ballots.length,
    decisive: decisive.length,
    ties: ballots.filter((ballot) => ballot.outcome === "tie").length,
    bad: ballots.filter((ballot) => ballot.outcome === "bad").length,
    sides: [...sides]
      .sort((a, b) => (a ?? "").localeCompare(b ?? ""))
      .map((adapter) => ({ adapter, wins: decisive.filter((ballot) => ballot.winner === adapter).length })),
  };
}
