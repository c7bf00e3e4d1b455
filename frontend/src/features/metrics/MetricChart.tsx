/** What a run measures, as lines of charts: which belong together, what they mean, and the chart of a panel. */

import { memo, useMemo } from "react";

import type { NamedColumns } from "@/api/history";
import type { RunHistory } from "@/api/history";
import { LineChart } from "@/components/chart";
import type { ChartMark, ChartSeries, SeriesColour } from "@/components/chart";
import { smooth } from "@/components/chart/align";
import type { Numbers } from "@/components/chart/align";
import { compact, count, integer, percent, significant } from "@/lib/format";
import { familyOf } from "@/lib/methods";

import { rewardText } from "./score";

/** The points of a metric: those steps at which it was measured. */
export function pointsOf(x: Float64Array, metrics: NamedColumns, name: string): { x: Numbers; y: Numbers } {
  const y = metrics.view(name);
  if (!y.some(Number.isNaN)) return { x: y.length === x.length ? x : x.subarray(0, y.length), y };
  const places = Array.from(y.keys()).filter((at) => !Number.isNaN(y[at]));
  return { x: places.map((at) => x[at] ?? NaN), y: places.map((at) => y[at] ?? NaN) };
}

/** The last value that was measured; NaN where none was. */
export function lastOf(metrics: NamedColumns, name: string): number {
  const y = metrics.view(name);
  for (let at = y.length - 1; at >= 0; at--) {
    const value = y[at];
    if (value !== undefined && !Number.isNaN(value)) return value;
  }
  return NaN;
}

interface Line {
  label: string;
  /** Its name in reports. */
  metric: string;
  colour: SeriesColour;
}

interface Panel {
  title: string;
  /** What it says about the run, in a line. */
  note: string;
  lines: Line[];
  format: (value: number) => string;
}

const fine = (value: number) => significant(value, 3);
const share = (value: number) => percent(value, 1);

/** One line, drawn where the run has it. */
function single(
  title: string,
  metric: string,
  colour: SeriesColour,
  note: string,
  format: (value: number) => string = fine,
): Panel {
  return { title, note, lines: [{ label: title, metric, colour }], format };
}

const REWARDED: readonly Panel[] = [
  single(
    "Tied groups",
    "tied_groups",
    8,
    "Share of groups whose completions all earned the same: they teach nothing.",
    share,
  ),
  {
    title: "Completion length",
    note: "In tokens, the end token included.",
    lines: [
      { label: "Mean", metric: "completion_length", colour: 1 },
      { label: "Longest", metric: "completion_length_max", colour: 6 },
    ],
    format: (value) => compact(value),
  },
  single(
    "Cut off",
    "truncated",
    7,
    "Share of completions that had not ended at max_completion_length tokens.",
    share,
  ),
  {
    title: "Clipped",
    note: "Share of tokens (of completions, with GSPO) whose ratio to the policy that sampled left the clip range.",
    lines: [
      { label: "From below", metric: "clip_low", colour: 4 },
      { label: "From above", metric: "clip_high", colour: 5 },
    ],
    format: share,
  },
  single("Entropy", "entropy", 3, "Of the policy, in nats per token: near zero, all completions are alike."),
  single("KL divergence", "kl", 2, "From the base model, in nats per token (k3 estimate)."),
];

const PREFERRED: readonly Panel[] = [
  single(
    "Accuracy",
    "accuracy",
    1,
    "Share of pairs in which the chosen answer is rated above the rejected one.",
    share,
  ),
  single("Margin", "margin", 4, "Mean rating of the chosen answer above the rejected one."),
  {
    title: "Ratings",
    note: "Beta times the gain in log-probability over the base model (ORPO: over nothing).",
    lines: [
      { label: "Chosen", metric: "reward_chosen", colour: 3 },
      { label: "Rejected", metric: "reward_rejected", colour: 5 },
    ],
    format: fine,
  },
  {
    title: "Log-probabilities",
    note: "Both falling is common; the distance between them is what counts.",
    lines: [
      { label: "Chosen", metric: "logp_chosen", colour: 3 },
      { label: "Rejected", metric: "logp_rejected", colour: 5 },
    ],
    format: (value) => significant(value, 4),
  },
  single("Loss on chosen answers", "nll", 2, "In nats per token."),
  single("Log odds ratio", "log_odds", 6, "Of chosen over rejected answers."),
];

/** Shown in a chart of their own, above these. */
const ELSEWHERE = new Set(["reward", "reward_std", "sampling_tokens_per_second"]);

