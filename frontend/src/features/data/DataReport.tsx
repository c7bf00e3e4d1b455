/** What a check of data says, down to each token. */

import { ChevronLeft, ChevronRight, Shuffle } from "lucide-react";
import { useState } from "react";

import { useViewRowsQuery } from "@/api";
import type { DataCheck, DataSettings, Fault, Piece, Places, RowView, SetReport, TokenReport } from "@/api";
import { Histogram } from "@/components/chart/small";
import {
  Answered,
  Button,
  Disclosure,
  ErrorNote,
  IconButton,
  Note,
  Skeleton,
  Stat,
  Stats,
  Table,
  Td,
  Th,
} from "@/components/ui";
import { cx } from "@/lib/cx";
import { bytes, count, integer, percent, sentence } from "@/lib/format";
import type { Family } from "@/lib/methods";

/** A file's place without the folders before it. */
function place({ file, line }: Fault): string {
  const name = file.split("/").at(-1) ?? file;
  return line === null ? name : `${name}:${line}`;
}

function Faults({ check }: { check: DataCheck }) {
  const { faults, fault_count } = check;
  return (
    <Note tone="bad" live title={`${count(fault_count, "row")} cannot be trained on.`}>
      <p className="mb-2">Fix the file and check it again, or choose another one.</p>
      <div className="rounded-md border border-line bg-surface">
        <Table label="Faulty rows">
          <thead>
            <tr>
              <Th>Where</Th>
              <Th>What is wrong</Th>
              <Th>How to fix it</Th>
            </tr>
          </thead>
          <tbody>
            {faults.slice(0, 100).map((fault, at) => (
              <tr key={at}>
                <Td className="font-mono text-xs whitespace-nowrap">{place(fault)}</Td>
                <Td className="min-w-48">{fault.reason}</Td>
                <Td className="min-w-48 text-muted">{fault.fix}</Td>
              </tr>
            ))}
          </tbody>
        </Table>
      </div>
      {fault_count > faults.length && <p className="mt-1 text-xs">The first {faults.length} are listed.</p>}
    </Note>
  );
}

/** The first places as a hint, such as `a.jsonl:3, a.jsonl:9 …`. */
function where({ count: total, first }: Places): string | undefined {
  if (total === 0) return undefined;
  return first.slice(0, 3).join(", ") + (total > 3 ? " …" : "");
}

function Lengths({ set, limit }: { set: SetReport; limit: number }) {
  const { p50 = 0, p95 = 0, max = 0 } = set.lengths;
  const bins = set.histogram.map((bin) => ({ low: bin.low, high: bin.high, count: bin.rows }));
  const summary = `Rows by length in tokens: half have at most ${integer(p50)}, 95 % at most ${integer(p95)}, the longest ${integer(max)}.`;
  return (
    <div>
      <p className="mb-1 text-[0.8125rem] font-medium">Length of rows in tokens</p>
      <Histogram
        bins={bins}
        label={summary}
        unit="tokens"
        mark={set.truncated.count > 0 ? { at: limit, label: `cut at ${integer(limit)}` } : undefined}
      />
      <p className="mt-1 text-xs text-muted">
        Half have at most {integer(p50)}, 95 % at most {integer(p95)}; the longest has {integer(max)}.
      </p>
    </div>
  );
}

/** What the rows are called, by what is learned from. */
const ROWS: Record<Family, string> = { answers: "rows", rewards: "prompts", preferences: "pairs" };

