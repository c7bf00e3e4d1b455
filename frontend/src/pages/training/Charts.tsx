import { memo, useMemo, useState } from "react";

import type { RunHistory } from "@/api/history";
import { LineChart, smooth } from "@/components/chart";
import type { ChartSeries, SeriesColour } from "@/components/chart";
import { Card, Skeleton } from "@/components/ui";
import { bytes, compact, integer, loss, rate, significant } from "@/lib/format";

import { useThrottled } from "./hooks";

const REDRAW_MS = 300;

function Waiting({ history, text }: { history: RunHistory; text: string }) {
  if (!history.caughtUp) return <Skeleton className="h-40 w-full" />;
  return <p className="flex h-40 items-center justify-center text-center text-muted">{text}</p>;
}

/** Weights of the past: what a slider with even steps could not reach is where they differ. */
const WEIGHTS = [0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999] as const;
const FIRST_WEIGHT = 3;

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

const LossChart = memo(function LossChart({ run, history, version }: ChartsProps) {
  const [smoothing, setSmoothing] = useState(FIRST_WEIGHT);
  const weight = WEIGHTS[useThrottled(smoothing, 60)] ?? 0;
  const { train, evals, bestStep, bestLoss } = history;
  const series = useMemo<ChartSeries[]>(
    () => {
      const [x, y] = [train.step.view(), train.loss.view()];
      const raw: ChartSeries = { label: "Training", x, y, colour: 1, faint: weight > 0, points: x.length < 2 };
      const smoothed: ChartSeries = { label: "Training, smoothed", x, y: smooth(y, weight), colour: 1 };
      const validation: ChartSeries = {
        label: "Validation",
        x: evals.step.view(),
        y: evals.loss.view(),
        colour: 2,
        points: evals.step.length <= 200,
      };
      return [raw, ...(weight > 0 ? [smoothed] : []), validation];
    },
    // eslint-disable-next-line react-hooks/exhaustive-deps -- columns grow in place; `version` says when
    [train, evals, weight, version],
  );
  const marks = useMemo(
    () =>
      // Step 0 is the base model: the best of one evaluation is no news.
      bestStep === null || bestLoss === null || bestStep === 0
        ? []
        : [{ x: bestStep, y: bestLoss, label: `best ${loss(bestLoss)}`, colour: 2 as const }],
    [bestStep, bestLoss],
  );
  const empty = train.step.length === 0 && evals.step.length === 0;
  return (
    <Card
      title="Loss"
      description="Nats per token. Drag to zoom, double-click for all."
      actions={<SmoothingSlider value={smoothing} onValue={setSmoothing} />}
    >
      {empty ? (
        <Waiting history={history} text="The curves begin with the first evaluation." />
      ) : (
        <LineChart
          series={series}
          marks={marks}
          summary={lossSummary(history)}
          format={(value) => significant(value, 4)}
          height={280}
          logToggle
          syncKey={run}
          version={version}
        />
      )}
    </Card>
  );
});

function lossSummary({ train, evals, bestStep, bestLoss }: RunHistory): string {
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

interface Lines {
  title: string;
  series: {
    label: string;
    column:
      | "learning_rate"
      | "grad_norm"
      | "tokens_per_second"
      | "supervised_tokens_per_second"
      | "peak_memory_bytes"
      | "rss_bytes";
    colour: SeriesColour;
  }[];
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
  const { train } = history;
  const series = useMemo<ChartSeries[]>(
    () => {
      const x = train.step.view();
      return lines.series.map(({ label, column, colour }) => ({
        label,
        colour,
        x,
        y: train[column].view(),
        points: x.length < 2,
      }));
    },
    // eslint-disable-next-line react-hooks/exhaustive-deps -- columns grow in place; `version` says when
    [train, lines, version],
  );
  const said = lines.series.map(({ label, column }) => `${label} ${lines.format(train[column].at(-1))}`).join(", ");
  return (
    <Card title={lines.title}>
      {train.step.length === 0 ? (
        <Waiting history={history} text="It begins with the first training report." />
      ) : (
        <LineChart
          series={series}
          summary={`${lines.title} over ${integer(train.step.length)} reports. At step ${integer(train.step.at(-1))}: ${said}.`}
          format={lines.format}
          height={190}
          syncKey={run}
          version={version}
        />
      )}
    </Card>
  );
});

/** All curves of a run; their cursors and zoom move together. Drawn anew a few times a second at most. */
export function Charts({ run, history }: { run: string; history: RunHistory }) {
  // While the past is read, each frame brings thousands of reports: drawing every frame would only delay them.
  const version = useThrottled(history.version, history.caughtUp ? REDRAW_MS : 4 * REDRAW_MS);
  return (
    <div className="grid gap-5 lg:grid-cols-2">
      <div className="min-w-0 lg:col-span-2">
        <LossChart run={run} history={history} version={version} />
      </div>
      {(history.train.step.length > 0 || !history.caughtUp) &&
        SMALL.map((lines) => (
          <SmallChart key={lines.title} run={run} history={history} version={version} lines={lines} />
        ))}
    </div>
  );
}