/** Neighbours differ as much as they can. */
const COLOURS: readonly SeriesColour[] = [1, 5, 3, 7, 6, 4, 8, 2];

/** The names of a run's rewards, in the order of its reports. */
export function rewardNames(names: readonly string[]): string[] {
  return names.filter((name) => name.startsWith("reward/")).map((name) => name.slice("reward/".length));
}

function perReward(title: string, prefix: string, note: string, names: readonly string[]): Panel {
  const lines = names.map((name, at) => ({
    label: name,
    metric: `${prefix}/${name}`,
    colour: COLOURS[at % COLOURS.length] ?? 1,
  }));
  return { title, note, lines, format: fine };
}

/** The charts of a run of `method` whose reports have these names; what no chart here knows has one of its own. */
export function panelsOf(method: string, names: readonly string[]): Panel[] {
  const family = familyOf(method);
  const rewards = rewardNames(names);
  const known =
    family === "rewards"
      ? [
          perReward("Each reward", "reward", "Means, before weights.", rewards),
          perReward(
            "Spread of each reward",
            "reward_std",
            "Standard deviation over the completions of a step.",
            rewards,
          ),
          ...REWARDED,
        ]
      : family === "preferences"
        ? PREFERRED
        : [];
  const panels = known
    .map((panel) => ({ ...panel, lines: panel.lines.filter(({ metric }) => names.includes(metric)) }))
    .filter(({ lines }) => lines.length > 0);
  const drawn = new Set([...ELSEWHERE, ...panels.flatMap(({ lines }) => lines.map(({ metric }) => metric))]);
  const others = names.filter((name) => !drawn.has(name));
  return [...panels, ...others.map((name) => single(metricLabel(name), name, 1, "", fine))];
}

const NAMES: Readonly<Record<string, string>> = {
  reward: "Reward",
  reward_std: "Spread of the reward",
  tied_groups: "Tied groups",
  kl: "KL divergence",
  clip_low: "Clipped from below",
  clip_high: "Clipped from above",
  entropy: "Entropy",
  completion_length: "Completion length",
  completion_length_max: "Longest completion",
  truncated: "Cut off",
  sampling_tokens_per_second: "Sampling speed",
  accuracy: "Accuracy",
  margin: "Margin",
  reward_chosen: "Rating, chosen",
  reward_rejected: "Rating, rejected",
  logp_chosen: "Log-probability, chosen",
  logp_rejected: "Log-probability, rejected",
  nll: "Loss on chosen answers",
  log_odds: "Log odds ratio",
};

/** A metric's name for people: `Reward: tag_format`. */
export function metricLabel(name: string): string {
  const [head = "", ...rest] = name.split("/");
  if (rest.length > 0 && head === "reward") return `Reward: ${rest.join("/")}`;
  if (rest.length > 0 && head === "reward_std") return `Spread: ${rest.join("/")}`;
  return NAMES[name] ?? name.replaceAll("_", " ");
}

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

interface Props {
  panel: Panel;
  history: RunHistory;
  version: number;
  syncKey: string;
  height?: number | undefined;
}

/** The lines of a panel over the steps; what was measured on the validation set beside them, dashed. */
export const MetricChart = memo(function MetricChart({ panel, history, version, syncKey, height = 170 }: Props) {
  const { train, trainMetrics, evals, evalMetrics } = history;
  const series = useMemo<ChartSeries[]>(
    () =>
      panel.lines.flatMap(({ label, metric, colour }) => {
        const own = pointsOf(train.step.view(), trainMetrics, metric);
        const line: ChartSeries = { label, ...own, colour, points: own.x.length < 2 };
        const held = pointsOf(evals.step.view(), evalMetrics, metric);
        const checked: ChartSeries = {
          label: panel.lines.length === 1 ? "Validation" : `${label}, validation`,
          ...held,
          colour: panel.lines.length === 1 && colour !== 2 ? 2 : colour,
          dashed: true,
          points: held.x.length <= 200,
        };
        return held.x.length > 0 ? [line, checked] : [line];
      }),
    // eslint-disable-next-line react-hooks/exhaustive-deps -- columns grow in place; `version` says when
    [panel, train, trainMetrics, evals, evalMetrics, version],
  );
  const said = panel.lines.map(({ label, metric }) => `${label} ${panel.format(lastOf(trainMetrics, metric))}`);
  return (
    <LineChart
      series={series}
      summary={`${panel.title} over ${count(train.step.length, "report")}. At step ${integer(train.step.at(-1))}: ${said.join(", ")}.`}
      format={panel.format}
      height={height}
      syncKey={syncKey}
      version={version}
    />
  );
});
