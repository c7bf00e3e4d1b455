/** Records and runs as the server sends them, for tests. */

import type { Record as RunRecord, RunSummary } from "@/api";

import { run as finished } from "./runs";

type Event = RunRecord["event"];

export function report(step: number, value = 1 / step, metrics: Record<string, number> = {}): Event {
  return {
    type: "train_report",
    step,
    epoch: step / 10,
    loss: value,
    learning_rate: 1e-4,
    grad_norm: 0.5,
    tokens_per_second: 500,
    supervised_tokens_per_second: 250,
    tokens: step * 100,
    supervised_tokens: step * 50,
    peak_memory_bytes: 1e9,
    rss_bytes: 2e9,
    seconds_left: 10,
    metrics,
  };
}

export function evaluation(
  step: number,
  value: number,
  best: [number, number] = [step, value],
  metrics: Record<string, number> = {},
): Event {
  return {
    type: "eval_report",
    step,
    loss: value,
    tokens: 10,
    best: best[0] === step,
    best_step: best[0],
    best_loss: best[1],
    seconds: 1,
    metrics,
  };
}

export function started(resumed: number | null = null): Event {
  return { type: "run_started", config: {}, versions: {}, device: { name: "A chip" }, resumed_from_step: resumed };
}

export function warning(message: string): Event {
  return { type: "warning", code: "w", message };
}

/** Where the server says that steps are done again. */
export function rewinds(all: readonly RunRecord[]): { seq: number; step: number }[] {
  return all.flatMap(({ seq, event }) =>
    event.type === "run_started" ? [{ seq, step: event.resumed_from_step ?? -1 }] : [],
  );
}

/** Numbered from `first`, a second apart. */
export function records(events: readonly Event[], first = 1): RunRecord[] {
  return events.map((event, at) => ({ seq: first + at, time: 1000 + first + at, event }));
}

/** A run at work, halfway through. */
export function run(changes: Partial<RunSummary> = {}): RunSummary {
  return finished("r1", {
    state: "running",
    model: "tiny",
    model_name: "tiny",
    train_data: "/data/rows.jsonl",
    adapter: "first",
    ended: null,
    heard: Date.now() / 1000,
    phase: "training",
    step: 40,
    epoch: 0.5,
    last_eval_loss: 0.6,
    best_loss: 0.55,
    best_step: 20,
    tokens_per_second: 500,
    seconds: 60,
    seconds_left: 60,
    checkpoint_step: 20,
    can_stop: true,
    sparkline: [3, 2, 1],
    ...changes,
  });
}
