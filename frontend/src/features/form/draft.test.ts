import { describe, expect, it } from "vitest";

import type { SettingView } from "@/api";

import { fromConfig, isConfig, rulesOf, toConfig } from "./draft";

function bounds(min: number | null, max: number | null): SettingView["bounds"] {
  return { min, max, above: false, below: false };
}

function setting(name: string, kind: SettingView["kind"], more: Partial<SettingView> = {}): SettingView {
  return {
    name,
    group: "g",
    kind,
    required: false,
    optional: false,
    default: null,
    choices: [],
    bounds: bounds(null, null),
    help: "",
    by_method: {},
    ...more,
  };
}

const SETTINGS = [
  setting("model_path", "text", { required: true }),
  setting("learning_rate", "number", { default: 1e-4, bounds: { ...bounds(0, 1), above: true } }),
  setting("lora_rank", "integer", { default: 32, bounds: bounds(1, null) }),
  setting("epochs", "number", { optional: true, bounds: { ...bounds(0, 1_000_000), above: true } }),
  setting("seed", "integer", { default: 0, bounds: { ...bounds(0, 4294967296), below: true } }),
  setting("early_stop", "boolean", { default: true }),
  setting("lora_keys", "list", { optional: true }),
  setting("system_prompt", "text", { optional: true }),
  setting("resume", "text", { optional: true }),
];

describe("rulesOf", () => {
  it.each([
    ["learning_rate", { integer: false, optional: false, min: 0, above: true, max: 1, below: false }],
    ["lora_rank", { integer: true, optional: false, min: 1, above: false, max: null, below: false }],
    ["seed", { integer: true, optional: false, min: 0, above: false, max: 4294967296, below: true }],
  ])("reads the limits of %s", (name, rules) => {
    const found = SETTINGS.find((one) => one.name === name);
    expect(found && rulesOf(found)).toEqual(rules);
  });
});

describe("toConfig", () => {
  it("gives what was typed as what it means, and nothing else", () => {
    const draft = {
      model_path: "m",
      learning_rate: "5e-4",
      early_stop: false,
      lora_keys: ["a", "b"],
      system_prompt: "",
    };
    expect(toConfig(draft, SETTINGS)).toEqual({
      config: { model_path: "m", learning_rate: 5e-4, early_stop: false, lora_keys: ["a", "b"] },
      problems: {},
    });
  });

  it("names what cannot be read instead of putting a default in its place", () => {
    const { config, problems } = toConfig({ lora_rank: "", learning_rate: "1e-", epochs: "" }, SETTINGS);
    expect(config).toEqual({});
    expect(Object.keys(problems)).toEqual(["learning_rate", "lora_rank"]);
  });

  it("never resumes another run", () => expect(toConfig({ resume: "x" }, SETTINGS).config).toEqual({}));
});

describe("fromConfig", () => {
  it("is undone by toConfig", () => {
    const config = { model_path: "m", learning_rate: 0.0005, lora_rank: 8, early_stop: false, lora_keys: ["a"] };
    const { draft, unknown } = fromConfig({ ...config, seed: 0, epochs: null }, SETTINGS);
    expect(unknown).toEqual([]);
    expect(draft).not.toHaveProperty("seed");
    expect(toConfig(draft, SETTINGS).config).toEqual(config);
  });

  it("names what is no setting of the form", () => {
    expect(fromConfig({ nonsense: 1, resume: "x" }, SETTINGS)).toEqual({
      draft: {},
      unknown: ["nonsense", "resume"],
    });
  });
});

it("a configuration needs a model and data", () => {
  expect(isConfig({ model_path: "m" })).toBe(false);
  expect(isConfig({ model_path: "m", train_data_path: "d" })).toBe(true);
});
