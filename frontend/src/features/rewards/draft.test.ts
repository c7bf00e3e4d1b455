import { describe, expect, it } from "vitest";

import type { RewardKindView, SettingView } from "@/api";
import { fromConfig, itemsOf } from "@/features/form/draft";

import { nameOf, newReward, readRewards, sharesOf } from "./draft";

function parameter(name: string, kind: SettingView["kind"], more: Partial<SettingView> = {}): SettingView {
  return {
    name,
    group: "",
    kind,
    required: false,
    optional: false,
    default: null,
    choices: [],
    bounds: { min: null, max: null, above: false, below: false },
    help: "",
    by_method: {},
    ...more,
  };
}

const weight = parameter("weight", "number", {
  default: 1,
  bounds: { min: -1000, max: 1000, above: false, below: false },
});
const KINDS: RewardKindView[] = [
  {
    kind: "length_window",
    title: "Length window",
    range: "0 to 1",
    help: "",
    parameters: [
      parameter("maximum", "integer", { default: 100, bounds: { min: 0, max: null, above: false, below: false } }),
      weight,
    ],
    json_schema: {},
  },
  {
    kind: "python",
    title: "Own",
    range: "any",
    help: "",
    parameters: [parameter("file", "text", { required: true }), weight],
    json_schema: {},
  },
];

describe("readRewards", () => {
  it("gives what was typed as what it means", () => {
    const { rewards, problems } = readRewards([newReward("length_window", { maximum: "8", weight: "0.5" })], KINDS);
    expect(rewards).toEqual([{ kind: "length_window", maximum: 8, weight: 0.5 }]);
    expect(problems).toEqual({});
  });

  it("names what is wrong, by reward and parameter", () => {
    const long = newReward("length_window", { maximum: "x" });
    const own = newReward("python");
    const strange = newReward("nonsense");
    const { problems } = readRewards([long, own, strange], KINDS);
    expect(Object.keys(problems[long.id] ?? {})).toEqual(["maximum"]);
    expect(problems[own.id]).toEqual({ file: "This is needed." });
    expect(problems[strange.id]?.[""]).toContain("nonsense");
  });

  it("is undone by reading a configuration", () => {
    const rewards = [{ kind: "length_window", maximum: 8, weight: -2 }];
    const setting = parameter("rewards", "objects", { default: [] });
    const { draft } = fromConfig({ rewards }, [setting]);
    expect(readRewards(itemsOf(rewards), KINDS).rewards).toEqual(rewards);
    expect(Array.isArray(draft["rewards"])).toBe(true);
  });
});

it("shares are of all weights, without their signs", () => {
  const rewards = [newReward("length_window", { weight: "3" }), newReward("python", { weight: "-1" })];
  expect(sharesOf(rewards)).toEqual([0.75, 0.25]);
  expect(sharesOf([newReward("length_window", { weight: "x" })])).toEqual([null]);
});

it("is called by its label, its function or its kind", () => {
  expect(nameOf(newReward("length_window"))).toBe("length_window");
  expect(nameOf(newReward("length_window", { label: "short" }))).toBe("short");
  expect(nameOf(newReward("python", { file: "mine.py" }))).toBe("mine.reward");
});
