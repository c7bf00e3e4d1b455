import { ArrowDown, ArrowUp } from "lucide-react";
import { useMemo } from "react";

import type { RunSummary } from "@/api";
import { IconButton, Select, TextField } from "@/components/ui";
import { methodTitle } from "@/lib/methods";

import { targetsOf } from "./facts";
import { clicked, distinct, STATES } from "./filter";
import type { Filter, Sort, SortKey } from "./filter";
import { stateLabel } from "./states";

interface Props {
  runs: readonly RunSummary[];
  filter: Filter;
  /** Values by their name in the address. */
  onChange: (changes: Record<string, string>) => void;
  sort: Sort;
  /** Offered where there are no column heads to click. */
  onSort?: ((sort: Sort) => void) | undefined;
}

const SORTS: readonly { value: SortKey; label: string }[] = [
  { value: "created", label: "Created" },
  { value: "name", label: "Name" },
  { value: "state", label: "State" },
  { value: "model", label: "Model" },
  { value: "targets", label: "Targets" },
  { value: "data", label: "Data" },
  { value: "loss", label: "Best loss or reward" },
  { value: "gain", label: "Improvement" },
  { value: "seconds", label: "Time" },
  { value: "step", label: "Steps" },
];

/** Text, state, model and targets; on narrow screens the order too. */
export function Filters({ runs, filter, onChange, sort, onSort }: Props) {
  const models = useMemo(() => distinct(runs, (run) => run.model_name), [runs]);
  const targets = useMemo(() => distinct(runs, targetsOf), [runs]);
  const methods = useMemo(() => distinct(runs, (run) => run.method), [runs]);
  const states = STATES.filter((state) => state === filter.state || runs.some((run) => run.state === state));
  const anyOf = (all: string, values: readonly string[], chosen: string) => [
    { value: "", label: all },
    ...[...new Set([...values, ...(chosen === "" ? [] : [chosen])])].map((value) => ({ value, label: value })),
  ];
  return (
    <search className="grid grid-cols-2 gap-3 lg:grid-cols-[minmax(0,2fr)_repeat(4,minmax(0,1fr))]">
      <TextField
        label="Search"
        type="search"
        value={filter.text}
        onValue={(text) => onChange({ q: text })}
        placeholder="name, model, data, error"
        className="col-span-2 lg:col-span-1"
      />
      <Select
        label="State"
        value={filter.state}
        onValue={(state) => onChange({ state })}
        options={[
          { value: "", label: "All states" },
          { value: "active", label: "Running or waiting" },
          { value: "problem", label: "With a problem" },
          ...states.map((state) => ({ value: state, label: stateLabel(state) })),
        ]}
      />
      <Select
        label="Model"
        value={filter.model}
        onValue={(model) => onChange({ model })}
        options={anyOf("All models", models, filter.model)}
      />
      <Select
        label="Targets"
        value={filter.targets}
        onValue={(chosen) => onChange({ targets: chosen })}
        options={anyOf("All targets", targets, filter.targets)}
      />
      <Select
        label="Method"
        value={filter.method}
        onValue={(method) => onChange({ method })}
        options={[
          { value: "", label: "All methods" },
          ...[...new Set([...methods, ...(filter.method === "" ? [] : [filter.method])])].map((value) => ({
            value,
            label: methodTitle(value),
          })),
        ]}
      />
      {onSort && (
        <div className="flex min-w-0 items-end gap-1">
          <Select
            label="Order by"
            className="flex-1"
            value={sort.key}
            onValue={(key) => onSort(clicked(sort, key))}
            options={SORTS}
          />
          <IconButton
            icon={sort.up ? ArrowUp : ArrowDown}
            label={sort.up ? "Smallest first; reverse" : "Largest first; reverse"}
            onClick={() => onSort({ key: sort.key, up: !sort.up })}
          />
        </div>
      )}
    </search>
  );
}
