import { memo, useMemo, useState } from "react";

import type { RunHistory } from "@/api/history";
import { LineChart } from "@/components/chart";
import type { ChartSeries, SeriesColour } from "@/components/chart";
import { Card, Skeleton } from "@/components/ui";
import { lossMarks, lossSeries, lossSummary } from "@/features/metrics/loss";
import {
  MetricChart,
  metricLabel,
  panelsOf,
  pointsOf,
  rewardMarks,
  rewardSeries,
  rewardSummary,
} from "@/features/metrics/MetricChart";
import { rewardText } from "@/features/metrics/score";
import { bytes, compact, count, integer, rate, significant } from "@/lib/format";
import { useThrottled } from "@/lib/hooks";
import { familyOf } from "@/lib/methods";
import type { Family } from "@/lib/methods";

/** In place of a chart that has nothing to show yet. */
function Waiting({ history, text }: { history: RunHistory; text: string }) {
  if (!history.caughtUp) return <Skeleton className="h-40 w-full" />;
  return <p className="flex h-40 items-center justify-center text-center text-muted">{text}</p>;
}

/** Weights of the past: what a slider with even steps could not reach is where they differ. */
const WEIGHTS = [0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999] as const;
const FIRST_WEIGHT = 3;

/** A place of the slider, and the weight that it stands for a moment later. */
function useSmoothing() {
  const [place, setPlace] = useState(FIRST_WEIGHT);
  return { place, setPlace, weight: WEIGHTS[useThrottled(place, 60)] ?? 0 };
}

/** How strongly the training loss is smoothed: a place in `WEIGHTS`. */
function SmoothingSlider({ value, onValue }: { value: number; onValue: (value: number) => void }) {
  const weight = WEIGHTS[value] ?? 0;
  const text = weight === 0 ? "off" : String(weight);
  return (
    <label className="flex items-center gap-2 text-xs text-muted">
      Smoothing
      <input
        type="range"
        min={0}
        max={WEIGHTS.length - 1}
        step={1}
        value={value}
        onChange={(event) => onValue(Number(event.target.value))}
        aria-valuetext={text}
        className="w-28 accent-accent"
      />
      <span className="w-10 text-ink">{text}</span>
    </label>
  );
}

interface ChartsProps {
  run: string;
  history: RunHistory;
  /** Of the history, already slowed down. */
  version: number;
}

const REDRAW_MS = 300;

/** What the run is about: the loss, or the mean reward with its spread where that is learned from. */
const MainChart = memo(function MainChart({ run, history, version, family }: ChartsProps & { family: Family }) {
  const { place, setPlace, weight } = useSmoothing();
  const { train, evals, bestStep, bestLoss } = history;
  const rewarded = family === "rewards";
  const series = useMemo(
    () => (rewarded ? rewardSeries(history, weight) : lossSeries(history, weight)),
    // eslint-disable-next-line react-hooks/exhaustive-deps -- columns grow in place; `version` says when
    [history, weight, rewarded, version],
  );
  const marks = useMemo(
    () => (rewarded ? rewardMarks({ bestStep, bestLoss }) : lossMarks({ bestStep, bestLoss })),
    [bestStep, bestLoss, rewarded],
  );
  return (
    <Card
      title={rewarded ? "Reward" : "Loss"}
      description={DESCRIPTIONS[family]}
      actions={<SmoothingSlider value={place} onValue={setPlace} />}
    >
      {train.step.length === 0 && evals.step.length === 0 ? (
        <Waiting
          history={history}
          text={`The ${rewarded ? "curve begins" : "curves begin"} with the first evaluation.`}
        />
      ) : (
        <LineChart
          series={series}
          marks={marks}
          summary={rewarded ? rewardSummary(history) : lossSummary(history)}
          format={rewarded ? rewardText : undefined}
          height={280}
          logToggle={!rewarded}
          syncKey={run}
          version={version}
        />
      )}
    </Card>
  );
});

const DESCRIPTIONS: Record<Family, string> = {
  answers: "Nats per token. Drag to zoom, double-click for all.",
  rewards:
    "Mean of the weighted sum over all completions of a step, and one standard deviation around it. Drag to zoom, double-click for all.",
  preferences: "Of preferences, in nats per pair. Drag to zoom, double-click for all.",
};

