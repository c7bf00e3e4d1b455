/** Runs as the server tells of them, for tests. */

import type { AdapterEntry, Curves, EvalReport, RunDetail, RunSummary } from "@/api";

/** A finished run; `changes` make it another one. */
export function run(id: string, changes: Partial<RunSummary> = {}): RunSummary {
  return {
    id,
    state: "finished",
    model: "tiny-llama",
    model_name: "tiny-llama",
    method: "sft",
    fine_tune_type: "lora",
    targets: "full-layer",
    rank: 32,
    learning_rate: 1e-4,
    train_data: "/home/me/orders.jsonl",
    adapter: id,
    created: 1000,
    started: 1001,
    ended: 1100,
    heard: 1100,
    phase: null,
    step: 80,
    steps: 80,
    epoch: 1,
    loss: 0.5,
    first_loss: 2.5,
    last_eval_loss: 0.5,
    best_loss: 0.5,
    best_step: 80,
    tokens_per_second: 449.6,
    peak_memory: 1_600_000_000,
    seconds: 148,
    seconds_left: null,
    trainable: 9_768_960,
    total: 134_515_008,
    checkpoint_step: 80,
    can_resume: false,
    can_stop: false,
    queue_position: null,
    problem: null,
    sparkline: [2, 1, 0.5],
    reward: null,
    first_reward: null,
    last_eval_reward: null,
    best_reward: null,
    ...changes,
  };
}

export function evaluation(step: number, loss: number, best = false): EvalReport {
  return { type: "eval_report", step, loss, tokens: 238, best, best_loss: loss, best_step: step, seconds: 1.2 };
}

export function detail(summary: RunSummary, changes: Partial<RunDetail> = {}): RunDetail {
  return {
    summary,
    verdict: { tone: "good", title: "Validation loss fell.", notes: ["It took 2 min 28 s."] },
    config: { model_path: summary.model, train_data_path: summary.train_data, lora_rank: 8 },
    changed: { model_path: summary.model, train_data_path: summary.train_data, lora_rank: 8 },
    command: `droidft train --model-path ${summary.model} --lora-rank 8`,
    yaml: `model_path: ${summary.model}\nlora_rank: 8\n`,
    start: null,
    data: null,
    lora: null,
    plan: null,
    evaluations: [],
    checkpoints: [],
    warnings: [],
    folder: `/home/me/.droidft/runs/${summary.id}`,
    ...changes,
  };
}

export function curves(name: string, changes: Partial<Curves["train"]> = {}): Curves {
  const zeros = [0, 0, 0];
  return {
    run: name,
    train: {
      step: [10, 20, 40],
      time: [5010, 5020, 9040],
      seconds: [10, 20, 40],
      epoch: [0.5, 1, 2],
      loss: [2, 1, 0.5],
      learning_rate: zeros,
      grad_norm: zeros,
      tokens_per_second: zeros,
      peak_memory: zeros,
      metrics: {},
      ...changes,
    },
    validation: { step: [0, 30], seconds: [1, 31], loss: [2.5, 0.7], metrics: {} },
    best_step: 30,
  };
}

export function adapter(name: string, changes: Partial<AdapterEntry> = {}): AdapterEntry {
  return {
    name,
    problem: "",
    fine_tune_type: "lora",
    method: "sft",
    rank: 32,
    alpha: 32,
    scale: 1,
    modules: ["self_attn.q_proj"],
    blocks: 2,
    parameters: 4096,
    base: "tiny-llama",
    run: null,
    weights: ["latest", "best", "200"],
    bytes: 30_000,
    ...changes,
  };
}
