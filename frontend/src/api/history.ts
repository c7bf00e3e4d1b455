/**
 * The history of one run, outside the store: plain columns for what is drawn and a list of everything else, with a
 * version that grows with each change. It follows the run's socket and goes on from its last record after a loss.
 */

import { useEffect, useSyncExternalStore } from "react";
import * as z from "zod/mini";

import type { Completions, Record as RunRecord, Rewind } from "./generated";
import { recordsFrame, resetFrame } from "./generatedSchemas";
import { ReconnectingSocket } from "./sockets";
import type { SocketState } from "./sockets";

const FIRST_CAPACITY = 256;

export class Column {
  #values = new Float64Array(FIRST_CAPACITY);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const larger = new Float64Array(this.#values.length * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#length++] = value;
  }

  /** The value at `index`, counted from the end when negative; NaN where there is none. */
  at(index: number): number {
    const place = index < 0 ? this.#length + index : index;
    return place >= 0 && place < this.#length ? (this.#values[place] ?? NaN) : NaN;
  }

  /** A view of the values, valid until the next change; do not write to it. */
  view(): Float64Array {
    return this.#values.subarray(0, this.#length);
  }

  truncate(length: number): void {
    this.#length = Math.min(this.#length, Math.max(0, length));
  }
}

/** Columns by name that are all of one length; a name that a row lacks, or that comes up later, is NaN there. */
export class NamedColumns {
  readonly #columns = new Map<string, Column>();
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** In the order in which they came up. */
  get names(): string[] {
    return [...this.#columns.keys()];
  }

  push(row: Readonly<Record<string, number>>): void {
    for (const name of Object.keys(row)) {
      if (this.#columns.has(name)) continue;
      const column = new Column();
      for (let at = 0; at < this.#length; at++) column.push(NaN);
      this.#columns.set(name, column);
    }
    for (const [name, column] of this.#columns) column.push(row[name] ?? NaN);
    this.#length++;
  }

  has(name: string): boolean {
    return this.#columns.has(name);
  }

  /** As `Column.at`; NaN for a name that there is not. */
  at(name: string, index: number): number {
    return this.#columns.get(name)?.at(index) ?? NaN;
  }

  /** As `Column.view`; empty for a name that there is not. */
  view(name: string): Float64Array {
    return this.#columns.get(name)?.view() ?? new Float64Array();
  }

  /** The values of one row, without those that it lacks. */
  row(index: number): Record<string, number> {
    const values = [...this.#columns].map(([name, column]) => [name, column.at(index)] as const);
    return Object.fromEntries(values.filter(([, value]) => !Number.isNaN(value)));
  }

  truncate(length: number): void {
    for (const column of this.#columns.values()) column.truncate(length);
    this.#length = Math.min(this.#length, Math.max(0, length));
  }
}

/** How many leading values of an ascending column are at most `limit`. */
export function countUpTo(column: Column, limit: number): number {
  let low = 0;
  let high = column.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column.at(middle) <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

const TRAIN = [
  "seq",
  "step",
  "time",
  "epoch",
  "loss",
  "learning_rate",
  "grad_norm",
  "tokens_per_second",
  "supervised_tokens_per_second",
  "tokens",
  "peak_memory_bytes",
  "rss_bytes",
] as const;
export type TrainColumn = (typeof TRAIN)[number];

function trainColumns(): Record<TrainColumn, Column> {
  return {
    seq: new Column(),
    step: new Column(),
    time: new Column(),
    epoch: new Column(),
    loss: new Column(),
    learning_rate: new Column(),
    grad_norm: new Column(),
    tokens_per_second: new Column(),
    supervised_tokens_per_second: new Column(),
    tokens: new Column(),
    peak_memory_bytes: new Column(),
    rss_bytes: new Column(),
  };
}

/** `best_step` and `best_loss` are those up to each evaluation. */
function evalColumns(): Record<"step" | "loss" | "best_step" | "best_loss", Column> {
  return { step: new Column(), loss: new Column(), best_step: new Column(), best_loss: new Column() };
}

export class RunHistory {
  /** A row per training report, of steps that still count. */
  train = trainColumns();
  /** A row per training report ever told, those included that a resumed run did again. */
  reports = trainColumns();
  /** A row per evaluation that still counts. */
  evals = evalColumns();
  /** What the method measured besides, by name; as long as `train.step`, NaN where a report has none of that name. */
  trainMetrics = new NamedColumns();
  /** The same of `reports`. */
  reportMetrics = new NamedColumns();
  /** The same of `evals`. */
  evalMetrics = new NamedColumns();
  /** Sampled completions of steps that still count, oldest first. */
  completions: Completions[] = [];
  /** Everything but training reports, in order: phases, evaluations, checkpoints, warnings, ends. */
  events: RunRecord[] = [];
  bestStep: number | null = null;
  bestLoss: number | null = null;
  /** Sequence number of the last record. */
  last = 0;
  /** When the last record was written. */
  lastTime: number | null = null;
  /** Whether everything that existed when we connected is here. */
  caughtUp = false;
  connection: SocketState = "connecting";
  /** Grows with each change. */
  version = 0;

  clear(): void {
    this.train = trainColumns();
    this.reports = trainColumns();
    this.evals = evalColumns();
    this.trainMetrics = new NamedColumns();
    this.reportMetrics = new NamedColumns();
    this.evalMetrics = new NamedColumns();
    this.completions = [];
    this.events = [];
    this.bestStep = this.bestLoss = this.lastTime = null;
    this.last = 0;
    this.caughtUp = false;
    this.version++;
  }

  /** Take in records; those already known are skipped. `rewinds`: where the server says that steps are done again. */
  append(records: readonly RunRecord[], rewinds: readonly Rewind[] = []): void {
    for (const record of records) {
      if (record.seq <= this.last) continue;
      this.last = record.seq;
      this.lastTime = record.time;
      // Old points would be drawn twice.
      for (const { seq, step } of rewinds) if (seq === record.seq) this.#rewind(step);
      this.#add(record);
    }
    this.version++;
  }

  #add(record: RunRecord): void {
    const { event, time, seq } = record;
    switch (event.type) {
      case "train_report":
        for (const name of TRAIN) {
          const value = name === "time" ? time : name === "seq" ? seq : event[name];
          this.train[name].push(value);
          this.reports[name].push(value);
        }
        this.trainMetrics.push(event.metrics ?? {});
        this.reportMetrics.push(event.metrics ?? {});
        return;
      case "eval_report":
        this.evals.step.push(event.step);
        this.evals.loss.push(event.loss);
        this.evals.best_step.push(event.best_step);
        this.evals.best_loss.push(event.best_loss);
        this.evalMetrics.push(event.metrics ?? {});
        this.#setBest();
        break;
      case "completions":
        this.completions.push(event);
        break;
      default:
        break;
    }
    this.events.push(record);
  }

  #rewind(step: number): void {
    const reports = countUpTo(this.train.step, step);
    for (const name of TRAIN) this.train[name].truncate(reports);
    const evals = countUpTo(this.evals.step, step);
    for (const column of Object.values(this.evals)) column.truncate(evals);
    this.trainMetrics.truncate(reports);
    this.evalMetrics.truncate(evals);
    this.completions = this.completions.filter((one) => one.step <= step);
    this.#setBest();
  }

  #setBest(): void {
    const any = this.evals.step.length > 0;
    this.bestStep = any ? this.evals.best_step.at(-1) : null;
    this.bestLoss = any ? this.evals.best_loss.at(-1) : null;
  }
}

const FRAME = z.discriminatedUnion("type", [recordsFrame, resetFrame]);

/** Keeps a `RunHistory` in step with the server and tells its listeners, at most once a frame of the screen. */
export class RunFollower {
  readonly history = new RunHistory();
  readonly #listeners = new Set<() => void>();
  readonly #socket: ReconnectingSocket;
  #pending = false;

  constructor(run: string) {
    this.#socket = new ReconnectingSocket({
      path: () => `/api/runs/${encodeURIComponent(run)}/events?after=${this.history.last}`,
      onFrame: (frame) => this.#take(frame),
      onState: (state) => {
        this.history.connection = state;
        this.#changed();
      },
    });
  }

  #take(value: unknown): void {
    const frame = FRAME.safeParse(value).data;
    if (!frame) return;
    if (frame.type === "reset") {
      this.history.clear();
      this.#socket.restart();
    } else {
      this.history.append(frame.records, frame.rewinds);
      this.history.caughtUp = this.history.caughtUp || frame.caught_up;
    }
    this.#changed();
  }

  #changed(): void {
    if (this.#pending) return;
    this.#pending = true;
    // A hidden page gets no animation frames; there a timer will do.
    const later = document.hidden ? (call: () => void) => setTimeout(call, 250) : requestAnimationFrame;
    later(() => {
      this.#pending = false;
      this.history.version++;
      for (const listener of this.#listeners) listener();
    });
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  version = (): number => this.history.version;

  close(): void {
    this.#socket.close();
  }
}

const LINGER_MS = 60_000;
const followers = new Map<
  string,
  { follower: RunFollower; users: number; timer: ReturnType<typeof setTimeout> | null }
>();

function follow(run: string): RunFollower {
  let entry = followers.get(run);
  if (!entry) {
    entry = { follower: new RunFollower(run), users: 0, timer: null };
    followers.set(run, entry);
  }
  return entry.follower;
}

function hold(run: string): () => void {
  follow(run);
  const entry = followers.get(run);
  if (!entry) return () => undefined;
  entry.users++;
  if (entry.timer !== null) clearTimeout(entry.timer);
  entry.timer = null;
  return () => {
    entry.users--;
    if (entry.users > 0) return;
    // Going to another page and back must not read the whole history again.
    entry.timer = setTimeout(() => {
      entry.follower.close();
      followers.delete(run);
    }, LINGER_MS);
  };
}

/**
 * The live history of a run. The object stays the same while its `version` grows: read its columns while rendering,
 * and name `version` in the dependencies of what is derived from them.
 */
export function useRunHistory(run: string): RunHistory {
  const follower = follow(run);
  useEffect(() => hold(run), [run]);
  useSyncExternalStore(follower.subscribe, follower.version);
  return follower.history;
}
