import { Activity, ArrowLeft, SearchX } from "lucide-react";
import { useMemo, useState } from "react";
import { useParams } from "react-router";

import { asApiError, useGetRunQuery } from "@/api";
import type { RunSummary } from "@/api";
import { useRunHistory } from "@/api/history";
import { Card, EmptyState, ErrorNote, LinkButton, Note, PageHeader, Skeleton, Tabs } from "@/components/ui";
import { CompletionsCard } from "@/features/completions/CompletionsCard";
import { StateBadge } from "@/features/runs/state";
import { integer, percent, shortName } from "@/lib/format";
import { familyOf, methodTitle } from "@/lib/methods";
import { useConnection, useQueue, useRun, useRuns } from "@/state/hooks";
import { isActive } from "@/state/live";

import { ActionButtons, useRunActions } from "./actions";
import { Charts } from "./Charts";
import { Details, factsOf, methodName, Warnings } from "./Details";
import { Figures } from "./Figures";
import { EventLog, RawLog } from "./Logs";
import { EndNote, LoudWarnings, ProblemNote, SilenceNote } from "./notes";
import { Queue } from "./Queue";

/** `/training/:run`: one run, live. */
export default function RunPage() {
  const { run: id = "" } = useParams();
  const run = useRun(id);
  const { ready } = useRuns();
  // A run that was made this instant may be known to the server before the list has told of it.
  const asked = useGetRunQuery({ run: id }, { skip: run !== undefined || !ready });
  const summary = run ?? asked.currentData?.summary;
  if (summary) return <RunView key={summary.id} run={summary} />;
  if (asked.error) {
    const { status } = asApiError(asked.error);
    // A name that can be no run's is refused as such.
    if (status === 404 || status === 400) return <Gone id={id} />;
    return <Failed error={asked.error} retry={() => void asked.refetch()} />;
  }
  return <Waiting />;
}

function Waiting() {
  return (
    <div className="space-y-5">
      <span role="status" className="sr-only">
        Loading the run…
      </span>
      <Skeleton className="h-8 w-64" />
      <Skeleton className="h-36 w-full" />
      <Skeleton className="h-80 w-full" />
    </div>
  );
}

function Failed({ error, retry }: { error: unknown; retry: () => void }) {
  return (
    <>
      <PageHeader title="Training" />
      <ErrorNote error={error} onRetry={retry} />
    </>
  );
}

function Gone({ id }: { id: string }) {
  return (
    <>
      <PageHeader title="Training" />
      <EmptyState
        icon={SearchX}
        title={`There is no run ${id}.`}
        actions={
          <>
            <LinkButton to="/training" icon={Activity}>
              Training now
            </LinkButton>
            <LinkButton to="/results">All runs</LinkButton>
          </>
        }
      >
        It may have been deleted, or the address is mistyped.
      </EmptyState>
    </>
  );
}

function RunView({ run }: { run: RunSummary }) {
  const history = useRunHistory(run.id);
  const actions = useRunActions(run);
  const queue = useQueue();
  const family = familyOf(run.method);
  const events = history.events.length;
  const facts = useMemo(
    () => factsOf(history.events),
    // eslint-disable-next-line react-hooks/exhaustive-deps -- the list grows in place; its length says when
    [history.events, events],
  );
  const began = run.started !== null || history.last > 0;
  const others = (queue?.waiting.length ?? 0) > 0 || (queue?.running ?? []).some((other) => other !== run.id);
  return (
    <>
      <PageHeader
        title={
          <span className="flex flex-wrap items-center gap-x-3 gap-y-1">
            {run.adapter}
            <StateBadge run={run} />
          </span>
        }
        description={subtitle(run)}
        actions={<ActionButtons run={run} actions={actions} />}
      />
      {actions.dialog}
      <div className="space-y-5">
        {actions.failure && <ErrorNote error={actions.failure.error} onRetry={actions.failure.again} />}
        <ProblemNote run={run} />
        <SilenceNote run={run} />
        <EndNote run={run} baseLoss={facts.baseLoss} />
        <HistoryLost lost={history.connection === "lost"} />
        {family !== "answers" && <LoudWarnings warnings={facts.warnings} />}
        <Figures run={run} history={history} facts={facts} began={began} />
        {began && <Charts run={run.id} method={run.method} history={history} />}
        {began && family === "rewards" && (
          <CompletionsCard
            completions={history.completions}
            empty={
              isActive(run.state)
                ? "They come with the first training report."
                : "This run showed none: see `shown_completions` among its settings."
            }
          />
        )}
        <div className="grid items-start gap-5 lg:grid-cols-[1fr_22rem]">
          <div className="min-w-0 space-y-5">
            {began && <Log run={run} history={history} />}
            {others && <Queue />}
          </div>
          <div className="min-w-0 space-y-5">
            {family === "answers" && <Warnings warnings={facts.warnings} />}
            <Details run={run} facts={facts} />
          </div>
        </div>
        <p>
          <LinkButton to="/training" size="sm" variant="ghost" icon={ArrowLeft}>
            All running and waiting runs
          </LinkButton>
        </p>
      </div>
    </>
  );
}

/** What is trained on what, in a line. */
function subtitle(run: RunSummary): string {
  const trainable =
    run.trainable === null || run.total === null
      ? ""
      : `${integer(run.trainable)} trainable (${percent(run.trainable / Math.max(1, run.total))})`;
  const place = run.queue_position === null ? "" : `number ${run.queue_position + 1} in the queue`;
  return [
    run.model_name,
    shortName(run.train_data),
    `${familyOf(run.method) === "answers" ? "" : `${methodTitle(run.method)}, `}${methodName(run)} on ${run.targets}`,
    trainable,
    place,
  ]
    .filter(Boolean)
    .join(" · ");
}

/** The run's own connection can be lost while the page's is not. */
function HistoryLost({ lost }: { lost: boolean }) {
  const live = useConnection() === "live";
  if (!lost || !live) return null;
  return (
    <Note tone="warn" live title="This run's events aren't arriving.">
      The figures above are up to date; curves and events follow when the connection is back.
    </Note>
  );
}

const TABS = [
  { value: "events", label: "Events" },
  { value: "worker", label: "Worker's log" },
] as const;

function Log({ run, history }: { run: RunSummary; history: ReturnType<typeof useRunHistory> }) {
  const [tab, setTab] = useState<"events" | "worker">("events");
  return (
    <Card title="Log">
      <Tabs label="What to show of the log" value={tab} tabs={TABS} onValue={setTab}>
        {tab === "events" ? <EventLog history={history} /> : <RawLog run={run.id} active={isActive(run.state)} />}
      </Tabs>
    </Card>
  );
}
