/** Experiments as the server tells of them, for tests. */

import type {
  Analysis,
  ContrastResult,
  ExperimentDetail,
  ExperimentSummary,
  FixedArm,
  FixedPlan,
  SettingView,
} from "@/api";

export function summary(changes: Partial<ExperimentSummary> = {}): ExperimentSummary {
  return {
    id: "x1",
    title: "Which is better?",
    state: "planning",
    created: 1000,
    model: "tiny-llama",
    data: "/home/me/orders.jsonl",
    arms: ["full", "qv"],
    seeds: 3,
    runs: 0,
    done: 0,
    run: null,
    seconds_left: null,
    problem: null,
    planning: null,
    ...changes,
  };
}

export function detail(changes: Partial<ExperimentSummary> = {}): ExperimentDetail {
  return { summary: summary(changes), request: { settings: {} }, analysis: null, figures: null };
}

export function arm(name: string, differs: FixedArm["differs"], matched: string | null = null): FixedArm {
  return {
    name,
    differs,
    rank: 32,
    alpha: 32,
    scale: 1,
    trainable: 9_768_960,
    total: 134_515_008,
    matched,
    steps: { "1": 40 },
  };
}

/** Two arms on one file, with three seeds; `changes` make it another one. */
export function fixed(changes: Partial<FixedPlan> = {}): FixedPlan {
  return {
    id: "x1",
    created: 1000,
    plan: {
      settings: { model_path: "tiny-llama", train_data_path: "/data/orders.jsonl", mask_prompt: true, epochs: 2 },
      seeds: [0, 1, 2],
      equivalence_margin: 0.02,
    },
    arms: [arm("full", { lora_targets: "full-layer" }), arm("qv", { lora_targets: "attention-qv" })],
    contrasts: [["full", "qv"]],
    sizes: {
      train_rows: 160,
      validation_rows: 32,
      test_rows: 1200,
      general_rows: 44,
      questions: 0,
      clusters: 800,
      train_tokens: 34_904,
      validation_tokens: 7338,
      test_tokens: 26_337,
      general_tokens: 3153,
      seen_in_training: 0,
      split: "32 of 192 rows held out for validation",
    },
    data_hash: "",
    test_hash: "",
    general_hash: "",
    base_hash: "",
    model: "/home/me/models/tiny-llama",
    versions: {},
    device: {},
    costs: [],
    estimate: { runs: 7, seconds: 600, peak_bytes: 2.3e9, disk_bytes: 2e8 },
    ...changes,
  };
}

export function contrast(changes: Partial<ContrastResult> = {}): ContrastResult {
  return {
    first: "full",
    second: "qv",
    kind: "better",
    exploratory: false,
    sentence: "full is better than qv.",
    difference: { value: -0.03, low: -0.04, high: -0.02 },
    p: 0.001,
    adjusted_p: 0.001,
    equivalence_p: 1,
    degrees_of_freedom: 2.5,
    per_seed: [-0.031, -0.03, -0.029],
    seed_sd: 0.001,
    variance_of_seeds: 1e-6,
    variance_of_examples: 1e-6,
    perplexity_ratio: null,
    examples_better: 0.8,
    forgetting: null,
    scores: [],
    reaches: null,
    needed: null,
    ...changes,
  };
}

/** What a plan has found: nothing yet; `changes` make it more. */
export function analysis(plan: FixedPlan, changes: Partial<Analysis> = {}): Analysis {
  return {
    plan,
    complete: false,
    verdict: "Nothing can be said yet.",
    runs: [],
    base: null,
    arms: [],
    contrasts: [],
    noise_floor: null,
    curves: [],
    sweep: [],
    table: null,
    notes: [],
    ...changes,
  };
}

export function setting(name: string, value: unknown): SettingView {
  return {
    name,
    group: "LoRA",
    kind: "text",
    required: false,
    optional: false,
    default: value,
    choices: [],
    bounds: { min: null, max: null, above: false, below: false },
    help: "",
    by_method: {},
  };
}