interface Lines {
  title: string;
  /** What has to be known to read it. */
  note?: string;
  series: {
    label: string;
    column:
      | "loss"
      | "learning_rate"
      | "grad_norm"
      | "tokens_per_second"
      | "supervised_tokens_per_second"
      | "peak_memory_bytes"
      | "rss_bytes";
    colour: SeriesColour;
  }[];
  /** A metric that belongs into the same chart, where the run has it. */
  metric?: string;
  format: (value: number) => string;
}

const SMALL: Lines[] = [
  { title: "Learning rate", series: [{ label: "Learning rate", column: "learning_rate", colour: 3 }], format: rate },
  {
    title: "Gradient norm",
    series: [{ label: "Largest norm, before clipping", column: "grad_norm", colour: 5 }],
    format: (value) => significant(value, 3),
  },
  {
    title: "Speed",
    series: [
      { label: "All tokens", column: "tokens_per_second", colour: 4 },
      { label: "Trained on", column: "supervised_tokens_per_second", colour: 6 },
    ],
    metric: "sampling_tokens_per_second",
    format: (value) => compact(value),
  },
  {
    title: "Memory",
    series: [
      { label: "Arrays, peak", column: "peak_memory_bytes", colour: 7 },
      { label: "Process", column: "rss_bytes", colour: 8 },
    ],
    format: bytes,
  },
];

const SmallChart = memo(function SmallChart({ run, history, version, lines }: ChartsProps & { lines: Lines }) {
  const { train, trainMetrics } = history;
  const series = useMemo<ChartSeries[]>(
    () => {
      const x = train.step.view();
      const own = lines.series.map<ChartSeries>(({ label, column, colour }) => ({
        label,
        colour,
        x,
        y: train[column].view(),
        points: x.length < 2,
      }));
      if (lines.metric === undefined || !trainMetrics.has(lines.metric)) return own;
      const measured = pointsOf(x, trainMetrics, lines.metric);
      return [...own, { label: metricLabel(lines.metric), colour: 2, ...measured, points: x.length < 2 }];
    },
    // eslint-disable-next-line react-hooks/exhaustive-deps -- columns grow in place; `version` says when
    [train, trainMetrics, lines, version],
  );
  const said = lines.series.map(({ label, column }) => `${label} ${lines.format(train[column].at(-1))}`).join(", ");
  return (
    <Card title={lines.title} description={lines.note}>
      {train.step.length === 0 ? (
        <Waiting history={history} text="It begins with the first training report." />
      ) : (
        <LineChart
          series={series}
          summary={`${lines.title} over ${count(train.step.length, "report")}. At step ${integer(train.step.at(-1))}: ${said}.`}
          format={lines.format}
          height={190}
          syncKey={run}
          version={version}
        />
      )}
    </Card>
  );
});

const LOSS: Lines = {
  title: "Loss",
  note:
    "About zero is normal: advantages of a group sum to zero, so the loss says which way to go and not how good it " +
    "is. What counts is the reward.",
  series: [{ label: "Loss", column: "loss", colour: 2 }],
  format: rate,
};

/** All curves of a run; their cursors and zoom move together. Redrawn a few times a second at most. */
export function Charts({ run, method, history }: { run: string; method: string; history: RunHistory }) {
  // While the past is read, each frame brings thousands of reports: drawing every frame would only delay them.
  const version = useThrottled(history.version, history.caughtUp ? REDRAW_MS : 4 * REDRAW_MS);
  const family = familyOf(method);
  const names = history.trainMetrics.names.join("\n");
  const panels = useMemo(() => panelsOf(method, names === "" ? [] : names.split("\n")), [method, names]);
  const shared = { run, history, version };
  const reported = history.train.step.length > 0;
  return (
    <div className="grid gap-5 lg:grid-cols-2">
      <div className="min-w-0 lg:col-span-2">
        <MainChart {...shared} family={family} />
      </div>
      {panels.map((panel) => (
        <Card key={panel.title} title={panel.title} description={panel.note || undefined}>
          <MetricChart panel={panel} history={history} version={version} syncKey={run} height={190} />
        </Card>
      ))}
      {(reported || !history.caughtUp) && (
        <>
          {family === "rewards" && <SmallChart {...shared} lines={LOSS} />}
          {SMALL.map((lines) => (
            <SmallChart key={lines.title} {...shared} lines={lines} />
          ))}
        </>
      )}
    </div>
  );
}
