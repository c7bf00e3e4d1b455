/** One experiment: how far it is, its plan, what it has found. */

import { Download, Pause, Pencil, Play, RotateCw, Trash2 } from "lucide-react";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router";

import {
  asApiError,
  useDeleteExperimentMutation,
  useGetExperimentQuery,
  useStartExperimentMutation,
  useStopExperimentMutation,
} from "@/api";
import type { ExperimentDetail, ExperimentSummary } from "@/api";
import {
  Badge,
  Button,
  Card,
  ErrorNote,
  LinkButton,
  Note,
  PageHeader,
  Progress,
  Skeleton,
  useConfirm,
} from "@/components/ui";
import { count, duration, integer, sentence } from "@/lib/format";
import { useToast } from "@/state/hooks";

import { Findings } from "./Findings";
import { isMoving, LOOKS } from "./names";
import { PlanCard } from "./PlanCard";

const POLL_MS = 2500;

export default function ExperimentPage() {
  const { experiment = "" } = useParams();
  const [interval, setInterval] = useState(POLL_MS);
  const { data, error, refetch } = useGetExperimentQuery({ experiment }, { pollingInterval: interval });
  const wanted = data === undefined || isMoving(data.summary.state) ? POLL_MS : 0;
  if (wanted !== interval) setInterval(wanted);
  if (data === undefined) {
    return error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <Skeleton className="h-64" />;
  }
  return <Loaded detail={data} />;
}

function Loaded({ detail }: { detail: ExperimentDetail }) {
  const { summary, analysis, figures } = detail;
  const look = LOOKS[summary.state];
  const begun = summary.done > 0 || summary.run !== null;
  return (
    <>
      <PageHeader
        title={summary.title || summary.id}
        description={
          <>
            <Badge tone={look.tone}>{look.text}</Badge> <span className="ml-1 wrap-anywhere">{summary.id}</span>
          </>
        }
        actions={<Buttons summary={summary} />}
      />
      <div className="space-y-5">
        <Standing summary={summary} />
        {analysis && figures && begun && <Findings analysis={analysis} figures={figures} />}
        {analysis && <PlanCard plan={analysis.plan} />}
        {analysis && begun && <Provenance detail={detail} />}
      </div>
    </>
  );
}

function Buttons({ summary }: { summary: ExperimentSummary }) {
  const { id: experiment, state } = summary;
  const [start, starting] = useStartExperimentMutation();
  const [stop, stopping] = useStopExperimentMutation();
  const [remove, removing] = useDeleteExperimentMutation();
  const [ask, dialog] = useConfirm();
  const navigate = useNavigate();
  const toast = useToast();
  const attempt = async (call: () => Promise<unknown>) => {
    try {
      await call();
      return true;
    } catch (caught) {
      const { message, hint } = asApiError(caught);
      toast({ tone: "bad", title: sentence(message), text: sentence(hint) });
      return false;
    }
  };
  const discards = state === "planning" || state === "planned" || state === "refused";
  const discard = async () => {
    const verb = discards ? "Discard" : "Delete";
    const agreed = await ask({
      title: `${verb} this ${discards ? "plan" : "experiment"}?`,
      text: `${lossOf(summary)} This cannot be undone.`,
      confirm: verb,
      danger: true,
    });
    if (agreed && (await attempt(() => remove({ experiment }).unwrap()))) void navigate("/experiments");
  };
  const go = () => void attempt(() => start({ experiment }).unwrap());
  return (
    <>
      {state === "planned" && (
        <Button variant="primary" icon={Play} busy={starting.isLoading} onClick={go}>
          Start
        </Button>
      )}
      {state === "stopped" && (
        <Button variant="primary" icon={Play} busy={starting.isLoading} onClick={go}>
          Continue
        </Button>
      )}
      {state === "halted" && (
        <Button variant="primary" icon={RotateCw} busy={starting.isLoading} onClick={go}>
          Try again
        </Button>
      )}
      {(state === "running" || state === "waiting") && (
        <Button
          icon={Pause}
          busy={stopping.isLoading}
          onClick={() => void attempt(() => stop({ experiment }).unwrap())}
        >
          Pause
        </Button>
      )}
      {(discards || !isMoving(state)) && state !== "planning" && (
        <LinkButton
          to={`/experiments/new?from=${encodeURIComponent(experiment)}`}
          icon={Pencil}
          variant={state === "refused" ? "primary" : undefined}
        >
          {discards ? "Change the plan" : "Use the plan again"}
        </LinkButton>
      )}
      {summary.done > 0 && <Reports experiment={experiment} />}
      {(discards || !isMoving(state)) && (
        <Button icon={Trash2} variant="danger" busy={removing.isLoading} onClick={() => void discard()}>
          {discards ? "Discard" : "Delete"}
        </Button>
      )}
      {dialog}
    </>
  );
}