function Tokens({ tokens, family }: { tokens: TokenReport; family: Family }) {
  const { train, validation, overlap } = tokens;
  return (
    <div className="space-y-4">
      <Stats>
        <Stat
          label={`Training ${ROWS[family]}`}
          value={integer(train.rows)}
          note={`${count(train.tokens, "token")}, format ${tokens.format}`}
        />
        <Stat label={`Validation ${ROWS[family]}`} value={integer(validation.rows)} note={tokens.split} />
        {family !== "rewards" && (
          <Stat
            label="Trained on"
            value={percent(train.supervised_tokens / Math.max(1, train.tokens), 1)}
            note={`${integer(train.supervised_tokens)} of ${integer(train.tokens)} tokens`}
          />
        )}
        <Stat
          label="Cut rows"
          value={integer(train.truncated.count)}
          note={where(train.truncated) ?? `none is longer than ${integer(tokens.max_seq_length)}`}
          tone={train.truncated.count > 0 ? "warn" : undefined}
        />
        <Stat
          label="Duplicates"
          value={integer(train.duplicates.count)}
          note={where(train.duplicates)}
          tone={train.duplicates.count > 0 ? "warn" : undefined}
        />
        <Stat
          label="In both sets"
          value={integer(overlap.count)}
          note={where(overlap) ?? "no row is in both"}
          tone={overlap.count > 0 ? "warn" : undefined}
        />
        {train.lost_end_of_turn.count > 0 && (
          <Stat
            label="Lost their end of turn"
            value={integer(train.lost_end_of_turn.count)}
            note={where(train.lost_end_of_turn)}
            tone="warn"
          />
        )}
      </Stats>
      <Lengths set={train} limit={tokens.max_seq_length} />
      {tokens.warnings.map((warning) => (
        <Note key={warning} tone="warn">
          {warning}
        </Note>
      ))}
      {tokens.notes.length > 0 && (
        <ul className="space-y-0.5 text-xs text-muted">
          {tokens.notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
    </div>
  );
}

function Structure({ check, withModel }: { check: DataCheck; withModel: boolean }) {
  const { structure } = check;
  if (!structure) return null;
  const { train, validation, overlap } = structure;
  return (
    <div className="space-y-3">
      <Stats>
        <Stat
          label="Training rows"
          value={integer(train.rows)}
          note={`${bytes(train.bytes)}, format ${train.format}`}
        />
        {validation && (
          <Stat label="Validation rows" value={integer(validation.rows)} note={bytes(validation.bytes)} />
        )}
        <Stat label="Duplicates" value={integer(train.duplicates.count)} note={where(train.duplicates)} />
        {validation && <Stat label="In both sets" value={integer(overlap.count)} note={where(overlap)} />}
      </Stats>
      {!withModel && (
        <Note tone="neutral">
          Choose a model to see how many tokens that makes, and which of them are trained on.
        </Note>
      )}
    </div>
  );
}

/** What the check found. `stale`: a newer one is under way. */
export function DataReport({
  check,
  request,
  stale,
  family = "answers",
}: {
  check: DataCheck;
  request: DataSettings;
  stale: boolean;
  family?: Family | undefined;
}) {
  return (
    <div className={cx("space-y-4 transition-opacity", stale && "opacity-60")} aria-busy={stale}>
      {check.fault_count > 0 && <Faults check={check} />}
      {check.tokens ? (
        <Tokens tokens={check.tokens} family={family} />
      ) : (
        <Structure check={check} withModel={request.model_path != null} />
      )}
      {check.token_problem && (
        <Note tone="bad" title={sentence(check.token_problem.message)}>
          {sentence(check.token_problem.hint)}
        </Note>
      )}
      {check.ok && check.tokens && family === "answers" && (
        <Disclosure title="See rows token by token: what is trained on, what is masked, what is cut">
          <TokenView request={request} rows={check.tokens.train.rows} />
        </Disclosure>
      )}
    </div>
  );
}

const LOOKS: Record<Piece["state"], string> = {
  trained: "bg-accent-soft text-accent-strong underline decoration-accent decoration-2 underline-offset-4",
  masked: "text-muted",
  cut: "bg-bad-soft text-bad line-through",
};
const WORDS: Record<Piece["state"], string> = { trained: "trained on", masked: "masked", cut: "cut off" };

/** Neighbouring pieces of one state together, so that the state is said once. */
export function stretches(pieces: readonly Piece[]): Piece[][] {
  const groups: Piece[][] = [];
  for (const piece of pieces) {
    const last = groups.at(-1);
    if (last?.[0]?.state === piece.state) last.push(piece);
    else groups.push([piece]);
  }
  return groups;
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
function TokenView({ request, rows }: { request: DataSettings; rows: number }) {
  const [at, setAt] = useState(0);
  const row = Math.min(at, Math.max(0, rows - 1));
  const seen = useViewRowsQuery({ viewRequest: { ...request, rows: [row] } });
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
      <Answered query={seen} waiting={<Skeleton className="h-32" />}>
        {(data) => (
          <div className={cx("space-y-3", seen.isFetching && "opacity-60")}>
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
      </Answered>
    </div>
  );
}
