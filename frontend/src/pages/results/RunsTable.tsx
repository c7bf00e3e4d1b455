import { ArrowDown, ArrowUp } from "lucide-react";
import { memo } from "react";

import type { RunSummary } from "@/api";
import { Table, Td, Th } from "@/components/ui";
import { cx } from "@/lib/cx";
import { duration, moment, relative, shortName } from "@/lib/format";

import type { RunActions, Work } from "./actions";
import { BestLoss, Curve, PickBox, RunName, Steps, Targets } from "./cells";
import { clicked } from "./filter";
import type { Sort, SortKey } from "./filter";
import { More, useWindow } from "./More";
import { RunButtons } from "./RunButtons";
import { StateBadge } from "./StateBadge";

export interface RunListProps {
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
export function RunsTable({ runs, picked, full, busy, actions, onPick, sort, onSort }: RunListProps) {
  const { count, more } = useWindow(runs);
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
          {runs.slice(0, count).map((run) => (
            <Row
              key={run.id}
              run={run}
              on={picked.has(run.id)}
              full={full}
              work={busy[run.id]}
              actions={actions}
              onPick={onPick}
            />
          ))}
        </tbody>
      </Table>
      <More shown={count} of={runs.length} more={more} />
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

interface RowProps {
  run: RunSummary;
  on: boolean;
  full: boolean;
  work: Work | undefined;
  actions: RunActions;
  onPick: (run: string, on: boolean) => void;
}

const Row = memo(function Row({ run, on, full, work, actions, onPick }: RowProps) {
  return (
    <tr className={cx("hover:bg-sunken/50", on && "bg-accent-soft hover:bg-accent-soft")}>
      <Td className="w-8 pl-4">
        <PickBox run={run} on={on} disabled={full && !on} onPick={onPick} />
      </Td>
      <Td>
        <StateBadge run={run} />
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
