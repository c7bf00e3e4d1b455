import { ChevronLeft, ChevronRight, Shuffle } from "lucide-react";
import { useState } from "react";

import { useViewRowsQuery } from "@/api";
import type { DataSettings, Piece, RowView } from "@/api";
import { Button, ErrorNote, IconButton, Skeleton } from "@/components/ui";
import { cx } from "@/lib/cx";
import { integer } from "@/lib/format";

const LOOKS: Record<Piece["state"], string> = {
  trained: "bg-accent-soft text-accent-strong underline decoration-accent decoration-2 underline-offset-4",
  masked: "text-muted",
  cut: "bg-bad-soft text-bad line-through",
};
const WORDS: Record<Piece["state"], string> = { trained: "trained on", masked: "masked", cut: "cut off" };

/** Neighbouring pieces of one state together, so that the state is said once. */
export function stretches(pieces: readonly Piece[]): Piece[][] {
  const found: Piece[][] = [];
  for (const piece of pieces) {
    const last = found.at(-1);
    if (last?.[0]?.state === piece.state) last.push(piece);
    else found.push([piece]);
  }
  return found;
}

/** Line ends made visible, and kept. */
function visible(text: string): string {
  return text.replaceAll("\n", "↵\n");
}

function Row({ row }: { row: RowView }) {
  const counts = { trained: 0, masked: 0, cut: 0 };
  for (const piece of row.pieces) counts[piece.state] += piece.ids.length;
  return (
    <article className="rounded-md border border-line">
      <header className="flex flex-wrap justify-between gap-x-4 border-b border-line px-3 py-1.5 text-xs text-muted">
        <span>
          {row.file.split("/").at(-1)}:{row.line}
        </span>
        <span>
          {integer(counts.trained)} trained on, {integer(counts.masked)} masked
          {counts.cut > 0 && `, ${integer(counts.cut)} cut`}
        </span>
      </header>
      {row.warnings.map((warning) => (
        <p key={warning} className="px-3 pt-2 text-xs text-warn">
          {warning}
        </p>
      ))}
      <p
        className="max-h-80 overflow-y-auto p-3 font-mono text-xs/6 whitespace-pre-wrap wrap-anywhere"
        tabIndex={0}
        role="region"
        aria-label={`Row ${row.row}`}
      >
        {stretches(row.pieces).map((stretch, at) => {
          const state = stretch[0]?.state ?? "masked";
          return (
            <span key={at} className={LOOKS[state]}>
              <span className="sr-only">[{WORDS[state]}: </span>
              {stretch.map((piece, index) => (
                <span
                  key={index}
                  title={`${WORDS[state]}, ${piece.ids.length === 1 ? "token" : "tokens"} ${piece.ids.join(" ")}`}
                  className={cx(index > 0 && "border-l border-line")}
                >
                  {visible(piece.text)}
                </span>
              ))}
              <span className="sr-only">]</span>
            </span>
          );
        })}
      </p>
    </article>
  );
}

/** Rows as training will see them. */
export function TokenView({ request, rows }: { request: DataSettings; rows: number }) {
  const [at, setAt] = useState(0);
  const row = Math.min(at, Math.max(0, rows - 1));
  const { data, error, isFetching, refetch } = useViewRowsQuery({ viewRequest: { ...request, rows: [row] } });
  return (
    <div className="space-y-3">
      <div className="flex flex-wrap items-center justify-between gap-x-4 gap-y-2">
        <ul className="flex flex-wrap gap-x-4 gap-y-1 text-xs" aria-label="Meaning of the marks">
          <li>
            <span className={LOOKS.trained}>trained on</span>: the loss is measured here
          </li>
          <li>
            <span className={LOOKS.masked}>masked</span>: read, not learned
          </li>
          <li>
            <span className={LOOKS.cut}>cut</span>: beyond the maximum length
          </li>
        </ul>
        <div className="flex items-center gap-1">
          <IconButton
            icon={ChevronLeft}
            label="Previous row"
            size="sm"
            disabled={row === 0}
            onClick={() => setAt(row - 1)}
          />
          <span className="min-w-20 text-center text-xs text-muted">
            row {integer(row + 1)} of {integer(rows)}
          </span>
          <IconButton
            icon={ChevronRight}
            label="Next row"
            size="sm"
            disabled={row >= rows - 1}
            onClick={() => setAt(row + 1)}
          />
          <Button icon={Shuffle} size="sm" variant="ghost" onClick={() => setAt(Math.floor(Math.random() * rows))}>
            Random row
          </Button>
        </div>
      </div>
      {error ? (
        <ErrorNote error={error} onRetry={() => void refetch()} />
      ) : !data ? (
        <Skeleton className="h-32" />
      ) : (
        <div className={cx("space-y-3", isFetching && "opacity-60")}>
          {data.faults.length > 0 && (
            <ErrorNote
              error={{ code: "data", message: data.faults[0]?.reason ?? "", hint: data.faults[0]?.fix ?? "" }}
            />
          )}
          {data.rows.map((view) => (
            <Row key={view.row} row={view} />
          ))}
        </div>
      )}
    </div>
  );
}
