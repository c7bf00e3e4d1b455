/** Losses over the steps, as lines, marks and words. */

import type { RunHistory } from "@/api/history";
import { smooth } from "@/components/chart";
import type { ChartMark, ChartSeries } from "@/components/chart";
import { integer, loss } from "@/lib/format";

/** `weight` is that of the past in the smoothed line; with 0 there is the raw one alone. `raw` false leaves that out. */
export function lossSeries({ train, evals }: RunHistory, weight: number, raw = true): ChartSeries[] {
  const [x, y] = [train.step.view(), train.loss.view()];
  const series: ChartSeries[] = [];
  if (raw) series.push({ label: "Training", x, y, colour: 1, faint: weight > 0, points: x.length < 2 });
  if (weight > 0) series.push({ label: "Training, smoothed", x, y: smooth(y, weight), colour: 1 });
  // A run without a validation set has no such line.
  if (evals.step.length > 0) {
    const points = evals.step.length <= 200;
    series.push({ label: "Validation", x: evals.step.view(), y: evals.loss.view(), colour: 2, points });
  }
  return series;
}

/** Step 0 is the base model: the best of one evaluation is no news. */
export function lossMarks({ bestStep, bestLoss }: Pick<RunHistory, "bestStep" | "bestLoss">): ChartMark[] {
  if (bestStep === null || bestLoss === null || bestStep === 0) return [];
  return [{ x: bestStep, y: bestLoss, label: `best ${loss(bestLoss)}`, colour: 2 }];
}

/** The same in words. */
export function lossSummary({ train, evals, bestStep, bestLoss }: RunHistory): string {
  const parts: string[] = [];
  if (train.loss.length > 0) {
    parts.push(
      `Training loss went from ${loss(train.loss.at(0))} at step ${integer(train.step.at(0))} ` +
        `to ${loss(train.loss.at(-1))} at step ${integer(train.step.at(-1))}.`,
    );
  }
  if (evals.loss.length > 0) {
    parts.push(`Validation loss went from ${loss(evals.loss.at(0))} to ${loss(evals.loss.at(-1))}.`);
  }
  if (bestStep !== null) parts.push(`The best evaluation is ${loss(bestLoss)} at step ${integer(bestStep)}.`);
  return parts.join(" ");
}
