import { memo, useMemo } from "react";

import { LineChart } from "@/components/chart";
import { Card } from "@/components/ui";
import { rewardMarks, rewardSeries, rewardSummary } from "@/features/metrics/rewardLines";
import { rewardText } from "@/features/metrics/score";

import type { ChartsProps } from "./chartParts";
import { SmoothingSlider, useSmoothing, Waiting } from "./chartParts";

/** The mean reward with its spread: what runs that learn from rewards are about. */
export const RewardChart = memo(function RewardChart({ run, history, version }: ChartsProps) {
  const { place, setPlace, weight } = useSmoothing();
  const series = useMemo(
    () => rewardSeries(history, weight),
    // eslint-disable-next-line react-hooks/exhaustive-deps -- columns grow in place; `version` says when
    [history, weight, version],
  );
  const { bestStep, bestLoss } = history;
  const marks = useMemo(() => rewardMarks({ bestStep, bestLoss }), [bestStep, bestLoss]);
  return (
    <Card
      title="Reward"
      description="Mean of the weighted sum over all completions of a step, and one standard deviation around it. Drag to zoom, double-click for all."
      actions={<SmoothingSlider value={place} onValue={setPlace} />}
    >
      {history.train.step.length === 0 && history.evals.step.length === 0 ? (
        <Waiting history={history} text="The curve begins with the first evaluation." />
      ) : (
        <LineChart
          series={series}
          marks={marks}
          summary={rewardSummary(history)}
          format={rewardText}
          height={280}
          syncKey={run}
          version={version}
        />
      )}
    </Card>
  );
});
