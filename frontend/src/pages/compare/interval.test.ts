import { describe, expect, it } from "vitest";

import { betaFunction, clopperPearson } from "./interval";

describe("Clopper-Pearson", () => {
  // Found by halving the binomial tails summed at 50 decimal digits.
  it.each([
    [0, 10, 0, 0.3084971],
    [1, 10, 0.002528579, 0.4450161],
    [7, 10, 0.347547, 0.9332605],
    [9, 10, 0.5549839, 0.9974714],
    [10, 10, 0.6915029, 1],
    [15, 20, 0.5089541, 0.9134285],
    [54, 100, 0.4374116, 0.6401566],
    [600, 1000, 0.5688784, 0.630531],
  ])("of %d in %d", (successes, trials, low, high) => {
    const found = clopperPearson(successes, trials);
    expect(found.low).toBeCloseTo(low, 6);
    expect(found.high).toBeCloseTo(high, 6);
  });

  it("of nothing is everything", () => expect(clopperPearson(0, 0)).toEqual({ low: 0, high: 1 }));

  it("is wider at a higher level", () => {
    const wide = clopperPearson(7, 10, 0.99);
    expect(wide.low).toBeLessThan(0.3475);
    expect(wide.high).toBeGreaterThan(0.9333);
  });

  it("has tails that are exact binomial sums", () => {
    for (const [successes, trials] of [
      [3, 12],
      [40, 41],
      [250, 2000],
    ] as const) {
      const { low, high } = clopperPearson(successes, trials);
      expect(binomial(low, successes, trials, "at least")).toBeCloseTo(0.025, 8);
      if (high < 1) expect(binomial(high, successes, trials, "at most")).toBeCloseTo(0.025, 8);
    }
  });
});

it("the beta function of whole numbers is a polynomial", () => {
  // I_x(2, 3) = 6x² - 8x³ + 3x⁴
  for (const x of [0.05, 0.3, 0.5, 0.77, 0.99]) {
    expect(betaFunction(x, 2, 3)).toBeCloseTo(6 * x ** 2 - 8 * x ** 3 + 3 * x ** 4, 12);
  }
});

/** Chance of at least, or at most, so many successes, summed term by term. */
function binomial(share: number, successes: number, trials: number, side: "at least" | "at most"): number {
  let sum = 0;
  let logTerm = trials * Math.log1p(-share);
  for (let count = 0; count <= trials; count += 1) {
    if (side === "at least" ? count >= successes : count <= successes) sum += Math.exp(logTerm);
    logTerm += Math.log((trials - count) / (count + 1)) + Math.log(share / (1 - share));
  }
  return sum;
}
