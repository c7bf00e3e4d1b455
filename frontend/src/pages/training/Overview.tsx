import { Activity, ArrowRight, SlidersHorizontal } from "lucide-react";
import { Link } from "react-router";

import type { RunSummary } from "@/api";
import { Sparkline } from "@/components/chart";
import {
  Card,
  EmptyState,
  ErrorNote,
  LinkButton,
  PageHeader,
  Progress,
  Skeleton,
  Stat,
  Stats,
} from "@/components/ui";
import { scoreOf, scoreText } from "@/features/metrics/score";
import { StateBadge, trainingLink } from "@/features/runs/state";
import { bytes, capital, loss, percent, relative, speed } from "@/lib/format";
import { useNow } from "@/lib/hooks";
import { familyOf } from "@/lib/methods";
import { useActiveRuns, useQueue, useRuns } from "@/state/hooks";
import { isActive } from "@/state/live";

import { ActionButtons, useRunActions } from "./actions";
import { progressText, shareDone, useTimeLeft } from "./Figures";
import { ProblemNote, SilenceNote } from "./notes";
import { Queue } from "./Queue";

const RECENT = 5;

/** `/training`: what trains, what waits, what ended recently. */
export default function Overview() {
  const { runs, ready } = useRuns();
  const active = useActiveRuns();
  const queue = useQueue();
  const waiting = queue?.waiting.length ?? 0;
  const ended = runs
    .filter((run) => run.ended !== null && !isActive(run.state))
    .sort((a, b) => (b.ended ?? 0) - (a.ended ?? 0));
  return (
    <>
      <PageHeader
        title="Training"
        description="What is training, what is waiting for its turn, and what ended recently."
        actions={
          <LinkButton
            to="/setup"
            icon={SlidersHorizontal}
            variant={active.length + waiting === 0 ? "primary" : "secondary"}
          >
            Set up a run
          </LinkButton>
        }
      />
      {!ready ? (
        <div className="space-y-5">
          <span role="status" className="sr-only">
            Loading…
          </span>
          <Skeleton className="h-48 w-full" />
          <Skeleton className="h-24 w-full" />
        </div>
      ) : (
        <div className="space-y-5">
          {active.map((run) => (
            <ActiveRun key={run.id} run={run} />
          ))}
          {active.length === 0 && waiting === 0 && (
            <Card>
              <EmptyState
                icon={Activity}
                title="Nothing is training."
                actions={
                  <LinkButton to="/setup" variant="primary" icon={SlidersHorizontal}>
                    Set up a run
                  </LinkButton>
                }
              >
                {runs.length === 0
                  ? "Choose a model and data in Setup; the run then shows here while it trains."
                  : "Runs show here while they train. Those that have ended are under Results."}
              </EmptyState>
            </Card>
          )}
          {(active.length > 0 || waiting > 0) && <Queue />}
          {ended.length > 0 && <Recent runs={ended.slice(0, RECENT)} />}
        </div>
      )}
    </>
  );
}

function ActiveRun({ run }: { run: RunSummary }) {
  const actions = useRunActions(run);
  const left = useTimeLeft(run, run.heard);
  const share = shareDone(run);
  const to = trainingLink(run.id);
  const progress = progressText(run, null);
  const { kind, last, best } = scoreOf(run);
  const rewarded = kind === "reward";
  return (
    <Card
      title={
        <span className="flex flex-wrap items-center gap-2">
          <Link to={to} className="wrap-anywhere underline-offset-2 hover:underline">
            {run.adapter}
          </Link>
          <StateBadge run={run} />
        </span>
      }
      description={run.model_name}
      actions={
        <>
          <ActionButtons run={run} actions={actions} brief />
          <LinkButton to={to} size="sm" variant="primary" icon={ArrowRight}>
            Watch
          </LinkButton>
        </>
      }
    >
      {actions.dialog}
      <div className="space-y-3">
        {actions.failure && <ErrorNote error={actions.failure.error} onRetry={actions.failure.again} />}
        <ProblemNote run={run} />
        <SilenceNote run={run} />
        <div>
          <div className="mb-1.5 flex flex-wrap justify-between gap-x-4 text-[0.8125rem]">
            <p>
              <span className="font-medium">{capital(run.phase ?? "starting")}</span>
              {progress !== "" && <span className="text-muted">{` · ${progress}`}</span>}
            </p>
            <p className="text-muted">
              {[share === null ? "" : percent(share, 0), left].filter(Boolean).join(" · ")}
            </p>
          </div>
          <Progress value={share} label={`Progress of ${run.adapter}`} />
        </div>
        <div className="flex flex-col gap-4 sm:flex-row sm:items-center sm:justify-between">
          <Stats className="flex-1">
            {rewarded ? (
              <Stat label="Validation reward" value={scoreText(kind, last)} />
            ) : (
              <Stat label="Training loss" value={loss(run.loss)} />
            )}
            <Stat label="Best validation" value={scoreText(kind, best)} />
            <Stat label="Speed" value={speed(run.tokens_per_second)} />
            <Stat label="Memory, peak" value={bytes(run.peak_memory)} />
          </Stats>
          <Sparkline
            values={run.sparkline}
            label={`Training loss so far, now ${loss(run.loss)}`}
            className="h-10 w-full sm:w-40"
          />
        </div>
      </div>
    </Card>
  );
}

function Recent({ runs }: { runs: readonly RunSummary[] }) {
  const now = useNow(true, 30_000);
  return (
    <Card
      title="Recently ended"
      actions={
        <LinkButton to="/results" size="sm" variant="ghost" icon={ArrowRight}>
          All runs
        </LinkButton>
      }
    >
      <ul className="divide-y divide-line">
        {runs.map((run) => (
          <li key={run.id} className="flex flex-wrap items-center gap-x-4 gap-y-1 py-2 first:pt-0 last:pb-0">
            <div className="min-w-0 flex-1">
              <p className="flex flex-wrap items-center gap-2">
                <Link
                  to={trainingLink(run.id)}
                  className="min-w-0 font-medium wrap-anywhere underline-offset-2 hover:underline"
                >
                  {run.adapter}
                </Link>
                <StateBadge run={run} />
              </p>
              <p className="text-xs text-muted">{`${run.model_name} · ${relative(run.ended, now)}`}</p>
            </div>
            <Sparkline
              values={run.sparkline}
              label={`Training loss, at the end ${loss(run.loss)}`}
              className="max-sm:hidden"
            />
            <p className="w-28 text-right text-[0.8125rem]">
              {scoreText(scoreOf(run).kind, scoreOf(run).best)}
              <span className="block text-xs text-muted">
                {familyOf(run.method) === "rewards" ? "best reward" : "best validation"}
              </span>
            </p>
          </li>
        ))}
      </ul>
    </Card>
  );
}
