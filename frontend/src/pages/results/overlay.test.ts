import { describe, expect, it } from "vitest";

import { curves } from "@/test/runs";

import { between, lookAt, timeUnit, trainingSeries, trainX, unlikeMeasures, validationX } from "./overlay";

const seconds = { label: "seconds", seconds: 1 };

describe("axes", () => {
  it("are steps, epochs, or time without pauses", () => {
    const own = curves("a");
    expect(trainX(own, "step", seconds)).toEqual([10, 20, 40]);
    expect(trainX(own, "epoch", seconds)).toEqual([0.5, 1, 2]);
    expect(trainX(own, "time", { label: "minutes", seconds: 60 })).toEqual([10 / 60, 20 / 60, 40 / 60]);
    expect(validationX(own, "step", seconds)).toEqual([0, 30]);
    expect(validationX(own, "epoch", seconds)).toEqual([0, 1.5]);
    expect(validationX(own, "time", seconds)).toEqual([1, 31]);
  });

  it("has a unit in which the longest run is handy", () => {
    expect(timeUnit([]).label).toBe("seconds");
    expect(timeUnit([curves("a"), curves("b", { seconds: [10, 700, 3000] })]).label).toBe("minutes");
    expect(timeUnit([curves("a", { seconds: [10, 700, 90_000] })]).label).toBe("hours");
  });

  it("finds places between reports, before the first and after the last", () => {
    expect(between(5, [10, 20], [1, 2])).toBe(0.5);
    expect(between(15, [10, 20], [1, 2])).toBe(1.5);
    expect(between(40, [10, 20], [1, 2])).toBe(4);
    expect(between(7, [], [])).toBe(0);
  });
});

it("tells eight runs apart by colour alone and by strokes alone", () => {
  const looks = Array.from({ length: 8 }, (_, place) => lookAt(place));
  expect(new Set(looks.map(({ colour }) => colour)).size).toBe(8);
  expect(new Set(looks.map(({ dash }) => dash.join(" "))).size).toBe(8);
});

it("draws raw lines pale and unnamed behind smoothed ones", () => {
  const own = { id: "a", name: "a", look: lookAt(1), curves: curves("a") };
  const both = trainingSeries([own], "both", "step", seconds, 0.5);
  expect(both.map(({ label, faint, unlisted }) => [label, faint === true, unlisted === true])).toEqual([
    ["a, raw", true, true],
    ["a", false, false],
  ]);
  expect(trainingSeries([own], "raw", "step", seconds, 0.5)).toMatchObject([{ label: "a", dash: [8, 4] }]);
});

describe("what cannot be compared", () => {
  const diff = (...names: string[]) => ({
    runs: ["a", "b"],
    rows: names.map((name) => ({ name, group: "", values: [] })),
  });

  it("is what changes the rows or tokens that are measured", () => {
    expect(unlikeMeasures(diff("lora_rank", "learning_rate"))).toEqual([]);
    expect(unlikeMeasures(diff("lora_rank", "train_data_path", "mask_prompt"))).toEqual([
      "train_data_path",
      "mask_prompt",
    ]);
    expect(unlikeMeasures(diff("seed"))).toEqual(["seed"]);
  });
});
