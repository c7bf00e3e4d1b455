import { ArrowDown, ArrowUp, GripVertical, ListOrdered, X } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import type { PointerEvent, ReactNode } from "react";
import { Link } from "react-router";

import { asApiError, useCancelQueuedMutation, useMoveInQueueMutation } from "@/api";
import type { QueueEntry, RunSummary } from "@/api";
import { Badge, Card, EmptyState, ErrorNote, IconButton, Skeletons } from "@/components/ui";
import { trainingLink } from "@/features/runs/state";
import { cx } from "@/lib/cx";
import { count, relative } from "@/lib/format";
import { useNow } from "@/lib/hooks";
import { useAppSelector, useQueue, useToast } from "@/state/hooks";

import type { Failure } from "./actions";

/** `items` with `item` at position `to`. */
export function moved<T>(items: readonly T[], item: T, to: number): T[] {
  const rest = items.filter((one) => one !== item);
  const place = Math.min(rest.length, Math.max(0, to));
  return [...rest.slice(0, place), item, ...rest.slice(place)];
}

/** Where a row at place `from`, held at height `y`, belongs among rows with these middles. */
export function placeAt(middles: readonly number[], from: number, y: number): number {
  let place = 0;
  middles.forEach((middle, at) => {
    if (at !== from && y > middle) place++;
  });
  return place;
}

/** The queue: what waits, in which order; to be reordered by dragging or by buttons. */
export function Queue() {
  const queue = useQueue();
  return (
    <Card title="Queue" icon={ListOrdered} description={queue ? limitText(queue.limit) : undefined}>
      {queue === null ? (
        <Skeletons label="Loading the queue" heights={["h-10", "h-10"]} gap="space-y-2" />
      ) : queue.waiting.length === 0 ? (
        <EmptyState icon={ListOrdered} title="Nothing is waiting.">
          Runs that are started while another one trains wait here for their turn.
        </EmptyState>
      ) : (
        <Waiting entries={queue.waiting} />
      )}
    </Card>
  );
}

function limitText(limit: number): string {
  return limit === 1 ? "One run trains at a time." : `${count(limit, "run")} train at a time.`;
}

interface Drag {
  run: string;
  /** Where it would be put. */
  to: number;
}

function Waiting({ entries }: { entries: readonly QueueEntry[] }) {
  const [drag, setDrag] = useState<Drag | null>(null);
  // What was asked for is shown at once; the server's order replaces it.
  const [wanted, setWanted] = useState<readonly string[] | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [said, setSaid] = useState("");
  const [move] = useMoveInQueueMutation();
  const [cancel] = useCancelQueuedMutation();
  const [busy, setBusy] = useState<string | null>(null);
  const list = useRef<HTMLUListElement>(null);
  const refocus = useRef<string | null>(null);
  const names = useNames();
  const toast = useToast();

  const told = entries.map((entry) => entry.run);
  const known = wanted !== null && sameMembers(wanted, told) ? wanted : told;
  const order = drag === null ? known : moved(known, drag.run, drag.to);

  // Moving an element in the document takes the focus from it.
  useEffect(() => {
    if (refocus.current === null) return;
    document.getElementById(refocus.current)?.focus();
    refocus.current = null;
  });

  const put = async (run: string, to: number, focus: string | null) => {
    const target = Math.min(told.length - 1, Math.max(0, to));
    if (known.indexOf(run) === target) return;
    refocus.current = focus;
    setWanted(moved(known, run, target));
    setFailure(null);
    setSaid(`${names(run)} is now number ${target + 1} of ${told.length}.`);
    try {
      await move({ run, queueMove: { position: target } }).unwrap();
    } catch (caught) {
      setFailure({ error: asApiError(caught), again: () => void put(run, to, null) });
    } finally {
      setWanted(null);
    }
  };

  const take = async (run: string) => {
    setBusy(run);
    setFailure(null);
    try {
      await cancel({ run }).unwrap();
      toast({
        tone: "neutral",
        title: `${names(run)} was removed from the queue`,
        text: "It was not deleted; it can be queued again from its page.",
        link: { to: trainingLink(run), label: "Open it" },
      });
    } catch (caught) {
      setFailure({ error: asApiError(caught), again: () => void take(run) });
    } finally {
      setBusy(null);
    }
  };

  const rowMiddles = () =>
    Array.from(list.current?.children ?? []).map((row) => {
      const { top, height } = row.getBoundingClientRect();
      return top + height / 2;
    });
  const onDown = (event: PointerEvent<HTMLElement>, run: string) => {
    if (event.button !== 0) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    setDrag({ run, to: known.indexOf(run) });
  };
  const onMove = (event: PointerEvent) => {
    if (drag === null) return;
    const to = placeAt(rowMiddles(), order.indexOf(drag.run), event.clientY);
    if (to !== drag.to) setDrag({ ...drag, to });
  };
  const onUp = () => {
    if (drag === null) return;
    setDrag(null);
    void put(drag.run, drag.to, null);
  };

  return (
    <div>
      {failure && (
        <div className="mb-3">
          <ErrorNote error={failure.error} onRetry={failure.again} />
        </div>
      )}
      <ul ref={list} aria-label="Waiting runs, next first" className="space-y-2">
        {order.map((run, at) => {
          const entry = entries.find((one) => one.run === run);
          if (!entry) return null;
          return (
            <QueueRow
              key={run}
              entry={entry}
              at={at}
              last={at === order.length - 1}
              dragged={drag?.run === run}
              busy={busy === run}
              onUp={() => void put(run, at - 1, at - 1 === 0 ? `down-${run}` : `up-${run}`)}
              onDown={() => void put(run, at + 1, at + 1 === order.length - 1 ? `up-${run}` : `down-${run}`)}
              onTake={() => void take(run)}
              grip={
                order.length > 1 && (
                  <span
                    aria-hidden
                    title="Drag to reorder"
                    onPointerDown={(event) => onDown(event, run)}
                    onPointerMove={onMove}
                    onPointerUp={onUp}
                    onPointerCancel={() => setDrag(null)}
                    className="-ml-1 flex h-9 shrink-0 cursor-grab touch-none items-center px-1 text-muted active:cursor-grabbing"
                  >
                    <GripVertical className="size-4" />
                  </span>
                )
              }
            />
          );
        })}
      </ul>
      <p role="status" className="sr-only">
        {said}
      </p>
    </div>
  );
}

