import { memo } from "react";

import type { RunSummary } from "@/api";
import { cx } from "@/lib/cx";
import { duration, moment, relative, shortName } from "@/lib/format";
import { familyOf } from "@/lib/methods";

import type { RunActions, Work } from "./actions";
import { BestLoss, Curve, PickBox, RunName, Steps } from "./cells";
import { targetsAndRank } from "./facts";
import { More, useWindow } from "./More";
import { RunButtons } from "./RunButtons";
import type { RunListProps } from "./RunsTable";
import { StateBadge } from "./StateBadge";

/** Runs as cards, for narrow screens. */
export function RunCards({ runs, picked, full, busy, actions, onPick }: RunListProps) {
  const { count, more } = useWindow(runs);
  return (
    <>
      <ul aria-label="Runs" className="grid gap-3 sm:grid-cols-2">
        {runs.slice(0, count).map((run) => (
          <RunCard
            key={run.id}
            run={run}
            on={picked.has(run.id)}
            full={full}
            work={busy[run.id]}
            actions={actions}
            onPick={onPick}
          />
        ))}
      </ul>
      <More shown={count} of={runs.length} more={more} />
    </>
  );
}

interface CardProps {
  run: RunSummary;
  on: boolean;
  full: boolean;
  work: Work | undefined;
  actions: RunActions;
  onPick: (run: string, on: boolean) => void;
}

const RunCard = memo(function RunCard({ run, on, full, work, actions, onPick }: CardProps) {
  return (
    <li
      className={cx(
        "flex min-w-0 flex-col rounded-lg border bg-surface p-4 pb-2 shadow-card",
        on ? "border-accent" : "border-line",
      )}
    >
      <div className="flex items-start justify-between gap-3">
        <div className="min-w-0">
          <RunName run={run} />
        </div>
        <StateBadge run={run} />
      </div>
      <p className="mt-1.5 text-[0.8125rem] text-muted wrap-anywhere">
        {[run.model_name, run.targets && targetsAndRank(run), shortName(run.train_data)].filter(Boolean).join(" · ")}
      </p>
      <dl className="mt-3 grid grid-cols-[1.4fr_1fr_1fr] gap-3 text-[0.8125rem]">
        <div>
          <dt className="text-xs text-muted">
            {familyOf(run.method) === "rewards" ? "Best reward" : "Best val. loss"}
          </dt>
          <dd>
            <BestLoss run={run} />
          </dd>
        </div>
        <div>
          <dt className="text-xs text-muted">Steps</dt>
          <dd>
            <Steps run={run} />
          </dd>
        </div>
        <div>
          <dt className="text-xs text-muted">Time</dt>
          <dd>{duration(run.seconds)}</dd>
        </div>
      </dl>
      {run.sparkline.length > 1 && <Curve run={run} className="mt-3 h-8 w-full" />}
      <div className="mt-3 flex items-center justify-between gap-2 border-t border-line pt-1">
        <div className="flex items-center gap-2 text-xs text-muted">
          <PickBox run={run} on={on} disabled={full && !on} onPick={onPick} />
          <time dateTime={new Date(run.created * 1000).toISOString()} title={moment(run.created)}>
            {relative(run.created)}
          </time>
        </div>
        <RunButtons run={run} work={work} actions={actions} />
      </div>
    </li>
  );
});
