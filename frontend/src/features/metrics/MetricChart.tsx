import { memo, useMemo } from "react";

import type { RunHistory } from "@/api/history";
import { LineChart } from "@/components/chart";
import type { ChartSeries } from "@/components/chart";
import { count, integer } from "@/lib/format";

import { lastOf, pointsOf } from "./lines";
import type { Panel } from "./panels";

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
