/** Runs in a list: a table on wide screens, cards on narrow ones. */

import { ArrowDown, ArrowUp } from "lucide-react";
import { memo } from "react";
import type { ReactNode } from "react";
import { Link } from "react-router";

import type { RunSummary } from "@/api";
import { Sparkline } from "@/components/chart/small";
import { Badge, Progress, Table, Td, Th } from "@/components/ui";
import { rewardText, scoreOf } from "@/features/metrics/score";
import { runLink, StateBadge } from "@/features/runs/state";
import { cx } from "@/lib/cx";
import { duration, integer, loss, moment, relative, shortName } from "@/lib/format";
import { familyOf, methodTitle } from "@/lib/methods";
import { isActive } from "@/state/live";

import { RunButtons } from "./actions";
import type { RunActions, Work } from "./actions";
import { capital, fall, improvement, rewardGain, targetsAndRank, targetsOf } from "./facts";
import { clicked } from "./filter";
import type { Sort, SortKey } from "./filter";
import { More, useWindow } from "./parts";

/** Name, id, and what went wrong. */
function RunName({ run }: { run: RunSummary }) {
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
function BestLoss({ run }: { run: RunSummary }) {
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
function Steps({ run }: { run: RunSummary }) {
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
function Curve({ run, className }: { run: RunSummary; className?: string | undefined }) {
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
function PickBox({
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

interface RunListProps {
  runs: readonly RunSummary[];
  picked: ReadonlySet<string>;
  /** Whether no further run can be picked. */
  full: boolean;
  busy: Readonly<Record<string, Work>>;
  actions: RunActions;
  onPick: (run: string, on: boolean) => void;
  sort: Sort;
  onSort: (sort: Sort) => void;
}

interface RowProps {
  run: RunSummary;
  on: boolean;
  full: boolean;
  work: Work | undefined;
  actions: RunActions;
  onPick: (run: string, on: boolean) => void;
}

/** The runs that are rendered so far, and what asks for more of them. */
function useRows({
  runs,
  picked,
  busy,
  full,
  actions,
  onPick,
}: Omit<RunListProps, "sort" | "onSort">): [RowProps[], ReactNode] {
  const { count, more } = useWindow(runs);
  const rows = runs
    .slice(0, count)
    .map((run) => ({ run, on: picked.has(run.id), work: busy[run.id], full, actions, onPick }));
  return [rows, <More shown={count} of={runs.length} more={more} />];
}

interface Column {
  key: SortKey;
  label: string;
  right?: boolean;
}

const COLUMNS: readonly Column[] = [
  { key: "state", label: "State" },
  { key: "name", label: "Name" },
  { key: "targets", label: "Targets" },
  { key: "loss", label: "Best loss or reward", right: true },
  { key: "seconds", label: "Time", right: true },
  { key: "step", label: "Steps", right: true },
];

/** Runs as a table, a portion at a time. */
export function RunsTable({ sort, onSort, ...list }: RunListProps) {
  const [rows, more] = useRows(list);
  const head = ({ key, label, right }: Column) => (
    <Th
      key={key}
      right={right}
      sorted={sort.key === key ? (sort.up ? "up" : "down") : null}
      onSort={() => onSort(clicked(sort, key))}
    >
      {label}
    </Th>
  );
  return (
    <div className="overflow-hidden rounded-lg border border-line bg-surface shadow-card">
      <Table label="Runs" className="[&_td]:px-1.5 [&_th]:px-1.5 [&_tr:last-child>td]:border-b-0">
        <thead>
          <tr>
            <Th className="pl-4">
              <span className="sr-only">For the overlay</span>
            </Th>
            {COLUMNS.slice(0, 2).map(head)}
            <ModelAndData sort={sort} onSort={onSort} />
            {COLUMNS.slice(2).map(head)}
            <Th>Trend</Th>
            {head({ key: "created", label: "Created", right: true })}
            <Th>
              <span className="sr-only">Actions</span>
            </Th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <Row key={row.run.id} {...row} />
          ))}
        </tbody>
      </Table>
      {more}
    </div>
  );
}

/** One column that shows two things, each to sort by. */
function ModelAndData({ sort, onSort }: Pick<RunListProps, "sort" | "onSort">) {
  const mine = sort.key === "model" || sort.key === "data";
  const button = (key: "model" | "data", label: string) => {
    const Arrow = sort.up ? ArrowUp : ArrowDown;
    return (
      <button
        type="button"
        onClick={() => onSort(clicked(sort, key))}
        className="inline-flex items-center gap-1 rounded hover:text-ink"
      >
        {label}
        {sort.key === key && <Arrow className="size-3" aria-hidden />}
      </button>
    );
  };
  return (
    <Th sorted={mine ? (sort.up ? "up" : "down") : null}>
      {button("model", "Model")}
      {", "}
      {button("data", "data")}
    </Th>
  );
}

const Row = memo(function Row({ run, on, full, work, actions, onPick }: RowProps) {
  return (
    <tr className={cx("hover:bg-sunken/50", on && "bg-accent-soft hover:bg-accent-soft")}>
      <Td className="w-8 pl-4">
        <PickBox run={run} on={on} disabled={full && !on} onPick={onPick} />
      </Td>
      <Td>
        <StateBadge run={run} exact />
      </Td>
      <Td className="min-w-48">
        <RunName run={run} />
      </Td>
      <Td className="max-w-52 min-w-28 wrap-anywhere">
        <span title={run.model}>{run.model_name || "–"}</span>
        <span className="block text-xs text-muted" title={run.train_data}>
          {shortName(run.train_data)}
        </span>
      </Td>
      <Td className="min-w-24">
        <Targets run={run} />
      </Td>
      <Td right>
        <BestLoss run={run} />
      </Td>
      <Td right>{duration(run.seconds)}</Td>
      <Td right>
        <Steps run={run} />
      </Td>
      <Td>
        <Curve run={run} className="w-16" />
      </Td>
      <Td right>
        <time dateTime={new Date(run.created * 1000).toISOString()} title={moment(run.created)}>
          {relative(run.created)}
        </time>
      </Td>
      <Td className="py-1! pr-3!">
        <RunButtons run={run} work={work} actions={actions} />
      </Td>
    </tr>
  );
});

/** Runs as cards, for narrow screens. */
export function RunCards(list: RunListProps) {
  const [rows, more] = useRows(list);
  return (
    <>
      <ul aria-label="Runs" className="grid gap-3 sm:grid-cols-2">
        {rows.map((row) => (
          <RunCard key={row.run.id} {...row} />
        ))}
      </ul>
      {more}
    </>
  );
}

const RunCard = memo(function RunCard({ run, on, full, work, actions, onPick }: RowProps) {
  return (
    <li
      className={cx(
        "flex min-w-0 flex-col rounded-lg border bg-surface p-4 pb-2 shadow-card",
        on ? "border-accent" : "border-line",
      )}
    >
      <div className="flex items-start justify-between gap-3">
        <div className="min-w-0">
          <RunName run={run} />
        </div>
        <StateBadge run={run} exact />
      </div>
      <p className="mt-1.5 text-[0.8125rem] text-muted wrap-anywhere">
        {[run.model_name, run.targets && targetsAndRank(run), shortName(run.train_data)].filter(Boolean).join(" · ")}
      </p>
      <dl className="mt-3 grid grid-cols-[1.4fr_1fr_1fr] gap-3 text-[0.8125rem]">
        <div>
          <dt className="text-xs text-muted">
            {familyOf(run.method) === "rewards" ? "Best reward" : "Best val. loss"}
          </dt>
          <dd>
            <BestLoss run={run} />
          </dd>
        </div>
        <div>
          <dt className="text-xs text-muted">Steps</dt>
          <dd>
            <Steps run={run} />
          </dd>
        </div>
        <div>
          <dt className="text-xs text-muted">Time</dt>
          <dd>{duration(run.seconds)}</dd>
        </div>
      </dl>
      {run.sparkline.length > 1 && <Curve run={run} className="mt-3 h-8 w-full" />}
      <div className="mt-3 flex items-center justify-between gap-2 border-t border-line pt-1">
        <div className="flex items-center gap-2 text-xs text-muted">
          <PickBox run={run} on={on} disabled={full && !on} onPick={onPick} />
          <time dateTime={new Date(run.created * 1000).toISOString()} title={moment(run.created)}>
            {relative(run.created)}
          </time>
        </div>
        <RunButtons run={run} work={work} actions={actions} />
      </div>
    </li>
  );
});
