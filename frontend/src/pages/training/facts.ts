/** What a run's events say about it as a whole: the newest of each kind that is said once per start. */

import type { DataPrepared, LoraAttached, Record as RunRecord, RunStarted, TrainingPlan } from "@/api";

export interface Facts {
  start: RunStarted | null;
  /** When its worker began, the last time. */
  startTime: number | null;
  data: DataPrepared | null;
  lora: LoraAttached | null;
  plan: TrainingPlan | null;
  /** Validation loss of the base model, before the first step. */
  baseLoss: number | null;
  warnings: Warning[];
}

export interface Warning {
  code: string;
  message: string;
  /** When it was first said. */
  time: number;
  times: number;
}

/** One pass over the events. A warning that is repeated, as after each resumption, is listed once. */
export function factsOf(events: readonly RunRecord[]): Facts {
  const facts: Facts = {
    start: null,
    startTime: null,
    data: null,
    lora: null,
    plan: null,
    baseLoss: null,
    warnings: [],
  };
  const warnings = new Map<string, Warning>();
  for (const { event, time } of events) {
    switch (event.type) {
      case "run_started":
        facts.start = event;
        facts.startTime = time;
        break;
      case "data_prepared":
        facts.data = event;
        break;
      case "lora_attached":
        facts.lora = event;
        break;
      case "plan":
        facts.plan = event;
        break;
      case "eval_report":
        if (event.step === 0) facts.baseLoss = event.loss;
        break;
      case "warning": {
        const key = `${event.code}\n${event.message}`;
        const known = warnings.get(key);
        if (known) known.times++;
        else warnings.set(key, { code: event.code, message: event.message, time, times: 1 });
        break;
      }
      case "phase":
      case "train_report":
      case "completions":
      case "measured":
      case "checkpoint_saved":
      case "early_stopped":
      case "stopped":
      case "failed":
      case "finished":
        break;
    }
  }
  facts.warnings = [...warnings.values()];
  return facts;
}
