import { describe, expect, it } from "vitest";

import { apply, begin, canVote, COMPARISON, finish, isAnswering, isHidden, shuffled } from "./comparison";
import { answered, ASKED } from "./testing";

const fresh = () => begin(ASKED, { id: "c1", at: 1, blind: false });
const ERROR = { code: "adapter", message: "does not fit", hint: "", field: null };

describe("a comparison", () => {
  it("gathers each side's text", () => {
    const { sides, state } = answered();
    expect(state).toBe("done");
    expect(sides.map((side) => side.text)).toEqual(["Sorry.", '{"item":"flat white"}']);
    expect(sides[0]?.end).toEqual({ reason: "length", promptTokens: 12, tokens: 5, speed: 30 });
    expect(sides[1]?.details?.rank).toBe(32);
  });

  it("shows a phase until a side begins", () => {
    const loading = apply(fresh(), { type: "phase", text: "loading model tiny" });
    expect(loading.phase).toBe("loading model tiny");
    expect(apply(loading, { type: "text", side: 0, text: "a" }).phase).toBeNull();
  });

  it("goes on with the others when one side fails", () => {
    let comparison = apply(fresh(), { type: "error", side: 1, error: ERROR });
    const [base, adapter] = comparison.sides;
    if (!base || !adapter) throw new Error("two sides");
    expect([isAnswering(comparison, base), isAnswering(comparison, adapter)]).toEqual([true, false]);
    const end = { finish_reason: "stop", prompt_tokens: 1, tokens: 1, tokens_per_second: 1 } as const;
    comparison = finish(apply(comparison, { type: "end", side: 0, ...end }), { kind: "ended" });
    expect([comparison.state, comparison.error, comparison.sides[1]?.error]).toEqual(["done", null, ERROR]);
  });

  it("fails as a whole by an error of no side, or by a stream that ends too early", () => {
    const failed = finish(apply(fresh(), { type: "error", side: null, error: ERROR }), { kind: "ended" });
    expect([failed.state, failed.error]).toEqual(["failed", ERROR]);
    const early = finish(fresh(), { kind: "ended" });
    expect([early.state, early.error?.code]).toEqual(["failed", "interrupted"]);
  });

  it("ignores a side that does not exist", () => {
    expect(apply(fresh(), { type: "text", side: 9, text: "a" }).sides).toEqual(fresh().sides);
  });

  it("survives being written down", () => {
    const kept: unknown = JSON.parse(JSON.stringify(answered()));
    expect(COMPARISON.safeParse(kept).success).toBe(true);
    expect(COMPARISON.safeParse({ ...answered(), sides: [{ text: 1 }] }).success).toBe(false);
  });
});

describe("a blind comparison", () => {
  it("can be voted on once every side has answered", () => {
    const blind = answered({}, { blind: true });
    expect([isHidden(blind), canVote(blind)]).toEqual([true, true]);
    expect(canVote({ ...blind, revealed: true })).toBe(false);
    expect(canVote({ ...blind, state: "stopped" })).toBe(false);
    const [first, ...rest] = blind.sides;
    if (!first) throw new Error("a side");
    expect(canVote({ ...blind, sides: [{ ...first, end: null, error: ERROR }, ...rest] })).toBe(false);
  });

  it("is shuffled fairly: every order equally often", () => {
    const counts = new Map<string, number>();
    let state = 1;
    const random = () => {
      state = (state * 48271) % 2147483647;
      return state / 2147483647;
    };
    for (let round = 0; round < 6000; round += 1) {
      const order = shuffled(["a", "b", "c"], random).join("");
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(6);
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(130);
  });
});
