/** Parts that a row of the table and a card share. */

import { Link } from "react-router";

import type { RunSummary } from "@/api";
import { Sparkline } from "@/components/chart/small";
import { Badge, Progress } from "@/components/ui";
import { rewardText, scoreOf } from "@/features/metrics/score";
import { integer, loss } from "@/lib/format";
import { familyOf, methodTitle } from "@/lib/methods";
import { isActive } from "@/state/live";

import { capital, fall, improvement, rewardGain, runLink, targetsOf } from "./facts";

/** Name, id, and what went wrong. */
export function RunName({ run }: { run: RunSummary }) {
  return (
    <>
      <Link to={runLink(run.id)} className="font-medium text-accent hover:underline wrap-anywhere">
        {run.adapter || run.id}
      </Link>
      {familyOf(run.method) !== "answers" && (
        <span className="ml-2 align-middle">
          <Badge tone="info">{methodTitle(run.method)}</Badge>
        </span>
      )}
      {run.adapter !== run.id && run.adapter !== "" && (
        <span className="block text-xs text-muted wrap-anywhere">{run.id}</span>
      )}
      {run.problem && (
        <span className="line-clamp-2 text-xs text-bad wrap-anywhere">{capital(run.problem.message)}</span>
      )}
    </>
  );
}

/** Best validation loss, or reward, and under it where it began. */
export function BestLoss({ run }: { run: RunSummary }) {
  const share = improvement(run);
  const gain = rewardGain(run);
  const score = scoreOf(run);
  if (score.kind === "reward")
    return (
      <>
        <span className="font-medium">{rewardText(score.best)}</span>
        <span className="block text-xs text-muted">
          {gain === null || run.best_step === 0 ? "reward" : `reward, from ${rewardText(score.first)}`}
        </span>
      </>
    );
  return (
    <>
      <span className="font-medium">{loss(run.best_loss)}</span>
      {share !== null && run.best_step !== null && run.best_step > 0 ? (
        <span className="block text-xs text-muted">
          from {loss(run.first_loss)} ({fall(share)})
        </span>
      ) : (
        share !== null && (
          <span className="block text-xs text-muted">{run.step > 0 ? "not improved" : "before training"}</span>
        )
      )}
    </>
  );
}

/** What is trained, and under it the rank. */
export function Targets({ run }: { run: RunSummary }) {
  return (
    <>
      {run.targets === "" ? "–" : targetsOf(run)}
      {run.rank > 0 && run.fine_tune_type !== "full" && (
        <span className="block text-xs text-muted">rank {run.rank}</span>
      )}
    </>
  );
}

/** Steps done of those planned; a bar while it is at work. */
export function Steps({ run }: { run: RunSummary }) {
  const planned = run.steps !== null && run.steps !== run.step;
  return (
    <>
      {integer(run.step)}
      {planned && <span className="block text-xs text-muted">of {integer(run.steps)}</span>}
      {isActive(run.state) && (
        <div className="mt-1 w-full min-w-16">
          <Progress
            value={run.steps === null ? null : run.step / run.steps}
            label={`Progress of ${run.adapter || run.id}`}
          />
        </div>
      )}
    </>
  );
}

/** The course of the training loss, or reward, in small. */
export function Curve({ run, className }: { run: RunSummary; className?: string | undefined }) {
  const [first, last] = [run.sparkline[0], run.sparkline[run.sparkline.length - 1]];
  const rewarded = familyOf(run.method) === "rewards";
  return (
    <Sparkline
      values={run.sparkline}
      label={
        rewarded
          ? `Mean reward from ${rewardText(first)} to ${rewardText(last)}`
          : `Training loss from ${loss(first)} to ${loss(last)}`
      }
      className={className}
    />
  );
}

/** Ticks a run for the overlay. */
export function PickBox({
  run,
  on,
  disabled,
  onPick,
}: {
  run: RunSummary;
  on: boolean;
  disabled: boolean;
  onPick: (run: string, on: boolean) => void;
}) {
  return (
    <input
      type="checkbox"
      aria-label={`Overlay ${run.adapter || run.id}`}
      title={disabled ? "Eight runs are ticked; untick one first" : undefined}
      checked={on}
      disabled={disabled}
      onChange={(event) => onPick(run.id, event.target.checked)}
      className="size-4 accent-accent"
    />
  );
}