interface QueueRowProps {
  entry: QueueEntry;
  at: number;
  last: boolean;
  dragged: boolean;
  busy: boolean;
  grip: ReactNode;
  onUp: () => void;
  onDown: () => void;
  onTake: () => void;
}

function QueueRow({ entry, at, last, dragged, busy, grip, onUp, onDown, onTake }: QueueRowProps) {
  const summary = useAppSelector((state) => state.live.runs[entry.run]);
  const now = useNow(true, 30_000);
  const name = summary?.adapter ?? entry.run;
  return (
    <li
      className={cx(
        "flex items-center gap-2 rounded-md border bg-surface py-1.5 pr-1.5 pl-2",
        dragged ? "border-accent shadow-md" : "border-line",
      )}
    >
      {grip}
      <span className="w-5 shrink-0 text-center text-[0.8125rem] font-medium text-muted">{at + 1}</span>
      <div className="min-w-0 flex-1">
        <p className="flex items-center gap-2">
          <Link
            to={trainingLink(entry.run)}
            className="truncate text-[0.8125rem] font-medium underline-offset-2 hover:underline"
          >
            {name}
          </Link>
          {entry.action === "resume" && <Badge>resumes</Badge>}
        </p>
        <p className="truncate text-xs text-muted">
          {[summary?.model_name, `added ${relative(entry.added, now)}`].filter(Boolean).join(" · ")}
        </p>
      </div>
      <div className="flex shrink-0">
        <IconButton
          id={`up-${entry.run}`}
          icon={ArrowUp}
          label={`Move ${name} up`}
          size="sm"
          disabled={at === 0}
          onClick={onUp}
        />
        <IconButton
          id={`down-${entry.run}`}
          icon={ArrowDown}
          label={`Move ${name} down`}
          size="sm"
          disabled={last}
          onClick={onDown}
        />
        <IconButton icon={X} label={`Remove ${name} from the queue`} size="sm" busy={busy} onClick={onTake} />
      </div>
    </li>
  );
}

function useNames(): (run: string) => string {
  const runs: Record<string, RunSummary> = useAppSelector((state) => state.live.runs);
  return (run) => runs[run]?.adapter ?? run;
}

function sameMembers(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((one) => b.includes(one));
}
