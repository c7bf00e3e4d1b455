/** Everything on a run's page below its title. */

import { CheckCircle2, Info, TriangleAlert } from "lucide-react";
import { useMemo } from "react";

import type { RunDetail, RunSummary } from "@/api";
import type { RunHistory } from "@/api/history";
import { Card, Note, Stat, Stats } from "@/components/ui";
import { CompletionsCard } from "@/features/completions/CompletionsCard";
import { rewardText, scoreOf, scoreText } from "@/features/metrics/score";
import { cx } from "@/lib/cx";
import {
  bytes,
  compact,
  duration,
  epochs,
  integer,
  loss,
  moment,
  percent,
  rate,
  significant,
  speed,
} from "@/lib/format";
import { familyOf } from "@/lib/methods";
import type { Tone } from "@/lib/tone";
import { isActive } from "@/state/live";

import { Checkpoints, Evaluations } from "./Checkpoints";
import { Configuration } from "./Configuration";
import { Curves } from "./Curves";
import { capital } from "./facts";
import { LogCard } from "./LogCard";
import { Metrics } from "./Metrics";
import { DataCard, EnvironmentCard, ExportCard, TargetsCard } from "./RunFacts";
import { verdictOf } from "./verdict";
import type { Verdict } from "./verdict";

interface Props {
  run: RunSummary;
  detail: RunDetail;
  history: RunHistory;
  /** Of the history, which grows in place. */
  version: number;
}

export function RunBody({ run, detail, history, version }: Props) {
  const early = useMemo(
    () => earlyStop(history),
    // eslint-disable-next-line react-hooks/exhaustive-deps -- the history grows in place
    [history, version],
  );
  // What is missing from a run that has ended is not going to come: there is nothing to say about it.
  const ended = !isActive(run.state) && run.state !== "queued" && run.state !== "created";
  const verdict = verdictOf(run, { evaluations: detail.evaluations, data: detail.data, early });
  return (
    <>
      <VerdictCard verdict={verdict} run={run} detail={detail} />
      {detail.warnings.length > 0 && (
        <div className="space-y-2">
          {[...new Set(detail.warnings.map(({ message }) => message))].map((message) => (
            <Note key={message} tone="warn">
              {capital(message)}
            </Note>
          ))}
        </div>
      )}
      <Curves run={run} history={history} version={version} />
      {familyOf(run.method) !== "answers" && <Metrics run={run} history={history} version={version} />}
      {familyOf(run.method) === "rewards" && (
        <CompletionsCard completions={history.completions} empty="None were written to its log." />
      )}
      <div className="grid items-start gap-5 lg:grid-cols-2">
        <div className="min-w-0 space-y-5">
          <Checkpoints run={run} detail={detail} />
          {(detail.evaluations.length > 0 || !ended) && <Evaluations run={run} evaluations={detail.evaluations} />}
          {(detail.lora || !ended) && <TargetsCard lora={detail.lora} full={run.fine_tune_type === "full"} />}
          {(detail.data || !ended) && <DataCard data={detail.data} />}
        </div>
        <div className="min-w-0 space-y-5">
          <Configuration run={run} detail={detail} />
          <ExportCard run={run} folder={detail.folder} />
          {(detail.start || !ended) && <EnvironmentCard start={detail.start} />}
          <LogCard run={run} />
        </div>
      </div>
    </>
  );
}

/** How many evaluations without improvement ended the run; null when nothing of the kind did. */
function earlyStop(history: RunHistory): number | null {
  let found: number | null = null;
  for (const { event } of history.events) {
    if (event.type === "early_stopped") found = event.evaluations_without_improvement;
    if (event.type === "run_started") found = null;
  }
  return found;
}

const SIGNS: Record<Tone, typeof Info> = {
  good: CheckCircle2,
  neutral: Info,
  info: Info,
  warn: TriangleAlert,
  bad: TriangleAlert,
};

function VerdictCard({ verdict, run, detail }: { verdict: Verdict; run: RunSummary; detail: RunDetail }) {
  const Sign = SIGNS[verdict.tone];
  const score = scoreOf(run);
  const rewarded = score.kind === "reward";
  const colour = verdict.tone === "good" ? "text-good" : verdict.tone === "warn" ? "text-warn" : "text-muted";
  return (
    <Card>
      <div className="flex gap-3">
        <Sign className={cx("mt-0.5 size-5 shrink-0", colour)} aria-hidden />
        <div className="min-w-0">
          <h2 className="text-base font-semibold">{verdict.title}</h2>
          {verdict.notes.length > 0 && <p className="mt-1 max-w-4xl text-muted">{verdict.notes.join(" ")}</p>}
        </div>
      </div>
      <Stats className="mt-4 border-t border-line pt-4 lg:grid-cols-6">
        <Stat
          label={rewarded ? "Best mean reward" : "Best validation loss"}
          value={scoreText(score.kind, score.best)}
          note={run.best_step === null ? undefined : `step ${integer(run.best_step)}`}
        />
        <Stat
          label={rewarded ? "Last training reward" : "Last training loss"}
          value={rewarded ? rewardText(run.reward) : loss(run.loss)}
          note={run.phase ?? (run.learning_rate > 0 ? `learning rate ${rate(run.learning_rate)}` : undefined)}
        />
        <Stat
          label="Steps"
          value={integer(run.step)}
          note={
            run.steps === null
              ? undefined
              : `of ${integer(run.steps)}; ${significant(run.epoch, 3)}${detail.plan ? ` of ${epochs(detail.plan.epochs)}` : ""}`
          }
        />
        <Stat
          label="Time"
          value={duration(run.seconds)}
          note={run.started === null ? undefined : moment(run.started)}
        />
        <Stat
          label="Trained parameters"
          value={compact(run.trainable)}
          note={run.trainable !== null && run.total !== null ? percent(run.trainable / run.total, 3) : undefined}
        />
        <Stat label="Speed" value={speed(run.tokens_per_second)} note={`peak memory ${bytes(run.peak_memory)}`} />
      </Stats>
    </Card>
  );
}
