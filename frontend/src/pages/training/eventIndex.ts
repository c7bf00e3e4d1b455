/**
 * The log of a run as rows: reports (kept in columns) and all other events (kept as records) in the order they were
 * written. Rows are only looked at when they are drawn or searched, and a growing log is searched only where it grew.
 */

import type { Record as RunRecord } from "@/api";
import type { RunHistory, TrainColumn } from "@/api/history";

import { describe, describeReport, KINDS } from "./describe";
import type { Kind, Line } from "./describe";

export interface Row extends Line {
  seq: number;
  time: number;
}

export interface Filter {
  query: string;
  kinds: ReadonlySet<Kind>;
}

export interface Selection {
  rows: readonly number[];
  /** Whether all rows were looked at. */
  complete: boolean;
}

export const EVERYTHING: Filter = { query: "", kinds: new Set(KINDS) };

/** Text as it is searched: "step 1000" is to find "Step 1,000". */
function plain(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(/(?<=\d),(?=\d{3})/g, "")
    .trim();
}

export class EventIndex {
  readonly #history: RunHistory;
  /** A reference per row: a report's number, or minus one minus an event's number. */
  #rows: number[] = [];
  #events = 0;
  #reports = 0;
  #source: RunRecord[];
  #filter: Filter = EVERYTHING;
  #found: number[] = [];
  #searched = 0;

  constructor(history: RunHistory) {
    this.#history = history;
    this.#source = history.events;
  }

  /** All rows so far. */
  get length(): number {
    this.#grow();
    return this.#rows.length;
  }

  /**
   * References of the rows that pass the filter, oldest first; the same array as long as the filter is the same.
   * A search that takes longer than `budget` milliseconds is broken off, and goes on with the next call: `complete`.
   */
  select(filter: Filter, budget = Infinity): Selection {
    this.#grow();
    if (filter.query !== this.#filter.query || filter.kinds !== this.#filter.kinds) {
      this.#filter = filter;
      this.#found = [];
      this.#searched = 0;
    }
    const wanted = plain(filter.query);
    if (wanted === "" && filter.kinds.size === KINDS.length) return { rows: this.#rows, complete: true };
    const started = performance.now();
    while (this.#searched < this.#rows.length) {
      const row = this.#rows[this.#searched++] ?? 0;
      if (this.#passes(row, wanted, filter.kinds)) this.#found.push(row);
      if (this.#searched % 256 === 0 && performance.now() - started > budget) break;
    }
    return { rows: this.#found, complete: this.#searched === this.#rows.length };
  }

  /** The row behind a reference. */
  row(reference: number): Row | null {
    if (reference >= 0) {
      const report = this.report(reference);
      return { ...describeReport(report, this.metrics(reference)), seq: report.seq, time: report.time };
    }
    const record = this.record(reference);
    return record
      ? { ...describe(record.event, this.#history.evalMetrics.has("reward")), seq: record.seq, time: record.time }
      : null;
  }

  /** The event behind a reference, if it is not a report. */
  record(reference: number): RunRecord | undefined {
    return reference < 0 ? this.#history.events[-1 - reference] : undefined;
  }

  /** The columns of a report. */
  report(index: number): Record<TrainColumn, number> {
    const { reports } = this.#history;
    return {
      seq: reports.seq.at(index),
      step: reports.step.at(index),
      time: reports.time.at(index),
      epoch: reports.epoch.at(index),
      loss: reports.loss.at(index),
      learning_rate: reports.learning_rate.at(index),
      grad_norm: reports.grad_norm.at(index),
      tokens_per_second: reports.tokens_per_second.at(index),
      supervised_tokens_per_second: reports.supervised_tokens_per_second.at(index),
      tokens: reports.tokens.at(index),
      peak_memory_bytes: reports.peak_memory_bytes.at(index),
      rss_bytes: reports.rss_bytes.at(index),
    };
  }

  /** What else a report measured. */
  metrics(index: number): Record<string, number> {
    return this.#history.reportMetrics.row(index);
  }

  #passes(reference: number, wanted: string, kinds: ReadonlySet<Kind>): boolean {
    // Most rows are reports: when those are hidden they need not be put into words.
    if (reference >= 0 && !kinds.has("report")) return false;
    const row = this.row(reference);
    if (!row || !kinds.has(row.kind)) return false;
    return wanted === "" || plain(`${row.title} ${row.text}`).includes(wanted);
  }

  #grow(): void {
    const { events, reports } = this.#history;
    if (events !== this.#source) {
      // The history began again.
      this.#source = events;
      this.#rows = [];
      this.#found = [];
      this.#events = this.#reports = this.#searched = 0;
    }
    while (this.#events < events.length || this.#reports < reports.seq.length) {
      const event = events[this.#events]?.seq ?? Infinity;
      const report = this.#reports < reports.seq.length ? reports.seq.at(this.#reports) : Infinity;
      this.#rows.push(event < report ? -1 - this.#events++ : this.#reports++);
    }
  }
}
