import { expect, it } from "vitest";

import { align, positive, smooth } from "./align";

it("draws typed columns as they are when they share x", () => {
  const x = Float64Array.of(1, 2, 3);
  const y = Float64Array.of(4, 5, 6);
  const [shared, first, second] = align([
    { x, y },
    { x: [1, 2, 3], y: [7, 8, 9] },
  ]);
  expect(shared).toBe(x);
  expect(first).toBe(y);
  expect(second).toEqual([7, 8, 9]);
});

it("puts series with their own x into one table", () => {
  const [x, train, evals] = align([
    { x: [5, 10, 15], y: [1, 2, 3] },
    { x: [0, 10, 20], y: [9, 8, 7] },
  ]);
  expect(Array.from(x)).toEqual([0, 5, 10, 15, 20]);
  expect(train).toEqual([null, 1, 2, 3, null]);
  expect(evals).toEqual([9, null, 8, null, 7]);
});

it("copes with nothing", () => {
  expect(align([])).toEqual([[]]);
  expect(align([{ x: [], y: [] }])).toEqual([[], []]);
});

it("leaves out what no logarithm has", () => expect(positive([1, 0, -1, null, 2])).toEqual([1, null, null, null, 2]));

it("smooths without leaning towards zero at the start", () => {
  expect(Array.from(smooth([2, 2, 2], 0.9)).map((value) => value.toFixed(6))).toEqual([
    "2.000000",
    "2.000000",
    "2.000000",
  ]);
  expect(Array.from(smooth([1, 3], 0))).toEqual([1, 3]);
});

it("aligns 100,000 points within a frame or two", () => {
  const x = Float64Array.from({ length: 100_000 }, (_, i) => i);
  const started = performance.now();
  align([
    { x, y: x },
    { x: [0, 50_000.5, 99_999], y: [1, 2, 3] },
  ]);
  expect(performance.now() - started).toBeLessThan(500);
});
