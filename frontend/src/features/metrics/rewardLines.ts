/** The reward over a run's steps: its mean, the spread around it, and what the validation prompts earned. */

import type { RunHistory } from "@/api/history";
import type { ChartMark, ChartSeries } from "@/components/chart";
import { smooth } from "@/components/chart/align";
import { integer } from "@/lib/format";

import { lastOf, pointsOf } from "./lines";
import { rewardText } from "./score";

/** `weight` is that of the past in the smoothed line; with 0 there is the raw one alone. */
export function rewardSeries(history: RunHistory, weight: number): ChartSeries[] {
  const { train, trainMetrics, evals, evalMetrics } = history;
  const mean = pointsOf(train.step.view(), trainMetrics, "reward");
  const spread = pointsOf(train.step.view(), trainMetrics, "reward_std");
  const middle = smooth(mean.y, weight);
  const width = smooth(spread.y, weight);
  const around = (sign: 1 | -1) => middle.map((value, at) => value + sign * (width[at] ?? NaN));
  const few = mean.x.length < 2;
  const series: ChartSeries[] = [];
  if (spread.y.length === mean.y.length && !few) {
    series.push({ label: "One std above", x: mean.x, y: around(1), colour: 1, faint: true, bandTo: "one below" });
    series.push({ label: "one below", x: mean.x, y: around(-1), colour: 1, faint: true });
  }
  series.push({ label: "Training", ...mean, colour: 1, faint: weight > 0, points: few });
  if (weight > 0) series.push({ label: "Training, smoothed", x: mean.x, y: middle, colour: 1 });
  const validation = pointsOf(evals.step.view(), evalMetrics, "reward");
  if (validation.x.length > 0)
    series.push({ label: "Validation", ...validation, colour: 2, points: validation.x.length <= 200 });
  return series;
}

/** The best evaluation, unless it is that of the base model. */
export function rewardMarks({ bestStep, bestLoss }: Pick<RunHistory, "bestStep" | "bestLoss">): ChartMark[] {
  if (bestStep === null || bestLoss === null || bestStep === 0) return [];
  return [{ x: bestStep, y: -bestLoss, label: `best ${rewardText(-bestLoss)}`, colour: 2 }];
}

/** The same in words. */
export function rewardSummary({ train, trainMetrics, evals, evalMetrics, bestStep, bestLoss }: RunHistory): string {
  const parts: string[] = [];
  if (train.step.length > 0) {
    parts.push(
      `Mean reward went from ${rewardText(trainMetrics.at("reward", 0))} at step ${integer(train.step.at(0))} ` +
        `to ${rewardText(lastOf(trainMetrics, "reward"))} at step ${integer(train.step.at(-1))}.`,
    );
  }
  if (evals.step.length > 0) {
    parts.push(
      `On validation prompts it went from ${rewardText(evalMetrics.at("reward", 0))} to ${rewardText(lastOf(evalMetrics, "reward"))}.`,
    );
  }
  if (bestStep !== null && bestLoss !== null)
    parts.push(`The best evaluation is ${rewardText(-bestLoss)} at step ${integer(bestStep)}.`);
  return parts.join(" ");
}
