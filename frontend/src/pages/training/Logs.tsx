/** The two logs of a run: its events, and what its worker printed. */

import { Search, X } from "lucide-react";
import { useDeferredValue, useEffect, useMemo, useState } from "react";

import { useGetLogQuery } from "@/api";
import type { RunHistory } from "@/api/history";
import { Button, CodeBlock, CopyButton, ErrorNote, IconButton, Loading } from "@/components/ui";
import { cx } from "@/lib/cx";
import { count, count as counted, integer, logLines, moment } from "@/lib/format";
import { useNarrow } from "@/lib/hooks";

import { EventIndex, KIND_LABELS, KINDS } from "./events";
import type { Kind, Row } from "./events";
import { VirtualList } from "./VirtualList";

/** A search field without a visible label. */
function SearchBox({ label, value, onValue }: { label: string; value: string; onValue: (value: string) => void }) {
  return (
    <div className="relative min-w-40 flex-1 sm:max-w-64">
      <Search className="pointer-events-none absolute top-2 left-2.5 size-4 text-muted" aria-hidden />
      <input
        type="text"
        role="searchbox"
        aria-label={label}
        placeholder={label}
        spellCheck={false}
        autoComplete="off"
        value={value}
        onChange={(event) => onValue(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") onValue("");
        }}
        className="h-8 w-full rounded-md border border-edge bg-surface pr-8 pl-8 text-[0.8125rem] text-ink"
      />
      {value !== "" && (
        <IconButton
          icon={X}
          label="Clear the search"
          size="sm"
          className="absolute top-0 right-0"
          onClick={() => onValue("")}
        />
      )}
    </div>
  );
}

const TONES: Record<Row["tone"], string> = {
  neutral: "text-muted",
  good: "text-good",
  warn: "text-warn",
  bad: "text-bad",
  info: "text-info",
};

/** How long one frame may search. */
const SEARCH_MS = 12;
const ALL: ReadonlySet<Kind> = new Set(KINDS);

function clock(time: number): string {
  return new Date(time * 1000).toLocaleTimeString("en-GB");
}

function RowView({ row, narrow }: { row: Row; narrow: boolean }) {
  const { icon: Icon, tone, title, text, time } = row;
  const loud = tone === "bad" || tone === "warn";
  if (narrow) {
    return (
      <div className="flex h-full items-start gap-2 px-3 py-1.5 text-xs">
        <Icon className={cx("mt-px size-4 shrink-0", TONES[tone])} aria-hidden />
        <div className="min-w-0 flex-1">
          <div className="flex justify-between gap-2">
            <span className={cx("truncate font-medium", loud && TONES[tone])}>{title}</span>
            <span className="shrink-0 text-muted">{clock(time)}</span>
          </div>
          <div className="truncate text-muted">{text}</div>
        </div>
      </div>
    );
  }
  return (
    <div className="flex h-full items-center gap-2.5 px-3 text-[0.8125rem] whitespace-nowrap">
      <span className="w-16 shrink-0 text-xs text-muted">{clock(time)}</span>
      <Icon className={cx("size-4 shrink-0", TONES[tone])} aria-hidden />
      <span className={cx("w-48 shrink-0 truncate font-medium", loud && TONES[tone])}>{title}</span>
      <span className="min-w-0 flex-1 truncate text-muted">{text}</span>
    </div>
  );
}

function Detail({ index, reference, onClose }: { index: EventIndex; reference: number; onClose: () => void }) {
  const row = index.row(reference);
  if (!row) return null;
  const record = index.record(reference);
  const fields = record
    ? record.event
    : { type: "train_report", ...index.report(reference), metrics: index.metrics(reference) };
  return (
    <div className="mt-3">
      <div className="mb-1 flex items-start justify-between gap-3">
        <div className="min-w-0">
          <p className="text-[0.8125rem] font-medium">{row.title}</p>
          <p className="text-xs text-muted">
            Event {integer(row.seq)}, {moment(row.time)}
          </p>
        </div>
        <IconButton icon={X} label="Close the details" size="sm" onClick={onClose} />
      </div>
      {row.text !== "" && <p className="mb-2 text-[0.8125rem] wrap-anywhere">{row.text}</p>}
      <CodeBlock label="event as JSON" text={JSON.stringify(fields, null, 2)} wrap />
    </div>
  );
}