/** What is lost when it is deleted. */
function lossOf({ state, done }: ExperimentSummary): string {
  switch (state) {
    case "planning":
      return "Planning ends; nothing has been trained.";
    case "planned":
      return "Nothing has been trained.";
    case "refused":
      return "Its runs, if there are any, are deleted too.";
    case "running":
    case "waiting":
    case "stopped":
    case "halted":
    case "finished":
      return `${count(done, "finished run")} and their adapters are deleted too.`;
  }
}

function Reports({ experiment }: { experiment: string }) {
  return (
    <>
      {(["html", "md", "json"] as const).map((form) => (
        <LinkButton
          key={form}
          to={`/api/experiments/${experiment}/report?form=${form}`}
          icon={Download}
          download
          variant={form === "html" ? "secondary" : "ghost"}
        >
          {form === "html" ? "Report" : form === "md" ? "Markdown" : "JSON"}
        </LinkButton>
      ))}
    </>
  );
}

/** How far it is, or what is in its way. */
function Standing({ summary }: { summary: ExperimentSummary }) {
  const { state, planning, problem } = summary;
  switch (state) {
    case "planning":
      return (
        <Card title="Being planned" description="Data is read, ranks are matched, a few steps of each arm are timed.">
          <p className="mb-1 text-xs text-muted" role="status">
            {sentence(planning?.phase ?? "waiting")}
          </p>
          <Progress value={planning?.total ? planning.done / planning.total : null} label="Planning" />
        </Card>
      );
    case "refused":
    case "halted":
      return (
        <Note tone="bad" title={sentence(problem?.message ?? "It cannot go on")}>
          {sentence(problem?.hint ?? "")}
        </Note>
      );
    case "planned":
      return (
        <Note title="Nothing is trained yet.">
          Look at the plan and its cost below, then start it. What counts as an answer is fixed now, before any result
          is known.
        </Note>
      );
    case "running":
    case "waiting":
    case "stopped":
      return (
        <Card>
          <p className="mb-1 flex flex-wrap justify-between gap-2 text-[0.8125rem]" role="status">
            <span>
              {integer(summary.done)} of {count(summary.runs, "run")} done
              {summary.run !== null && state === "running" && (
                <>
                  ;{" "}
                  <Link to={`/training/${summary.run}`} className="text-accent-strong hover:underline">
                    watch {summary.run.replace(`${summary.id}.`, "")}
                  </Link>
                </>
              )}
            </span>
            {summary.seconds_left !== null && (
              <span className="text-muted">about {duration(summary.seconds_left)} left</span>
            )}
          </p>
          <Progress value={summary.runs > 0 ? summary.done / summary.runs : null} label="Runs that are done" />
        </Card>
      );
    case "finished":
      return null;
  }
}

function Provenance({ detail }: { detail: ExperimentDetail }) {
  const plan = detail.analysis?.plan;
  if (!plan) return null;
  const facts: [string, string][] = [
    ["Base model", `SHA-256 ${plan.base_hash}`],
    ["Training and validation data", `SHA-256 ${plan.data_hash}`],
    ["Test set", `SHA-256 ${plan.test_hash}`],
    ["General text", `SHA-256 ${plan.general_hash}`],
    ...Object.entries(plan.versions).map(([name, version]): [string, string] => [name, version]),
  ];
  return (
    <Card title="Provenance">
      <dl className="grid gap-x-6 gap-y-1.5 text-xs sm:grid-cols-[12rem_minmax(0,1fr)]">
        {facts.map(([name, text]) => (
          <div key={name} className="contents">
            <dt className="text-muted">{name}</dt>
            <dd className="min-w-0 font-mono wrap-anywhere">{text}</dd>
          </div>
        ))}
      </dl>
    </Card>
  );
}
