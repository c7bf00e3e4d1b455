import { useMemo } from "react";

import type { RunSummary } from "@/api";
import type { RunHistory } from "@/api/history";
import { Card } from "@/components/ui";
import { MetricChart } from "@/features/metrics/MetricChart";
import { panelsOf } from "@/features/metrics/panels";

interface Props {
  run: RunSummary;
  history: RunHistory;
  version: number;
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
