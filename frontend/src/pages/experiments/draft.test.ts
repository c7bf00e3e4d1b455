import { describe, expect, it } from "vitest";

import { parsed } from "@/lib/stored";

import { draftFrom, EMPTY, planOf, restoreDraft, seedsOf, settingsOf, sweepOf, withoutArm } from "./draft";

const SETTINGS = { model_path: "m", train_data_path: "d" };

describe("the plan of a form", () => {
  it("asks the common question with three seeds and a test share", () => {
    const { plan, faults } = planOf({ ...EMPTY, title: "t" }, SETTINGS);
    expect(faults).toEqual({});
    expect(plan).toEqual({
      title: "t",
      settings: { ...SETTINGS, test_fraction: 0.1 },
      template: "full-layer-vs-attention",
      seeds: [0, 1, 2],
      equivalence_margin: 0.02,
      measurement: {},
    });
  });

  it("takes arms, rates, shares, a test file and questions", () => {
    const { plan, faults } = planOf(
      {
        ...EMPTY,
        question: "arms",
        arms: [
          { name: "a", settings: "lora_rank: 8\nlora_targets: mlp", match: null },
          { name: "b", settings: "lora_targets: attention-qv", match: 0 },
        ],
        rates: "1e-4, 3e-4",
        shares: true,
        testPath: "/data/test.jsonl",
        check: "numeric_answer",
        questions: "50",
      },
      SETTINGS,
    );
    expect(faults).toEqual({});
    expect(plan["arms"]).toEqual({
      a: { settings: { lora_rank: 8, lora_targets: "mlp" }, match_count_of: null },
      b: { settings: { lora_targets: "attention-qv" }, match_count_of: "a" },
    });
    expect(plan["learning_rates"]).toEqual([1e-4, 3e-4]);
    expect(plan["shares"]).toEqual([0.1, 0.25, 0.5, 1]);
    expect(plan["settings"]).toEqual(SETTINGS);
    expect(plan["measurement"]).toEqual({
      test_data_path: "/data/test.jsonl",
      questions: { check: { kind: "numeric_answer", column: "answer" }, most: 50 },
    });
  });

  it("names what is wrong by its field", () => {
    const draft = { ...EMPTY, seeds: "x", margin: "0", rates: "2", testShare: "1", check: "exact_answer" as const };
    const { faults } = planOf({ ...draft, questions: "0", question: "sweep", sweep: "lora_rank 8" }, SETTINGS);
    expect(Object.keys(faults).sort()).toEqual(["margin", "questions", "rates", "seeds", "sweep", "testShare"]);
  });
});

describe("an arm that matches another", () => {
  const arms = [
    { name: "a", settings: "lora_targets: mlp", match: null },
    { name: "b", settings: "lora_rank: 8", match: null },
    { name: "c", settings: "lora_targets: attention-qv", match: 1 },
  ];
  const armsOf = (changed: typeof arms) =>
    planOf({ ...EMPTY, question: "arms", arms: changed }, SETTINGS).plan["arms"];

  it("follows its name", () => {
    const renamed = arms.map((arm) => (arm.name === "b" ? { ...arm, name: "new" } : arm));
    expect(armsOf(renamed)).toMatchObject({ c: { match_count_of: "new" } });
  });

  it("stays with it when one before it goes", () =>
    expect(armsOf(withoutArm(arms, 0))).toMatchObject({ b: {}, c: { match_count_of: "b" } }));

  it("matches none when it goes", () =>
    expect(armsOf(withoutArm(arms, 1))).toMatchObject({ c: { match_count_of: null } }));

  it("needs a name, as all do", () => {
    const unnamed = arms.map((arm) => (arm.name === "b" ? { ...arm, name: "" } : arm));
    expect(planOf({ ...EMPTY, question: "arms", arms: unnamed }, SETTINGS).faults).toEqual({
      arms: "Every arm needs a name.",
    });
  });
});

describe("what is typed", () => {
  it("counts seeds, or lists them", () => {
    expect(seedsOf("3")).toEqual([0, 1, 2]);
    expect(seedsOf("7, 8")).toEqual([7, 8]);
    expect(seedsOf("5,")).toEqual([5]);
    expect(seedsOf("0")).toBeNull();
    expect(seedsOf("1.5")).toBeNull();
    expect(seedsOf("")).toBeNull();
  });

  it("reads settings and grids line by line", () => {
    expect(settingsOf("lora_rank: 8\n\ngrad_checkpoint: true\nval_data_path: null\noops")).toEqual({
      settings: { lora_rank: 8, grad_checkpoint: true, val_data_path: null },
      wrong: ["oops"],
    });
    expect(sweepOf("learning_rate: 1e-4, 3e-4")).toEqual({ sweep: { learning_rate: [1e-4, 3e-4] }, wrong: [] });
  });
});

describe("a form that was left", () => {
  it("comes back as it was", () => {
    const draft = { ...EMPTY, title: "kept", question: "sweep" as const, shares: true };
    expect(restoreDraft({ ...draft })).toEqual(draft);
  });

  it("is empty where it cannot be understood", () => {
    for (const text of [null, "{", "[]", "7", '{"arms":[{"name":1}],"question":"what"}']) {
      expect(restoreDraft(parsed(text))).toEqual(EMPTY);
    }
  });
});

describe("a plan that was given before", () => {
  const settings = { model_path: "m", train_data_path: "d", test_fraction: 0.2 };
  const measurement = { questions: { check: { kind: "numeric_answer" as const, column: "result" }, most: 50 } };

  it.each([
    { template: "full-layer-vs-attention" as const, seeds: [0, 1, 2] },
    {
      arms: { a: { settings: { lora_rank: 8 } }, b: { settings: { mask_prompt: true }, match_count_of: "a" } },
      seeds: [3, 5],
      learning_rates: [0.001, 0.01],
    },
    { sweep: { lora_rank: [4, 8], lora_targets: ["mlp", "full-layer"] }, seeds: [7], shares: [0.1, 0.25, 0.5, 1] },
  ])("comes back as the same plan", (what) => {
    const given = { title: "Which?", settings, equivalence_margin: 0.05, measurement, ...what };
    const { plan, faults } = planOf(draftFrom(given), { model_path: "m", train_data_path: "d" });
    expect(faults).toEqual({});
    expect(plan).toMatchObject(given);
  });
});
