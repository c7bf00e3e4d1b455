import { useMemo, useState } from "react";

import { useGetCurvesQuery } from "@/api";
import type { Curves, RunSummary } from "@/api";
import { LineChart } from "@/components/chart";
import type { ChartSeries } from "@/components/chart";
import { Card, ErrorNote, Loading, Segmented, Select } from "@/components/ui";
import { metricLabel } from "@/features/metrics/MetricChart";
import { loss, significant } from "@/lib/format";
import { familyOf } from "@/lib/methods";
import { isActive } from "@/state/live";

import { LINES, SMOOTHING } from "./Curves";
import type { Lines } from "./Curves";
import { lookAt, metricNames, metricSeries, timeUnit, trainingSeries, validationSeries } from "./overlay";
import type { Axis, OverlaidRun, TimeUnit } from "./overlay";

const AXES = [
  { value: "step", label: "Steps" },
  { value: "epoch", label: "Epochs" },
  { value: "time", label: "Time" },
] as const;

/** Training and validation losses of the runs that are not hidden. */
export function OverlayCurves({ runs, hidden }: { runs: readonly RunSummary[]; hidden: ReadonlySet<string> }) {
  const [lines, setLines] = useState<Lines>("smoothed");
  const [axis, setAxis] = useState<Axis>("step");
  const [metric, setMetric] = useState<string | null>(null);
  const { curves, error, loading, retry } = useManyCurves(runs);

  // The runs themselves change whenever one of them moves; what is drawn of them does not.
  const key = runs.map((run) => `${run.id} ${run.adapter}`).join("\n");
  const overlaid = useMemo<OverlaidRun[]>(
    () => {
      const names = runs.map((run) => run.adapter || run.id);
      return runs.flatMap((run, place) => {
        const own = curves[place];
        const name = names.indexOf(run.adapter) === place ? run.adapter : run.id;
        return own && !hidden.has(run.id) ? [{ id: run.id, name, look: lookAt(place), curves: own }] : [];
      });
    },
    // eslint-disable-next-line react-hooks/exhaustive-deps -- `key` stands for the runs
    [key, hidden, curves],
  );
  const unit = useMemo(() => timeUnit(overlaid.map((run) => run.curves)), [overlaid]);
  const training = useMemo(
    () => trainingSeries(overlaid, lines, axis, unit, SMOOTHING),
    [overlaid, lines, axis, unit],
  );
  const validation = useMemo(() => validationSeries(overlaid, axis, unit), [overlaid, axis, unit]);
  const names = useMemo(() => metricNames(overlaid.map((run) => run.curves)), [overlaid]);
  // The loss says nothing where rewards are learned from.
  const rewarded = overlaid.length > 0 && runs.every((run) => familyOf(run.method) === "rewards");
  const wanted = metric ?? (rewarded && names.includes("reward") ? "reward" : "");
  const shown = names.includes(wanted) ? wanted : "";
  const plot = { xLabel: axis === "time" ? unit.label : axis, syncKey: `overlay-${axis}` };

  return (
    <Card
      title="Curves"
      description={`${shown === "" ? "Loss in nats per trained token. " : ""}Drag to zoom; both charts move together.`}
      actions={
        <>
          {names.length > 0 && (
            <Select
              label={<span className="sr-only">What to show</span>}
              value={shown}
              onValue={setMetric}
              options={[
                { value: "", label: "Loss" },
                ...names.map((name) => ({ value: name, label: metricLabel(name) })),
              ]}
            />
          )}
          <Segmented size="sm" label="Training loss" value={lines} options={LINES} onValue={setLines} />
          <Segmented size="sm" label="X axis" value={axis} options={AXES} onValue={setAxis} />
        </>
      }
    >
      {error !== undefined && <ErrorNote error={error} onRetry={retry} />}
      {loading && overlaid.length === 0 ? (
        <Loading label="Loading curves…" className="h-60" />
      ) : overlaid.length === 0 ? (
        error === undefined && <p className="text-muted">Every run is hidden.</p>
      ) : shown !== "" ? (
        <MetricOverlay runs={overlaid} metric={shown} axis={axis} unit={unit} plot={plot} />
      ) : (
        <div className="space-y-6">
          <Plot
            {...plot}
            title="Validation loss"
            series={validation}
            summary={`Validation loss of ${overlaid.map(lowest).join("; ")}.`}
            logToggle
          />
          <Plot
            {...plot}
            title="Training loss"
            series={training}
            summary={`Training loss of ${overlaid.map(course).join("; ")}.`}
            logToggle
          />
        </div>
      )}
    </Card>
  );
}

