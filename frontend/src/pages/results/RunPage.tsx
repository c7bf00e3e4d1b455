/** One run: what came of it, its curves, and all that is needed to understand or repeat it. */

import { Activity, ArrowLeft, Columns2, Copy, FileX, Play, Square, Trash2, Zap } from "lucide-react";
import { useEffect } from "react";
import { Link, useNavigate, useParams } from "react-router";

import { asApiError, useGetRunQuery } from "@/api";
import type { RunDetail, RunSummary } from "@/api";
import { useRunHistory } from "@/api/history";
import { Button, EmptyState, ErrorNote, LinkButton, PageHeader, Skeleton } from "@/components/ui";
import { cloneLink, familyOf, methodTitle, setupName } from "@/lib/methods";
import { useRun, useRuns } from "@/state/hooks";
import { isActive } from "@/state/live";

import { useRunActions } from "./actions";
import type { UsedActions } from "./actions";
import { compareLink, targetsAndRank } from "./facts";
import { RunBody } from "./RunBody";
import { RunProblem } from "./RunProblem";
import { StateBadge } from "./StateBadge";

export default function RunPage() {
  const { run: id = "" } = useParams();
  return <OneRun key={id} id={id} />;
}

function OneRun({ id }: { id: string }) {
  const navigate = useNavigate();
  const told = useRun(id);
  const { ready } = useRuns();
  const { currentData, error, refetch, isFetching } = useGetRunQuery({ run: id });
  const used = useRunActions(() => void navigate("/results", { replace: true }));
  // What the detail adds to the summary changes with these alone.
  const mark = told ? `${told.state} ${told.phase} ${told.checkpoint_step} ${told.last_eval_loss}` : "";
  useEffect(() => {
    if (mark !== "") void refetch();
  }, [mark, refetch]);
  const run = told ?? (ready ? undefined : currentData?.summary);
  const gone = asApiError(error).status === 404 || (ready && !told && !isFetching && !currentData);

  return (
    <>
      <Link to="/results" className="mb-2 inline-flex items-center gap-1 text-[0.8125rem] text-muted hover:text-ink">
        <ArrowLeft className="size-4" aria-hidden />
        All runs
      </Link>
      {run ? (
        <>
          <Header run={run} used={used} detail={currentData} />
          <div className="space-y-5">
            <RunProblem run={run} />
            {currentData ? (
              <Known run={run} detail={currentData} />
            ) : error ? (
              run.state !== "unreadable" && <ErrorNote error={error} onRetry={() => void refetch()} />
            ) : (
              <Waiting />
            )}
          </div>
        </>
      ) : (
        <>
          <PageHeader title={id} />
          {error && !gone ? (
            <ErrorNote error={error} onRetry={() => void refetch()} />
          ) : gone ? (
            <EmptyState
              icon={FileX}
              title="There is no such run."
              actions={<LinkButton to="/results">All runs</LinkButton>}
            >
              It was deleted, or the address is mistyped.
            </EmptyState>
          ) : (
            <Waiting />
          )}
        </>
      )}
      {used.dialogs}
    </>
  );
}

function Waiting() {
  return (
    <div role="status" aria-label="Loading the run" className="space-y-5">
      <Skeleton className="h-28 w-full" />
      <Skeleton className="h-80 w-full" />
      <Skeleton className="h-56 w-full" />
    </div>
  );
}

function Known({ run, detail }: { run: RunSummary; detail: RunDetail }) {
  const history = useRunHistory(run.id);
  return <RunBody run={run} detail={detail} history={history} version={history.version} />;
}

function Header({
  run,
  used: { actions, busy },
  detail,
}: {
  run: RunSummary;
  used: UsedActions;
  detail: RunDetail | undefined;
}) {
  const work = busy[run.id];
  const usable = detail?.checkpoints.some((checkpoint) => checkpoint.adapter !== null) === true;
  const stuck = run.state === "stalled" || run.state === "stopping";
  return (
    <PageHeader
      title={
        <span className="flex flex-wrap items-center gap-x-3 gap-y-1">
          {run.adapter || run.id} <StateBadge run={run} />
        </span>
      }
      description={
        <span className="wrap-anywhere">
          {[
            run.adapter === run.id ? "" : run.id,
            run.model_name,
            familyOf(run.method) === "answers" ? "" : methodTitle(run.method),
            run.targets && targetsAndRank(run),
          ]
            .filter(Boolean)
            .join(" · ")}
        </span>
      }
      actions={
        <>
          {isActive(run.state) && (
            <LinkButton size="sm" to={`/training/${run.id}`} icon={Activity} variant="primary">
              Watch live
            </LinkButton>
          )}
          {run.can_resume && (
            <Button size="sm" icon={Play} busy={work === "resume"} onClick={() => actions.resume(run)}>
              {run.state === "created" ? "Start" : "Resume"}
            </Button>
          )}
          {run.can_stop && run.state !== "stopping" && (
            <Button size="sm" icon={Square} busy={work === "stop"} onClick={() => actions.stop(run)}>
              {run.state === "queued" ? "Leave the queue" : "Stop with checkpoint"}
            </Button>
          )}
          {run.can_stop && stuck && (
            <Button size="sm" variant="danger" icon={Zap} busy={work === "stop"} onClick={() => actions.kill(run)}>
              Kill
            </Button>
          )}
          {usable && (
            <LinkButton size="sm" to={compareLink(run.model, run.adapter)} icon={Columns2}>
              Compare
            </LinkButton>
          )}
          {run.state !== "unreadable" && (
            <LinkButton size="sm" to={cloneLink(run)} icon={Copy}>
              Clone into {setupName(run.method)}
            </LinkButton>
          )}
          {!isActive(run.state) && (
            <Button
              size="sm"
              variant="danger"
              icon={Trash2}
              busy={work === "delete"}
              onClick={() => actions.remove(run)}
            >
              Delete
            </Button>
          )}
        </>
      }
    />
  );
}
