import { describe, expect, it } from "vitest";

import type { Shares } from "@/api";

import { verdict } from "./TallyCard";
import { answered } from "./testing";
import { cast, inSet, setKey, tally, voted, votesStore } from "./votes";
import type { Ballot } from "./votes";

const SIDES = [null, "orders@best"];

function ballots(wins: number, losses: number, ties = 0, bad = 0): Ballot[] {
  const base = { at: 1, model: "tiny", shown: SIDES, prompt: "p", seed: 1, letter: null };
  const made = (count: number, rest: Pick<Ballot, "outcome" | "winner">) =>
    Array.from({ length: count }, () => ({ ...base, ...rest }));
  return [
    ...made(wins, { outcome: "side", winner: "orders@best" }),
    ...made(losses, { outcome: "side", winner: null }),
    ...made(ties, { outcome: "tie", winner: null }),
    ...made(bad, { outcome: "bad", winner: null }),
  ].map((ballot, index) => ({ ...ballot, id: String(index) }));
}

describe("a vote", () => {
  it("names the side behind the letter, reveals, and counts once", () => {
    const blind = answered({ adapters: ["orders@best", null] }, { blind: true });
    const result = voted(blind, 0, 5);
    if (result === null) throw new Error("a vote");
    expect(result.comparison).toMatchObject({ revealed: true, vote: 0 });
    expect(result.ballot).toMatchObject({
      outcome: "side",
      winner: "orders@best",
      letter: "A",
      shown: ["orders@best", null],
    });
    expect(voted(result.comparison, 1, 6)).toBeNull();
    cast(result.ballot);
    cast(result.ballot);
    expect(votesStore.get()).toHaveLength(1);
  });

  it("for a side that is not there is none", () => expect(voted(answered({}, { blind: true }), 5, 1)).toBeNull());
});

describe("a tally", () => {
  it("is of one set, in whatever order it was shown", () => {
    expect(setKey("m", [null, "a@best"])).toBe(setKey("m", ["a@best", null]));
    expect(setKey("m", [null, "a@best"])).not.toBe(setKey("m", [null, "a@latest"]));
    const [first] = ballots(1, 0);
    if (!first) throw new Error("a ballot");
    const other = { ...first, id: "other", shown: [null, "b@best"] };
    expect(inSet([first, other, { ...first, shown: ["orders@best", null] }], setKey("tiny", SIDES))).toHaveLength(2);
  });

  it("counts decisive votes apart from ties", () => {
    const counted = tally(ballots(7, 3, 4, 2), SIDES);
    expect(counted).toMatchObject({ votes: 16, decisive: 10, ties: 4, bad: 2 });
    expect(counted.sides).toEqual([
      { adapter: null, wins: 3 },
      { adapter: "orders@best", wins: 7 },
    ]);
  });

  it("says no more than the intervals do", () => {
    const found = (preferred: number | null, share = 0): Shares => ({
      shares: [share, share].map((one) => ({ share: one, low: 0, high: 1 })),
      chance: 0.5,
      level: 0.95,
      preferred,
    });
    expect(verdict(tally([], SIDES), found(null))).toBe("No decisive votes yet.");
    expect(verdict(tally(ballots(0, 0, 3), SIDES), found(null))).toBe("No decisive votes yet.");
    expect(verdict(tally(ballots(8, 2), SIDES), found(null))).toBe("No preference detectable yet.");
    expect(verdict(tally(ballots(6, 0), SIDES), found(1, 1))).toBe(
      "orders · best is preferred: 100 % of the decisive votes.",
    );
    expect(verdict(tally(ballots(1, 8), SIDES), found(0, 8 / 9))).toBe(
      "Base is preferred: 89 % of the decisive votes.",
    );
  });

  it("of three sides measures against a third", () => {
    const three = [null, "a@best", "b@best"];
    const vote = (winner: string | null, id: number): Ballot => ({
      id: String(id),
      at: 1,
      model: "tiny",
      shown: three,
      prompt: "p",
      seed: 1,
      outcome: "side",
      letter: null,
      winner,
    });
    const all = Array.from({ length: 12 }, (_, index) => vote(index < 10 ? "a@best" : null, index));
    const counted = tally(all, three);
    expect(counted.sides.map(({ wins }) => wins)).toEqual([2, 10, 0]);
    const shares = counted.sides.map(({ wins }) => ({ share: wins / 12, low: 0, high: 1 }));
    expect(verdict(counted, { shares, chance: 1 / 3, level: 1 - 0.05 / 3, preferred: 1 })).toBe(
      "a · best is preferred: 83 % of the decisive votes, where chance alone gives 33 %.",
    );
  });
});
