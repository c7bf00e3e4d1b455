import { useMemo, useState } from "react";

import type { RunSummary } from "@/api";
import { LineChart } from "@/components/chart";
import { Card, ErrorNote, Loading, Segmented } from "@/components/ui";
import { loss } from "@/lib/format";

import { LINES, SMOOTHING } from "./Curves";
import type { Lines } from "./Curves";
import { lookAt, timeUnit, trainingSeries, validationSeries } from "./overlay";
import type { Axis, OverlaidRun } from "./overlay";
import { useManyCurves } from "./useManyCurves";

const AXES = [
  { value: "step", label: "Steps" },
  { value: "epoch", label: "Epochs" },
  { value: "time", label: "Time" },
] as const;

/** Training and validation losses of the runs that are not hidden. */
export function OverlayCurves({ runs, hidden }: { runs: readonly RunSummary[]; hidden: ReadonlySet<string> }) {
  const [lines, setLines] = useState<Lines>("smoothed");
  const [axis, setAxis] = useState<Axis>("step");
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
  const xLabel = axis === "time" ? unit.label : axis;

  return (
    <Card
      title="Curves"
      description="Loss in nats per trained token. Drag to zoom; both charts move together."
      actions={
        <>
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
      ) : (
        <div className="space-y-6">
          <section aria-label="Validation loss">
            <h3 className="mb-2 text-[0.8125rem] font-medium">Validation loss</h3>
            <LineChart
              series={validation}
              summary={`Validation loss of ${overlaid.map(lowest).join("; ")}.`}
              xLabel={xLabel}
              height={280}
              logToggle
              syncKey={`overlay-${axis}`}
            />
          </section>
          <section aria-label="Training loss">
            <h3 className="mb-2 text-[0.8125rem] font-medium">Training loss</h3>
            <LineChart
              series={training}
              summary={`Training loss of ${overlaid.map(course).join("; ")}.`}
              xLabel={xLabel}
              height={280}
              logToggle
              syncKey={`overlay-${axis}`}
            />
          </section>
        </div>
      )}
    </Card>
  );
}

function lowest({ name, curves: { validation } }: OverlaidRun): string {
  return validation.loss.length === 0
    ? `${name}, not measured`
    : `${name}, from ${loss(validation.loss[0])} to at best ${loss(Math.min(...validation.loss))}`;
}

function course({ name, curves: { train } }: OverlaidRun): string {
  return `${name}, from ${loss(train.loss[0])} to ${loss(train.loss[train.loss.length - 1])}`;
}
