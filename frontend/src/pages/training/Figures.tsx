import type { RunSummary } from "@/api";
import type { RunHistory } from "@/api/history";
import { Card, Progress, Stat, Stats } from "@/components/ui";
import { lastOf } from "@/features/metrics/MetricChart";
import { rewardText, scoreOf, scoreText } from "@/features/metrics/score";
import { LOOKS } from "@/features/runs/state";
import { bytes, capital, duration, integer, percent, rate, speed } from "@/lib/format";
import { useNow } from "@/lib/hooks";
import { familyOf } from "@/lib/methods";
import { isActive } from "@/state/live";

import type { Facts } from "./Details";

/** How far a run is, from 0 to 1; null before its plan is known. */
export function shareDone(run: RunSummary): number | null {
  if (run.state === "finished") return 1;
  return run.steps === null || run.steps === 0 ? null : Math.min(1, run.step / run.steps);
}

function barTone(run: RunSummary) {
  const { tone } = LOOKS[run.state];
  return tone === "info" ? "neutral" : tone;
}

/** "Step 40 of 80, epoch 0.5 of 1", and what it is busy with. */
export function progressText(run: RunSummary, epochs: number | null): string {
  const parts = [
    run.steps === null
      ? run.step > 0
        ? `Step ${integer(run.step)}`
        : ""
      : `Step ${integer(run.step)} of ${integer(run.steps)}`,
    run.step > 0 ? `epoch ${short(run.epoch)}${epochs === null ? "" : ` of ${short(epochs)}`}` : "",
  ];
  return parts.filter(Boolean).join(", ");
}

function short(value: number): string {
  return String(Number(value.toFixed(2)));
}

/** Seconds that a figure told at `told` has aged by. */
function age(now: number, told: number | null): number {
  return told === null ? 0 : Math.max(0, now - told);
}

/** The time that is left, counted down between reports. */
export function useTimeLeft(run: RunSummary, toldAt: number | null): string {
  const on = run.state === "running" && run.seconds_left !== null;
  const now = useNow(on);
  if (!on || run.seconds_left === null) return "";
  const left = run.seconds_left - age(now, toldAt);
  return left < 1 ? "any moment now" : `${duration(left)} left`;
}

interface FiguresProps {
  run: RunSummary;
  history: RunHistory;
  facts: Facts;
  /** Whether there is anything to tell yet. */
  began: boolean;
}

/** Progress and all figures of a run. */
export function Figures({ run, history, facts, began }: FiguresProps) {
  const active = isActive(run.state);
  const now = useNow(active);
  const reportTime = history.train.time.length > 0 ? history.train.time.at(-1) : null;
  // A report from before the worker began again says nothing of the time that is left now.
  const stale = reportTime !== null && facts.startTime !== null && reportTime < facts.startTime;
  const counted = useTimeLeft(run, reportTime);
  const left = stale ? "" : counted;
  const elapsed = run.seconds === null ? null : run.seconds + (active ? age(now, history.lastTime) : 0);
  const share = shareDone(run);
  const base = run.first_loss ?? facts.baseLoss;
  const rewarded = familyOf(run.method) === "rewards";
  const busy = active && run.phase !== null ? capital(run.phase) : LOOKS[run.state].label;
  return (
    <Card>
      <div className="mb-1.5 flex flex-wrap items-baseline justify-between gap-x-4 gap-y-0.5 text-[0.8125rem]">
        <p>
          <span className="font-medium">{busy}</span>
          <span className="text-muted">
            {progressText(run, facts.plan?.epochs ?? null) !== "" &&
              ` · ${progressText(run, facts.plan?.epochs ?? null)}`}
          </span>
        </p>
        <p className="text-muted">{[share === null ? "" : percent(share, 0), left].filter(Boolean).join(" · ")}</p>
      </div>
      <Progress value={share ?? (active ? null : 0)} label="Progress of the run" tone={barTone(run)} />
      {began && (
        <Stats className="mt-4 lg:grid-cols-8">
          <Scores run={run} history={history} base={base} />
          {rewarded && !Number.isNaN(lastOf(history.trainMetrics, "sampling_tokens_per_second")) ? (
            <Stat
              label="Sampling"
              value={speed(lastOf(history.trainMetrics, "sampling_tokens_per_second"))}
              note={`all of a step: ${speed(run.tokens_per_second)}`}
            />
          ) : (
            <Stat label="Speed" value={speed(run.tokens_per_second)} />
          )}
          <Stat label="Memory, peak" value={bytes(run.peak_memory)} />
          <Stat
            label="Learning rate"
            value={history.train.step.length > 0 ? rate(history.train.learning_rate.at(-1)) : rate(run.learning_rate)}
            note={history.train.step.length > 0 ? `peak ${rate(run.learning_rate)}` : "peak"}
          />
          <Stat label="Elapsed" value={duration(elapsed)} />
        </Stats>
      )}
    </Card>
  );
}

interface ScoresProps {
  run: RunSummary;
  history: RunHistory;
  /** Validation loss before the first step. */
  base: number | null;
}

/** What is learned so far: losses, or rewards where those are learned from. */
function Scores({ run, history, base }: ScoresProps) {
  const { kind, last, best, first } = scoreOf({ ...run, first_loss: base });
  const rewarded = kind === "reward";
  const evalStep = history.evals.step.length > 0 ? history.evals.step.at(-1) : null;
  const trained = rewarded ? lastOf(history.trainMetrics, "reward") : run.loss;
  const spread = lastOf(history.trainMetrics, "reward_std");
  const better = first !== null && best !== null && (rewarded ? best > first : best < first);
  const steps = run.step > 0 ? `step ${integer(run.step)}` : undefined;
  return (
    <>
      <Stat
        label={rewarded ? "Reward" : "Training loss"}
        value={scoreText(kind, trained)}
        note={rewarded && !Number.isNaN(spread) ? `± ${rewardText(spread)} in the step` : steps}
      />
      <Stat
        label={rewarded ? "Validation reward" : "Validation loss"}
        value={scoreText(kind, last)}
        note={evalStep === null ? undefined : `step ${integer(evalStep)}`}
      />
      <Stat
        label="Best validation"
        value={scoreText(kind, best)}
        note={run.best_step === null ? undefined : `step ${integer(run.best_step)}`}
        tone={better ? "good" : undefined}
      />
      <Stat label="Base model" value={scoreText(kind, first)} note={first === null ? undefined : "before step 1"} />
    </>
  );
}
