import { useMemo, useState } from "react";

import { useGetLogQuery } from "@/api";
import { Button, CopyButton, ErrorNote, Loading } from "@/components/ui";
import { count, integer } from "@/lib/format";

import { SearchBox } from "./SearchBox";
import { logLines } from "./text";
import { VirtualList } from "./VirtualList";

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
