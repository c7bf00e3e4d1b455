/** All runs: filtered, sorted, chosen for an overlay, acted on. It moves by itself, as the server tells. */

import { FlaskConical, Layers, SearchX, SlidersHorizontal, X } from "lucide-react";
import { useCallback, useDeferredValue, useMemo } from "react";

import type { RunSummary } from "@/api";
import { Button, Card, EmptyState, LinkButton, Note, Skeleton } from "@/components/ui";
import { count } from "@/lib/format";
import { useConnection, useRuns } from "@/state/hooks";

import { useRunActions } from "./actions";
import { overlayLink } from "./facts";
import { changed, filtered, readFilter, readSort, sorted, sortText } from "./filter";
import type { Sort } from "./filter";
import { Filters } from "./Filters";
import { Frame } from "./Frame";
import { RunCards } from "./RunCards";
import { RunsTable } from "./RunsTable";
import { useAddress } from "./useAddress";
import { useMedia } from "./useMedia";

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
          <Waiting />
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

function Waiting() {
  return (
    <div role="status" aria-label="Loading runs" className="space-y-3">
      <Skeleton className="h-16 w-full" />
      <Skeleton className="h-72 w-full" />
    </div>
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
