/** What several runs' curves need to lie over one another: looks that stay apart, and one x axis of three. */

import type { ConfigDiff, Curves } from "@/api";
import type { ChartSeries, SeriesColour } from "@/components/chart";
import { smooth } from "@/components/chart/align";
import { DATA_SETTINGS } from "@/features/data/settings";

import type { Lines } from "./Curves";

export type Axis = "step" | "epoch" | "time";

export interface LineLook {
  colour: SeriesColour;
  /** Strokes and gaps; none for a full line. */
  dash: readonly number[];
}

/** Colour and dash pattern together: each alone tells the eight apart. */
const LOOKS: readonly LineLook[] = [
  { colour: 1, dash: [] },
  { colour: 2, dash: [8, 4] },
  { colour: 3, dash: [2, 3] },
  { colour: 4, dash: [10, 3, 2, 3] },
  { colour: 5, dash: [14, 4] },
  { colour: 6, dash: [5, 3] },
  { colour: 7, dash: [8, 3, 2, 3, 2, 3] },
  { colour: 8, dash: [3, 6] },
];

/** How the run at `place` is drawn. */
export function lookAt(place: number): LineLook {
  return LOOKS[place % LOOKS.length] ?? { colour: 1, dash: [] };
}

export interface TimeUnit {
  label: string;
  seconds: number;
}

/** The unit in which the longest of the runs is a handy number. */
export function timeUnit(curves: readonly Curves[]): TimeUnit {
  const longest = Math.max(0, ...curves.map(({ train }) => train.seconds[train.seconds.length - 1] ?? 0));
  if (longest < 600) return { label: "seconds", seconds: 1 };
  return longest < 6 * 3600 ? { label: "minutes", seconds: 60 } : { label: "hours", seconds: 3600 };
}

/** Where a run's training reports stand on the axis. */
export function trainX({ train }: Curves, axis: Axis, unit: TimeUnit): readonly number[] {
  if (axis === "step") return train.step;
  return axis === "epoch" ? train.epoch : train.seconds.map((value) => value / unit.seconds);
}

/** Where its evaluations stand; epochs are found between the reports around them. */
export function validationX(curves: Curves, axis: Axis, unit: TimeUnit): readonly number[] {
  const { validation, train } = curves;
  if (axis === "step") return validation.step;
  if (axis === "time") return validation.seconds.map((value) => value / unit.seconds);
  return validation.step.map((step) => between(step, train.step, train.epoch));
}

/** `y` at `x` on the line through (0, 0) and the points, which ascend; beyond the last it goes on as from 0 to it. */
export function between(x: number, xs: readonly number[], ys: readonly number[]): number {
  let left = { x: 0, y: 0 };
  for (let i = 0; i < xs.length; i++) {
    const right = { x: xs[i] ?? 0, y: ys[i] ?? 0 };
    if (right.x >= x) {
      const span = right.x - left.x;
      return span === 0 ? right.y : left.y + ((right.y - left.y) * (x - left.x)) / span;
    }
    left = right;
  }
  return left.x === 0 ? 0 : (left.y * x) / left.x;
}

export interface OverlaidRun {
  id: string;
  name: string;
  look: LineLook;
  curves: Curves;
}

/** Training losses: raw lines pale behind the smoothed ones where both are wanted. */
export function trainingSeries(
  runs: readonly OverlaidRun[],
  lines: Lines,
  axis: Axis,
  unit: TimeUnit,
  smoothing: number,
): ChartSeries[] {
  return runs.flatMap(({ name, look, curves }) => {
    const x = trainX(curves, axis, unit);
    const { loss } = curves.train;
    const raw: ChartSeries = {
      label: lines === "both" ? `${name}, raw` : name,
      x,
      y: loss,
      colour: look.colour,
      ...(lines === "both" ? { faint: true, unlisted: true } : { dash: look.dash }),
    };
    const smoothed: ChartSeries = { label: name, x, y: smooth(loss, smoothing), ...look };
    return lines === "raw" ? [raw] : lines === "smoothed" ? [smoothed] : [raw, smoothed];
  });
}

/** Validation losses, a dot each. */
export function validationSeries(runs: readonly OverlaidRun[], axis: Axis, unit: TimeUnit): ChartSeries[] {
  return runs.map(({ name, look, curves }) => ({
    label: name,
    x: validationX(curves, axis, unit),
    y: curves.validation.loss,
    ...look,
    points: true,
  }));
}

/** Names of what any of the runs measured besides the loss, in the order in which they come up. */
export function metricNames(curves: readonly Curves[]): string[] {
  return [
    ...new Set(
      curves.flatMap(({ train, validation }) => [...Object.keys(train.metrics), ...Object.keys(validation.metrics)]),
    ),
  ];
}

/** A metric of each run that has it: of its training reports, or of its evaluations, a dot each. */
export function metricSeries(
  runs: readonly OverlaidRun[],
  metric: string,
  of: "train" | "validation",
  axis: Axis,
  unit: TimeUnit,
): ChartSeries[] {
  return runs.flatMap(({ name, look, curves }) => {
    const values = curves[of].metrics[metric];
    if (!values) return [];
    const xs = of === "train" ? trainX(curves, axis, unit) : validationX(curves, axis, unit);
    const places = values.flatMap((value, at) => (value === null ? [] : [{ x: xs[at] ?? NaN, y: value }]));
    const [x, y] = [places.map((one) => one.x), places.map((one) => one.y)];
    return x.length === 0 ? [] : [{ label: name, x, y, ...look, points: of === "validation" || x.length < 2 }];
  });
}

/** Settings of the data that leave the validation loss comparable. */
const HARMLESS: readonly string[] = [
  "method",
  "seed",
  "offline",
  "rewards",
  "max_prompt_length",
  "max_completion_length",
];
const MEASURE = new Set<string>([
  "model_path",
  "train_data_path",
  "val_data_path",
  "test_fraction",
  "split_seed",
  ...DATA_SETTINGS.filter((name) => !HARMLESS.includes(name)),
]);

/** Differing settings that make validation losses of the runs no longer the same measurement. */
export function unlikeMeasures({ rows }: ConfigDiff): string[] {
  const names = rows.map((row) => row.name);
  const ownSet = !names.includes("val_data_path") && rows.some((row) => row.name === "seed");
  return names.filter((name) => MEASURE.has(name) || (name === "seed" && ownSet));
}
