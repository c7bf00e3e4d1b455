/** What a run is judged by: the mean reward where it learns from rewards (the higher the better), else the loss. */

import type { RunSummary } from "@/api";
import { loss, significant } from "@/lib/format";
import { familyOf } from "@/lib/methods";

export interface Score {
  kind: "loss" | "reward";
  /** `validation loss`, `mean reward`. */
  name: string;
  /** Before the first step, at the last evaluation, at the best one. */
  first: number | null;
  last: number | null;
  best: number | null;
}

type Scored = Pick<RunSummary, "method" | "first_loss" | "last_eval_loss" | "best_loss">;

/** An evaluation's loss is minus the mean reward where rewards are learned from. */
export function scoreFrom(method: string, loss: number): number;
export function scoreFrom(method: string, loss: number | null): number | null;
export function scoreFrom(method: string, loss: number | null): number | null {
  if (loss === null || familyOf(method) !== "rewards") return loss;
  return loss === 0 ? 0 : -loss;
}

export function scoreOf(run: Scored): Score {
  const rewarded = familyOf(run.method) === "rewards";
  return {
    kind: rewarded ? "reward" : "loss",
    name: rewarded ? "mean reward" : "validation loss",
    first: scoreFrom(run.method, run.first_loss),
    last: scoreFrom(run.method, run.last_eval_loss),
    best: scoreFrom(run.method, run.best_loss),
  };
}

/** A score as text: losses with four decimals, rewards with three digits. */
export function scoreText(kind: Score["kind"], value: number | null | undefined): string {
  return kind === "loss" ? loss(value) : rewardText(value);
}

/** A reward, or another mean of few digits: `0.617`, `−0.05`. */
export function rewardText(value: number | null | undefined): string {
  return significant(value, 3).replace(/^-(?=\d)/, "−");
}
