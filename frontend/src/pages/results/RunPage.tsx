/** One run: what came of it, its curves, and all that is needed to understand or repeat it. */

import {
  Activity,
  CheckCircle2,
  Columns2,
  Copy,
  FileX,
  Info,
  PackageOpen,
  Play,
  Square,
  Trash2,
  TriangleAlert,
  Zap,
} from "lucide-react";
import { useEffect } from "react";
import { useNavigate, useParams } from "react-router";

import { asApiError, useGetRunQuery } from "@/api";
import type { RunDetail, RunSummary } from "@/api";
import { useRunHistory } from "@/api/history";
import type { RunHistory } from "@/api/history";
import {
  BackLink,
  Button,
  Card,
  CodeBlock,
  Disclosure,
  EmptyState,
  ErrorNote,
  LinkButton,
  Note,
  PageHeader,
  Prose,
  Skeletons,
  Stat,
  Stats,
} from "@/components/ui";
import { CompletionsCard } from "@/features/completions/CompletionsCard";
import { rewardText, scoreOf, scoreText } from "@/features/metrics/score";
import { compareLink, exportLink, StateBadge } from "@/features/runs/state";
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
import { cloneLink, familyOf, methodTitle, setupName } from "@/lib/methods";
import { useRun, useRuns } from "@/state/hooks";
import { isActive } from "@/state/live";

import { useRunActions } from "./actions";
import type { UsedActions } from "./actions";
import { Checkpoints, Evaluations } from "./Checkpoints";
import { Curves, Metrics } from "./Curves";
import { capital, targetsAndRank } from "./facts";
import { Configuration, DataCard, EnvironmentCard, FilesCard, LogCard, TargetsCard } from "./RunFacts";

export default function RunPage() {
  const { run: id = "" } = useParams();
  return <OneRun key={id} id={id} />;
}

const WAITING = ["h-28", "h-80", "h-56"];

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
      <BackLink to="/results">All runs</BackLink>
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
              <Skeletons label="Loading the run" heights={WAITING} />
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
            <Skeletons label="Loading the run" heights={WAITING} />
          )}
        </>
      )}
      {used.dialogs}
    </>
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
          {run.adapter || run.id} <StateBadge run={run} exact />
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
          {usable && !isActive(run.state) && (
            <LinkButton size="sm" to={exportLink(run.adapter)} icon={PackageOpen}>
              Export
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

/** Why a run failed, crashed or is silent, what to do, and the end of its log. */
function RunProblem({ run: { problem, state } }: { run: RunSummary }) {
  if (!problem) return null;
  const log = problem.log_tail ?? [];
  return (
    <Note
      tone={state === "stalled" ? "warn" : "bad"}
      title={<span className="whitespace-pre-line">{capital(problem.message)}</span>}
    >
      {problem.hint !== "" && (
        <p>
          <Prose text={capital(problem.hint)} />
        </p>
      )}
      <p className="text-xs text-muted">
        {problem.code}
        {problem.signal ? `, ${problem.signal}` : ""}
      </p>
      {log.length > 0 && (
        <Disclosure title="Last lines of its log">
          <CodeBlock text={log.join("\n")} label="last lines of the log" />
        </Disclosure>
      )}
    </Note>
  );
}

interface Props {
  run: RunSummary;
  detail: RunDetail;
  history: RunHistory;
  /** Of the history, which grows in place. */
  version: number;
}

function RunBody({ run, detail, history, version }: Props) {
  // What is missing from a run that has ended is not going to come: there is nothing to say about it.
  const ended = !isActive(run.state) && run.state !== "queued" && run.state !== "created";
  return (
    <>
      <VerdictCard run={run} detail={detail} />
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
          <FilesCard run={run} folder={detail.folder} />
          {(detail.start || !ended) && <EnvironmentCard start={detail.start} />}
          <LogCard run={run} />
        </div>
      </div>
    </>
  );
}

const SIGNS = {
  good: [CheckCircle2, "text-good"],
  neutral: [Info, "text-muted"],
  warn: [TriangleAlert, "text-warn"],
} as const;

function VerdictCard({ run, detail }: { run: RunSummary; detail: RunDetail }) {
  const { verdict } = detail;
  const [Sign, colour] = SIGNS[verdict.tone];
  const score = scoreOf(run);
  const rewarded = score.kind === "reward";
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
