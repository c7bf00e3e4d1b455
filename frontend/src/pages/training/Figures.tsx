import type { RunSummary } from "@/api";
import type { RunHistory } from "@/api/history";
import { isActive } from "@/app/live";
import { Badge, Card, Progress, Stat, Stats } from "@/components/ui";
import { bytes, duration, integer, loss, percent, rate, speed } from "@/lib/format";

import type { Facts } from "./facts";
import { useNow } from "./hooks";
import { lookOf } from "./states";

/** The state as a word with its colour. */
export function StateBadge({ run }: { run: RunSummary }) {
  const look = lookOf(run.state);
  return (
    <span title={look.text}>
      <Badge tone={look.tone} icon={look.icon}>
        {look.label}
      </Badge>
    </span>
  );
}

/** How far a run is, from 0 to 1; null before its plan is known. */
export function shareDone(run: RunSummary): number | null {
  if (run.state === "finished") return 1;
  return run.steps === null || run.steps === 0 ? null : Math.min(1, run.step / run.steps);
}

function barTone(run: RunSummary) {
  const { tone } = lookOf(run.state);
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
  // A report from before the worker began anew says nothing of the time that is left now.
  const stale = reportTime !== null && facts.startTime !== null && reportTime < facts.startTime;
  const counted = useTimeLeft(run, reportTime);
  const left = stale ? "" : counted;
  const elapsed = run.seconds === null ? null : run.seconds + (active ? age(now, history.lastTime) : 0);
  const share = shareDone(run);
  const base = run.first_loss ?? facts.baseLoss;
  const evalStep = history.evals.step.length > 0 ? history.evals.step.at(-1) : null;
  const busy = active && run.phase !== null ? capital(run.phase) : lookOf(run.state).label;
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
          <Stat
            label="Training loss"
            value={loss(run.loss)}
            note={run.step > 0 ? `step ${integer(run.step)}` : undefined}
          />
          <Stat
            label="Validation loss"
            value={loss(run.last_eval_loss)}
            note={evalStep === null ? undefined : `step ${integer(evalStep)}`}
          />
          <Stat
            label="Best validation"
            value={loss(run.best_loss)}
            note={run.best_step === null ? undefined : `step ${integer(run.best_step)}`}
            tone={base !== null && run.best_loss !== null && run.best_loss < base ? "good" : undefined}
          />
          <Stat label="Base model" value={loss(base)} note={base === null ? undefined : "before step 1"} />
          <Stat label="Speed" value={speed(run.tokens_per_second)} />
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

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
