import { useMemo, useState } from "react";

import type { RunSummary } from "@/api";
import type { RunHistory } from "@/api/history";
import { LineChart } from "@/components/chart";
import type { ChartSeries } from "@/components/chart";
import { Card, Note, Segmented } from "@/components/ui";
import { lossMarks, lossSeries, lossSummary } from "@/features/metrics/loss";
import { MetricChart, panelsOf, rewardMarks, rewardSeries, rewardSummary } from "@/features/metrics/MetricChart";
import { rewardText } from "@/features/metrics/score";
import { rate, significant } from "@/lib/format";
import { familyOf } from "@/lib/methods";
import { isActive } from "@/state/live";

export type Lines = "both" | "raw" | "smoothed";

export const LINES = [
  { value: "both", label: "Both" },
  { value: "raw", label: "Raw" },
  { value: "smoothed", label: "Smoothed" },
] as const;

/** The past's weight in a smoothed line. */
export const SMOOTHING = 0.9;

interface Props {
  run: RunSummary;
  history: RunHistory;
  version: number;
}

/** Loss, learning rate and gradient norm over the steps; they zoom together. */
export function Curves({ run, history, version }: Props) {
  const [lines, setLines] = useState<Lines>("both");
  const { train, evals } = history;
  const rewarded = familyOf(run.method) === "rewards";
  const series = useMemo(
    () => {
      if (rewarded) return rewardSeries(history, lines === "raw" ? 0 : SMOOTHING);
      return lossSeries(history, lines === "raw" ? 0 : SMOOTHING, lines !== "smoothed");
    },
    // eslint-disable-next-line react-hooks/exhaustive-deps -- columns grow in place; `version` says when
    [history, train, evals, lines, rewarded, version],
  );
  const small = useMemo(
    () => {
      const x = train.step.view();
      const rates: ChartSeries[] = [{ label: "learning rate", x, y: train.learning_rate.view(), colour: 4 }];
      const norms: ChartSeries[] = [{ label: "gradient norm", x, y: train.grad_norm.view(), colour: 3 }];
      return { rates, norms };
    },
    // eslint-disable-next-line react-hooks/exhaustive-deps -- as above
    [train, version],
  );
  const { bestStep, bestLoss } = history;
  const marks = useMemo(
    () => (rewarded ? rewardMarks({ bestStep, bestLoss }) : lossMarks({ bestStep, bestLoss })),
    [bestStep, bestLoss, rewarded],
  );
  const reports = train.step.length;
  const nothing = reports === 0 && evals.step.length === 0;
  const key = `run-${run.id}`;
  const summary = rewarded ? rewardSummary(history) : lossSummary(history);

  return (
    <Card
      title="Curves"
      description={`${rewarded ? "Mean reward and one standard deviation around it" : "Loss in nats per trained token"}. Drag to zoom, double-click to see everything again.`}
      actions={
        !nothing && (
          <Segmented
            size="sm"
            label={rewarded ? "Training reward" : "Training loss"}
            value={lines}
            options={rewarded ? LINES.slice(1) : LINES}
            onValue={setLines}
          />
        )
      }
    >
      {nothing ? (
        history.caughtUp ? (
          <p className="text-muted">
            {isActive(run.state) || run.state === "queued"
              ? "They begin with its first report."
              : "It has no reports."}
          </p>
        ) : history.connection === "lost" ? (
          <Note tone="warn" title="Can't load the curves: the server isn't responding." />
        ) : (
          <div role="status" className="h-60 text-muted">
            Loading the curves…
          </div>
        )
      ) : (
        <div className="space-y-4">
          <LineChart
            series={series}
            marks={marks}
            summary={summary}
            height={300}
            logToggle={!rewarded}
            format={rewarded ? rewardText : undefined}
            syncKey={key}
            version={version}
          />
          <div className="grid gap-4 md:grid-cols-2">
            <LineChart
              series={small.rates}
              summary={`Learning rate over steps, from ${rate(train.learning_rate.at(0))} to ${rate(train.learning_rate.at(-1))}.`}
              format={rate}
              height={170}
              syncKey={key}
              version={version}
            />
            <LineChart
              series={small.norms}
              summary={`Gradient norm before clipping over steps, ending at ${significant(train.grad_norm.at(-1), 3)}.`}
              height={170}
              logToggle
              syncKey={key}
              version={version}
            />
          </div>
        </div>
      )}
    </Card>
  );
}

/** What the method measured besides, a chart for what belongs together. */
export function Metrics({ run, history, version }: Props) {
  const names = history.trainMetrics.names.join("\n");
  const panels = useMemo(() => panelsOf(run.method, names === "" ? [] : names.split("\n")), [run.method, names]);
  if (panels.length === 0) return null;
  return (
    <Card title="Metrics" description="What else the method measured; the charts zoom together with the curves.">
      <div className="grid gap-5 md:grid-cols-2">
        {panels.map((panel) => (
          <section key={panel.title} aria-label={panel.title} className="min-w-0">
            <h3 className="text-[0.8125rem] font-medium">{panel.title}</h3>
            {panel.note !== "" && <p className="mb-1 text-xs text-muted">{panel.note}</p>}
            <MetricChart panel={panel} history={history} version={version} syncKey={`run-${run.id}`} />
          </section>
        ))}
      </div>
    </Card>
  );
}
