/** All experiments. */

import { FlaskConical, Plus } from "lucide-react";
import { Link } from "react-router";

import { useListExperimentsQuery } from "@/api";
import type { ExperimentSummary } from "@/api";
import { Badge, Card, EmptyState, ErrorNote, LinkButton, PageHeader, Progress, Skeleton } from "@/components/ui";
import { count, duration, relative, sentence, shortName } from "@/lib/format";

import { isMoving, LOOKS } from "./names";

const POLL_MS = 3000;

export function ListPage() {
  const { data, error, refetch } = useListExperimentsQuery(undefined, { pollingInterval: POLL_MS });
  return (
    <>
      <PageHeader
        title="Experiments"
        description="Compare ways of training on your own data, with intervals that say how sure the answer is."
        actions={
          <LinkButton to="/experiments/new" icon={Plus} variant="primary">
            New experiment
          </LinkButton>
        }
      />
      {error && !data ? (
        <ErrorNote error={error} onRetry={() => void refetch()} />
      ) : data === undefined ? (
        <Skeleton className="h-40" />
      ) : data.length === 0 ? (
        <Card>
          <EmptyState
            icon={FlaskConical}
            title="No experiment yet."
            actions={
              <LinkButton to="/experiments/new" variant="primary" icon={Plus}>
                Plan the first one
              </LinkButton>
            }
          >
            Is full-layer LoRA better than attention-only on your data, and by how much? An experiment trains both
            with several seeds on the same rows, measures them on rows that neither has seen, and says what can be
            said.
          </EmptyState>
        </Card>
      ) : (
        <ul className="grid gap-4 lg:grid-cols-2">
          {data.map((experiment) => (
            <li key={experiment.id}>
              <Entry experiment={experiment} />
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

function Entry({ experiment }: { experiment: ExperimentSummary }) {
  const look = LOOKS[experiment.state];
  const share = experiment.runs > 0 ? experiment.done / experiment.runs : null;
  return (
    <Card>
      <div className="space-y-2.5">
        <p className="flex flex-wrap items-center justify-between gap-2">
          <Link
            to={`/experiments/${experiment.id}`}
            className="font-semibold text-accent-strong wrap-anywhere hover:underline"
          >
            {experiment.title || experiment.id}
          </Link>
          <Badge tone={look.tone}>{look.text}</Badge>
        </p>
        <p className="text-[0.8125rem] text-muted wrap-anywhere">
          {shortName(experiment.model)} on {shortName(experiment.data)}; {count(experiment.arms.length, "arm")},{" "}
          {count(experiment.seeds, "seed")}; made {relative(experiment.created)}
        </p>
        {experiment.runs > 0 && (
          <div>
            <p className="mb-1 flex justify-between gap-2 text-xs text-muted">
              <span>
                {experiment.done} of {count(experiment.runs, "run")} done
              </span>
              {isMoving(experiment.state) && experiment.seconds_left !== null && (
                <span>about {duration(experiment.seconds_left)} left</span>
              )}
            </p>
            <Progress value={share} label={`Runs of ${experiment.title || experiment.id}`} tone={look.tone} />
          </div>
        )}
        {experiment.problem && <p className="text-[0.8125rem] text-bad">{sentence(experiment.problem.message)}</p>}
      </div>
    </Card>
  );
}
