import { render, screen } from "@testing-library/react";
import { describe, expect, it } from "vitest";

import type { DataCheck } from "@/api";
import { safeName } from "@/features/data/DataPicker";
import { stretches } from "@/features/data/DataReport";
import { checkRequest } from "@/features/data/useDataCheck";
import { restore } from "@/features/form/form";
import { targetsQuestion } from "@/features/form/queries";
import { reasons } from "@/features/form/readiness";
import type { Standing } from "@/features/form/readiness";
import { ScheduleChart } from "@/features/form/ScheduleChart";
import { scaleText } from "@/features/lora/Scale";
import { parsed } from "@/lib/stored";

describe("the scale", () => {
  it.each([
    [1, "1.0"],
    [0.25, "0.25"],
    [32, "32.0"],
    [32 / 24, "1.33"],
  ])("%d is %s", (scale, text) => expect(scaleText(scale)).toBe(text));
});

describe("what is kept in the browser", () => {
  it("comes back", () => {
    const state = { draft: { lora_rank: "", early_stop: false, lora_keys: ["a"] }, mode: "advanced" };
    expect(restore(parsed(JSON.stringify(state)))).toEqual(state);
  });
  it.each([null, "", "{", "null", "[]", '{"draft": 3}', '{"draft": null}'])(
    "is left aside when it makes no sense: %j",
    (text) => expect(restore(parsed(text))).toEqual({ draft: {}, mode: "simple" }),
  );
  it("loses only what makes no sense", () =>
    expect(restore({ draft: { a: 1, b: "2", c: [3] }, mode: "loud" })).toEqual({
      draft: { b: "2" },
      mode: "simple",
    }));
});

describe("readiness", () => {
  const ready: Standing = {
    config: { model_path: "m", train_data_path: "d" },
    problems: {},
    general: [],
    report: undefined,
    check: undefined,
    checkFailed: null,
    targetsFailed: null,
    presetProblem: null,
    model: undefined,
    connection: "live",
  };
  const faulty: DataCheck = {
    ok: false,
    fault_count: 2,
    faults: [],
    structure: null,
    tokens: null,
    token_problem: null,
    plan: null,
  };

  it("has no reason when all is there", () => expect(reasons(ready)).toEqual([]));
  it("asks for model and data first", () =>
    expect(reasons({ ...ready, config: {} }).map((reason) => reason.field)).toEqual([
      "model_path",
      "train_data_path",
    ]));
  it("says each thing that is wrong, and where", () => {
    const found = reasons({
      ...ready,
      problems: { lora_rank: "A number is needed." },
      general: [{ field: null, message: "give iterations or epochs, not both" }],
      check: faulty,
      connection: "lost",
    });
    expect(found).toEqual([
      { field: "train_data_path", text: "2 rows of the data cannot be trained on." },
      { field: "lora_rank", text: "Rank: A number is needed." },
      { field: null, text: "Give iterations or epochs, not both." },
      { field: null, text: "There is no connection to the server." },
    ]);
  });
});

it("the check depends on the data and its settings, and on nothing else", () => {
  const config = { train_data_path: "d", mask_prompt: true };
  expect(checkRequest({ ...config, lora_rank: 8, batch_size: 4 })).toEqual(checkRequest(config));
  expect(checkRequest({ ...config, mask_prompt: false })).not.toEqual(checkRequest(config));
  expect(checkRequest({ model_path: "m" })).toBeNull();
});

it("the counts are asked for the longest row of the data unless it is given", () => {
  expect(targetsQuestion({ model_path: "m" }, 138)?.seqLength).toBe(138);
  expect(targetsQuestion({ model_path: "m", max_seq_length: 64 }, 138)?.seqLength).toBe(64);
  expect(targetsQuestion({}, 138)).toBeNull();
  expect(targetsQuestion({ model_path: "m", lora_keys: ["a"] }, null)).not.toHaveProperty("keys");
  expect(targetsQuestion({ model_path: "m", lora_targets: "custom", lora_keys: ["a"] }, null)?.keys).toEqual(["a"]);
});

it.each([
  ["orders.jsonl", "orders.jsonl"],
  ["my café data (2).csv", "my-cafe-data-2.csv"],
  ["../../etc/pass.json", "etc-pass.json"],
  ["数据.jsonl", "data.jsonl"],
  ["", "data.jsonl"],
])("an upload of %j is called %j", (name, safe) => {
  expect(safeName(name)).toBe(safe);
  expect(safeName(name)).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/);
});

it("a long name keeps its ending", () => {
  const name = safeName(`${"x".repeat(200)}.parquet`);
  expect(name).toHaveLength(100);
  expect(name.endsWith(".parquet")).toBe(true);
});

it("tokens of one state stand together", () => {
  const piece = (text: string, state: "trained" | "masked" | "cut") => ({ ids: [1], text, state });
  const pieces = [piece("a", "masked"), piece("b", "masked"), piece("c", "trained"), piece("d", "cut")];
  expect(stretches(pieces).map((stretch) => stretch.map(({ text }) => text).join(""))).toEqual(["ab", "c", "d"]);
});

it("the schedule says in words what it draws", () => {
  const points = [
    [0, 0],
    [5, 1e-3],
    [80, 1e-4],
  ] as const;
  render(<ScheduleChart points={points} />);
  expect(screen.getByRole("img")).toHaveAccessibleName(
    "Learning rate from 0 at step 0 to 1e-4 at step 80, at most 1e-3.",
  );
});