/** Everything the run said, newest at the end: searched, filtered by kind, as long as it may be. */
export function EventLog({ history }: { history: RunHistory }) {
  const [query, setQuery] = useState("");
  const [kinds, setKinds] = useState(ALL);
  const [chosen, setChosen] = useState<number | null>(null);
  const narrow = useNarrow();
  const searched = useDeferredValue(query);
  const index = useMemo(() => new EventIndex(history), [history]);
  const filter = useMemo(() => ({ query: searched, kinds }), [searched, kinds]);
  const { rows, complete } = index.select(filter, SEARCH_MS);
  // A search of a long log goes on in the next frame, so that typing stays fluid.
  const [, goOn] = useState(0);
  useEffect(() => {
    if (complete) return undefined;
    const frame = requestAnimationFrame(() => goOn((turn) => turn + 1));
    return () => cancelAnimationFrame(frame);
  });

  const toggle = (kind: Kind) => {
    const next = new Set(kinds);
    if (!next.delete(kind)) next.add(kind);
    setKinds(next);
  };
  // The choice is of an event, not of a place in the list, which changes with the filter.
  const place = chosen === null ? -1 : rows.indexOf(chosen);
  const total = index.length;
  return (
    <div>
      <div className="flex flex-wrap items-center gap-2 pb-3">
        <SearchBox label="Search the events" value={query} onValue={setQuery} />
        <div role="group" aria-label="Kinds of events" className="flex flex-wrap gap-1">
          {KINDS.map((kind) => (
            <button
              key={kind}
              type="button"
              aria-pressed={kinds.has(kind)}
              onClick={() => toggle(kind)}
              className={cx(
                "h-8 rounded-md border px-2 text-xs font-medium",
                kinds.has(kind)
                  ? "border-accent bg-accent-soft text-accent-strong"
                  : "border-edge bg-surface text-muted hover:text-ink",
              )}
            >
              {KIND_LABELS[kind]}
            </button>
          ))}
        </div>
        <p role="status" className="ml-auto text-xs text-muted">
          {!complete && "searching… "}
          {rows.length === total ? counted(total, "event") : `${integer(rows.length)} of ${counted(total, "event")}`}
        </p>
      </div>
      <div className="overflow-hidden rounded-md border border-line">
        {rows.length === 0 ? (
          <div className="px-5 py-8 text-center text-muted">
            {history.caughtUp && complete ? (
              total === 0 ? (
                "No events yet."
              ) : (
                "No event matches the search and the kinds chosen."
              )
            ) : (
              <Loading label={complete ? "Reading the history…" : "Searching…"} className="justify-center" />
            )}
          </div>
        ) : (
          <VirtualList
            label="Events, oldest first"
            count={rows.length}
            rowHeight={narrow ? 46 : 30}
            height={360}
            selected={place === -1 ? null : place}
            onSelect={(at) => setChosen(at === null ? null : (rows[at] ?? null))}
            render={(at) => {
              const row = index.row(rows[at] ?? 0);
              return row && <RowView row={row} narrow={narrow} />;
            }}
          />
        )}
      </div>
      {chosen !== null && <Detail index={index} reference={chosen} onClose={() => setChosen(null)} />}
    </div>
  );
}

const FIRST_BYTES = 200_000;
const MOST_BYTES = 10_000_000;
const POLL_MS = 3000;

/** What the worker printed: messages of libraries, tracebacks. */
export function RawLog({ run, active }: { run: string; active: boolean }) {
  const [size, setSize] = useState(FIRST_BYTES);
  const [query, setQuery] = useState("");
  const { currentData, error, isFetching, refetch } = useGetLogQuery(
    { run, bytes: size },
    { pollingInterval: active ? POLL_MS : 0, skipPollingIfUnfocused: true, refetchOnMountOrArgChange: true },
  );
  const text = currentData?.text ?? "";
  const lines = useMemo(() => logLines(text), [text]);
  const shown = useMemo(() => {
    const wanted = query.trim().toLowerCase();
    return wanted === "" ? lines : lines.filter((line) => line.toLowerCase().includes(wanted));
  }, [lines, query]);

  if (error) {
    return <ErrorNote error={error} onRetry={() => void refetch()} />;
  }
  if (!currentData) return <Loading label="Reading the log…" className="pb-4" />;
  return (
    <div>
      <div className="flex flex-wrap items-center gap-2 pb-3">
        <SearchBox label="Search the worker's log" value={query} onValue={setQuery} />
        {currentData.truncated && size < MOST_BYTES && (
          <Button size="sm" busy={isFetching} onClick={() => setSize(Math.min(MOST_BYTES, size * 8))}>
            Show earlier lines
          </Button>
        )}
        {lines.length > 0 && <CopyButton text={lines.join("\n")} label="Copy" />}
        <p role="status" className="ml-auto text-xs text-muted">
          {shown.length === lines.length
            ? count(lines.length, "line")
            : `${integer(shown.length)} of ${count(lines.length, "line")}`}
          {currentData.truncated && " (the end of it)"}
        </p>
      </div>
      <div className="overflow-hidden rounded-md border border-line bg-sunken">
        {shown.length === 0 ? (
          <p className="px-5 py-8 text-center text-muted">
            {lines.length === 0
              ? "The worker has printed nothing. What it does is among the events; only tracebacks and messages of libraries land here."
              : "No line matches the search."}
          </p>
        ) : (
          <VirtualList
            label="Lines of the worker's log"
            count={shown.length}
            rowHeight={20}
            height={360}
            wide
            render={(at) => (
              <div className="px-3 font-mono text-xs/5 whitespace-pre">{shown[at] === "" ? " " : shown[at]}</div>
            )}
          />
        )}
      </div>
    </div>
  );
}