interface PlotProps {
  title: string;
  series: ChartSeries[];
  summary: string;
  xLabel: string;
  syncKey: string;
  logToggle?: boolean;
}

function Plot({ title, ...chart }: PlotProps) {
  return (
    <section aria-label={title}>
      <h3 className="mb-2 text-[0.8125rem] font-medium">{title}</h3>
      <LineChart {...chart} height={280} />
    </section>
  );
}

interface MetricProps {
  runs: readonly OverlaidRun[];
  metric: string;
  axis: Axis;
  unit: TimeUnit;
  plot: Pick<PlotProps, "xLabel" | "syncKey">;
}

/** One metric of all the runs, while training and, where it is measured there, on validation data. */
function MetricOverlay({ runs, metric, axis, unit, plot }: MetricProps) {
  const sets = useMemo(
    () =>
      SETS.map(({ of, name }) => ({ name, series: metricSeries(runs, metric, of, axis, unit) })).filter(
        ({ series }) => series.length > 0,
      ),
    [runs, metric, axis, unit],
  );
  if (sets.length === 0) return <p className="text-muted">None of the runs shown has measured it.</p>;
  return (
    <div className="space-y-6">
      {sets.map(({ name, series }) => {
        const title = `${metricLabel(metric)}, ${name}`;
        const ends = series.map(
          ({ label, y }) => `${label}, from ${significant(y[0], 3)} to ${significant(y[y.length - 1], 3)}`,
        );
        return (
          <Plot key={name} {...plot} title={title} series={series} summary={`${title}, of ${ends.join("; ")}.`} />
        );
      })}
    </div>
  );
}

const SETS = [
  { of: "validation", name: "validation" },
  { of: "train", name: "training" },
] as const;

function lowest({ name, curves: { validation } }: OverlaidRun): string {
  return validation.loss.length === 0
    ? `${name}, not measured`
    : `${name}, from ${loss(validation.loss[0])} to at best ${loss(Math.min(...validation.loss))}`;
}

function course({ name, curves: { train } }: OverlaidRun): string {
  return `${name}, from ${loss(train.loss[0])} to ${loss(train.loss[train.loss.length - 1])}`;
}

/** As many points as a wide screen shows, for lines and their extremes. */
const POINTS = 2000;
const POLL_MS = 3000;

function useOne(run: RunSummary | undefined) {
  return useGetCurvesQuery(
    { run: run?.id ?? "", points: POINTS },
    {
      skip: run === undefined,
      pollingInterval: run && isActive(run.state) ? POLL_MS : 0,
      refetchOnMountOrArgChange: true,
    },
  );
}

interface ManyCurves {
  /** By the runs' places, as far as they are here; the same list until one of them changes. */
  curves: readonly (Curves | undefined)[];
  error: unknown;
  loading: boolean;
  retry: () => void;
}

/** The curves of up to eight runs; those at work are asked for again and again. */
function useManyCurves(runs: readonly RunSummary[]): ManyCurves {
  // Hooks cannot be called in a loop of changing length, so there is one for each possible place.
  const a = useOne(runs[0]);
  const b = useOne(runs[1]);
  const c = useOne(runs[2]);
  const d = useOne(runs[3]);
  const e = useOne(runs[4]);
  const f = useOne(runs[5]);
  const g = useOne(runs[6]);
  const h = useOne(runs[7]);
  const found = [a, b, c, d, e, f, g, h].map((one) => one.currentData);
  const [a1, b1, c1, d1, e1, f1, g1, h1] = found;
  const curves = useMemo(() => [a1, b1, c1, d1, e1, f1, g1, h1], [a1, b1, c1, d1, e1, f1, g1, h1]);
  const asked = [a, b, c, d, e, f, g, h].slice(0, runs.length);
  return {
    curves,
    error: asked.find((one) => one.error)?.error,
    loading: asked.some((one) => one.isFetching && !one.currentData),
    retry: () => asked.forEach((one) => one.error && void one.refetch()),
  };
}
