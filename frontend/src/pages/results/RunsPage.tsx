/** All runs: filtered, sorted, chosen for an overlay, acted on. It moves by itself, as the server tells. */

import { ArrowDown, ArrowUp, FlaskConical, Layers, SearchX, SlidersHorizontal, X } from "lucide-react";
import { useCallback, useDeferredValue, useEffect, useMemo, useState } from "react";
import { NavigationType, useLocation, useNavigationType, useSearchParams } from "react-router";

import type { RunSummary } from "@/api";
import {
  Button,
  Card,
  EmptyState,
  IconButton,
  LinkButton,
  Note,
  Select,
  Skeletons,
  TextField,
} from "@/components/ui";
import { LOOKS } from "@/features/runs/state";
import { count } from "@/lib/format";
import { useMedia } from "@/lib/hooks";
import { methodTitle } from "@/lib/methods";
import { useConnection, useRuns } from "@/state/hooks";

import { useRunActions } from "./actions";
import { overlayLink, targetsOf } from "./facts";
import { changed, clicked, distinct, filtered, readFilter, readSort, sorted, sortText, STATES } from "./filter";
import type { Filter, Sort, SortKey } from "./filter";
import { Frame } from "./parts";
import { RunCards, RunsTable } from "./RunList";

export const MOST_OVERLAID = 8;

export function RunsPage() {
  const { runs, ready } = useRuns();
  const offline = useConnection() === "lost";
  return (
    <Frame
      section="runs"
      actions={
        <LinkButton to="/setup" icon={SlidersHorizontal} variant="primary">
          New run
        </LinkButton>
      }
    >
      {!ready ? (
        offline ? (
          <Note tone="warn" title="Can't load runs: the server isn't responding." />
        ) : (
          <Skeletons label="Loading runs" heights={["h-16", "h-72"]} gap="space-y-3" />
        )
      ) : runs.length === 0 ? (
        <Card>
          <EmptyState
            icon={FlaskConical}
            title="No run yet."
            actions={
              <LinkButton to="/setup" variant="primary" icon={SlidersHorizontal}>
                Set up the first run
              </LinkButton>
            }
          >
            Choose a model and data in Setup and start; every run, also those started in a terminal with{" "}
            <code className="font-mono text-[0.8125rem]">droidft train</code>, is kept here.
          </EmptyState>
        </Card>
      ) : (
        <RunList runs={runs} />
      )}
    </Frame>
  );
}

function RunList({ runs }: { runs: RunSummary[] }) {
  const [params, setParams] = useAddress();
  const wide = useMedia("(min-width: 64rem)");
  const { actions, busy, dialogs } = useRunActions();
  const filter = useMemo(() => readFilter(params), [params]);
  const sort = useMemo(() => readSort(params), [params]);
  const picked = usePicked(params, runs);
  const wanted = useMemo(() => sorted(filtered(runs, filter), sort), [runs, filter, sort]);
  // Fields and heads answer at once while a long list follows.
  const shown = useDeferredValue(wanted);

  const change = useCallback(
    (changes: Record<string, string>) => setParams((before) => changed(before, changes)),
    [setParams],
  );
  const pick = useCallback(
    (run: string, on: boolean) =>
      setParams((before) => {
        const kept = before.getAll("pick").filter((id) => id !== run);
        const next = changed(before, { pick: "" });
        for (const id of on ? [...kept, run] : kept) next.append("pick", id);
        return next;
      }),
    [setParams],
  );
  const onSort = useCallback((next: Sort) => change({ sort: sortText(next) }), [change]);
  const noFilter = () => change({ q: "", state: "", model: "", targets: "", method: "" });
  const list = { runs: shown, picked, full: picked.size >= MOST_OVERLAID, busy, actions, onPick: pick, sort, onSort };

  return (
    <div className="space-y-4">
      <Filters runs={runs} filter={filter} onChange={change} sort={sort} onSort={wide ? undefined : onSort} />
      <div className="flex min-h-9 flex-wrap items-center justify-between gap-2">
        <p role="status" className="text-[0.8125rem] text-muted">
          {shown.length === runs.length
            ? count(runs.length, "run")
            : `${shown.length} of ${count(runs.length, "run")}`}
        </p>
        <Overlay picked={[...picked]} onClear={() => change({ pick: "" })} />
      </div>
      {shown.length === 0 ? (
        <Card>
          <EmptyState
            icon={SearchX}
            title="No run matches the filters."
            actions={<Button onClick={noFilter}>Show all runs</Button>}
          />
        </Card>
      ) : wide ? (
        <RunsTable {...list} />
      ) : (
        <RunCards {...list} />
      )}
      {dialogs}
    </div>
  );
}

/** The chosen runs that still exist. */
function usePicked(params: URLSearchParams, runs: readonly RunSummary[]): ReadonlySet<string> {
  const named = params.getAll("pick").join(" ");
  return useMemo(() => {
    const known = new Set(runs.map((run) => run.id));
    return new Set(
      named
        .split(" ")
        .filter((id) => known.has(id))
        .slice(0, MOST_OVERLAID),
    );
  }, [named, runs]);
}

function Overlay({ picked, onClear }: { picked: readonly string[]; onClear: () => void }) {
  if (picked.length === 0)
    return <p className="text-[0.8125rem] text-muted">Tick 2 to {MOST_OVERLAID} runs to overlay their curves.</p>;
  return (
    <div className="flex flex-wrap items-center gap-2">
      <span className="text-[0.8125rem] text-muted">{picked.length} ticked</span>
      <Button size="sm" variant="ghost" icon={X} onClick={onClear}>
        Clear
      </Button>
      {picked.length >= 2 ? (
        <LinkButton to={overlayLink(picked)} size="sm" variant="primary" icon={Layers}>
          Overlay {picked.length} runs
        </LinkButton>
      ) : (
        <span className="text-[0.8125rem] text-muted">Tick one more to overlay.</span>
      )}
    </div>
  );
}

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
function Filters({ runs, filter, onChange, sort, onSort }: Props) {
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
          ...states.map((state) => ({ value: state, label: LOOKS[state].label })),
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

/** Browsers allow an address to change about three times a second. */
const SETTLE_MS = 350;

/**
 * The part of the page's address after `?` as state that answers at once: the address follows when typing pauses, and
 * leads when someone navigates.
 */
function useAddress(): [URLSearchParams, (change: (before: URLSearchParams) => URLSearchParams) => void] {
  const [params, setParams] = useSearchParams();
  const { key, search } = useLocation();
  const type = useNavigationType();
  const [own, setOwn] = useState(params);
  const [entry, setEntry] = useState(key);
  if (key !== entry) {
    setEntry(key);
    if (type !== NavigationType.Replace) setOwn(params);
  }
  const wanted = own.toString();
  useEffect(() => {
    const [next, now] = [new URLSearchParams(wanted), new URLSearchParams(search)];
    if (now.toString() === wanted) return undefined;
    const typing = next.get("q") !== now.get("q");
    const timer = setTimeout(() => setParams(next, { replace: true }), typing ? SETTLE_MS : 0);
    return () => clearTimeout(timer);
  }, [wanted, search, setParams]);
  const change = useCallback((make: (before: URLSearchParams) => URLSearchParams) => setOwn(make), []);
  return [own, change];
}
