/** Every event of a run as a line for people, and the log as rows that can be searched. */

import type { LucideIcon } from "lucide-react";
import {
  Activity,
  CircleAlert,
  CircleCheck,
  CirclePause,
  CircleQuestionMark,
  Database,
  Flag,
  Gauge,
  Layers,
  ListOrdered,
  MessagesSquare,
  Play,
  Save,
  TriangleAlert,
} from "lucide-react";

import type { EvalReport, Failed, Record as RunRecord, SampledCompletion, TrainingPlan } from "@/api";
import type { RunHistory, TrainColumn } from "@/api/history";
import { rewardText } from "@/features/metrics/score";
import {
  bytes,
  capital,
  compact,
  count,
  duration,
  epochs,
  integer,
  loss,
  percent,
  rate,
  speed,
  visible,
} from "@/lib/format";
import type { Tone } from "@/lib/tone";

export const KINDS = ["report", "evaluation", "checkpoint", "progress", "warning", "end"] as const;
export type Kind = (typeof KINDS)[number];

export const KIND_LABELS: Record<Kind, string> = {
  report: "Training",
  evaluation: "Evaluations",
  checkpoint: "Checkpoints",
  progress: "Progress",
  warning: "Warnings",
  end: "Ends",
};

interface Line {
  kind: Kind;
  icon: LucideIcon;
  tone: Tone;
  title: string;
  text: string;
}

type Event = RunRecord["event"];

/**
 * Any event. Training reports come in columns: see `describeReport`. `rewarded`: whether the run is judged by rewards,
 * so that its best loss is minus the best of them.
 */
export function describe(event: Event, rewarded = false): Line {
  const best = (value: number | null) => (rewarded ? rewardText(value === null ? null : -value) : loss(value));
  switch (event.type) {
    case "run_started": {
      const from = event.resumed_from_step;
      const place = from == null ? "" : `from the checkpoint of step ${integer(from)}`;
      const text = [place, deviceText(event.device)].filter(Boolean).join("; ");
      return line("progress", Play, from == null ? "Started" : "Resumed", text, "info");
    }
    case "phase":
      return line("progress", Activity, capital(event.name), visible(event.detail ?? ""));
    case "data_prepared":
      return line(
        "progress",
        Database,
        "Data ready",
        visible(
          `${count(event.train_rows, "training row")}, ${count(event.train_tokens, "token")}, ` +
            `${percent(event.train_supervised_tokens / Math.max(1, event.train_tokens), 0)} trained on; ` +
            count(event.val_rows, "validation row") +
            (event.truncated_rows > 0 ? `; ${integer(event.truncated_rows)} cut` : "") +
            (event.dropped_rows > 0 ? `; ${integer(event.dropped_rows)} dropped` : "") +
            ` (${event.split})`,
        ),
      );
    case "lora_attached":
      return line(
        "progress",
        Layers,
        "Adapter attached",
        `${integer(event.trainable)} of ${integer(event.total)} parameters trainable ` +
          `(${percent(event.trainable / Math.max(1, event.total))}); ${visible(event.log_line)}`,
      );
    case "plan": {
      const text = `${count(event.steps, "step")}, ${epochs(event.epochs)}, effective batch ${event.effective_batch}${padding(event)}`;
      return line("progress", ListOrdered, "Plan", text);
    }
    case "train_report":
      return describeReport(event, event.metrics ?? {});
    case "completions": {
      const text = `${count(event.rows.length, "sampled completion")}, ${rewardRange(event.rows)}`;
      return line("report", MessagesSquare, `Completions of step ${integer(event.step)}`, text);
    }
    case "eval_report": {
      const title = `Evaluation at step ${integer(event.step)}`;
      return line("evaluation", Flag, title, evaluationText(event), event.best ? "good" : "neutral");
    }
    case "measured":
      return line(
        "evaluation",
        Flag,
        event.step === 0 ? "Base model measured" : `Weights of step ${integer(event.step)} measured`,
        `Test loss ${loss(event.test_loss)}, general text ${loss(event.general_loss)}` +
          (event.questions == null ? "" : `, ${integer(event.right)} of ${count(event.questions, "question")} right`),
        "good",
      );
    case "checkpoint_saved": {
      const text = `${bytes(event.bytes)}${event.best ? ", best adapter so far" : ""}`;
      const title = `Checkpoint of step ${integer(event.step)}`;
      return line("checkpoint", Save, title, text, event.best ? "good" : "neutral");
    }
    case "warning":
      return line("warning", TriangleAlert, "Warning", visible(event.message), "warn");
    case "early_stopped":
      return line(
        "end",
        Flag,
        "Stopped early",
        `at step ${integer(event.step)}: no better for ${count(event.evaluations_without_improvement, "evaluation")}; best ${best(event.best_loss)} at step ${integer(event.best_step)}`,
        "info",
      );
    case "stopped":
      return line("end", CirclePause, "Stopped", `at step ${integer(event.step)}, on request`, "info");
    case "failed":
      return line("end", CircleAlert, "Failed", visible(failure(event)), "bad");
    case "finished": {
      const record =
        event.best_step === null ? "" : `; best ${best(event.best_loss)} at step ${integer(event.best_step)}`;
      const text = `${count(event.step, "step")} in ${duration(event.seconds)}${record}`;
      return line("end", CircleCheck, "Finished", text, "good");
    }
    default:
      return unknown(event);
  }
}

function line(kind: Kind, icon: LucideIcon, title: string, text: string, tone: Tone = "neutral"): Line {
  return { kind, icon, tone, title, text };
}

interface Reported {
  step: number;
  loss: number;
  learning_rate: number;
  grad_norm: number;
  tokens_per_second: number;
  peak_memory_bytes: number;
  rss_bytes: number;
}

/** Where rewards are learned from, an evaluation's loss is minus their mean. */
function evaluationText({ loss: value, best, best_loss, best_step, seconds, metrics = {} }: EvalReport): string {
  const reward = metrics["reward"];
  const rewarded = reward !== undefined;
  const now = rewarded ? `mean reward ${rewardText(reward)}` : `validation loss ${loss(value)}`;
  const record = rewarded ? rewardText(-best_loss) : loss(best_loss);
  return `${now}${best ? ", the best so far" : `; best ${record} at step ${integer(best_step)}`}; took ${duration(seconds)}`;
}

/** How many widths batches are padded to, where that is so, and how much of them is padding. */
function padding(plan: TrainingPlan): string {
  if (!plan.widths?.length) return "";
  const share = plan.padding == null ? "" : `, ${percent(plan.padding, 1)} of them padding`;
  return `; batches of ${count(plan.widths.length, "width")}${share}`;
}

function rewardRange(rows: readonly SampledCompletion[]): string {
  const rewards = rows.map(({ reward }) => reward);
  if (rewards.length === 0) return "none shown";
  const [low, high] = [Math.min(...rewards), Math.max(...rewards)];
  return low === high
    ? `each with a reward of ${rewardText(low)}`
    : `rewards from ${rewardText(low)} to ${rewardText(high)}`;
}

/** What a report says first: the reward, or the accuracy of preferences, before the loss. */
function measured(metrics: Readonly<Record<string, number>>): string {
  const { reward, accuracy, tied_groups: tied } = metrics;
  if (reward !== undefined) {
    const groups = tied === undefined || tied === 0 ? "" : `${percent(tied, 0)} of groups tied, `;
    return `reward ${rewardText(reward)}, ${groups}`;
  }
  return accuracy === undefined ? "" : `accuracy ${percent(accuracy, 0)}, `;
}

/** A training report, from its event or its columns. */
export function describeReport(row: Reported, metrics: Readonly<Record<string, number>> = {}): Line {
  return line(
    "report",
    Gauge,
    `Step ${integer(row.step)}`,
    `${measured(metrics)}loss ${loss(row.loss)}, ${speed(row.tokens_per_second)}, learning rate ${rate(row.learning_rate)}, ` +
      `gradient norm ${compact(row.grad_norm)}, ${bytes(Math.max(row.peak_memory_bytes, row.rss_bytes))}`,
  );
}

/** What a newer program wrote: shown by its name instead of not at all. */
function unknown(event: never): Line {
  const value: unknown = event;
  const name =
    typeof value === "object" && value !== null && "type" in value && typeof value.type === "string"
      ? value.type
      : "unknown";
  const title = visible(capital(name.replaceAll("_", " ")));
  return line("progress", CircleQuestionMark, title, visible(JSON.stringify(value)));
}

function failure({ step, message, hint }: Failed): string {
  // Many messages name the step themselves.
  const where = step == null || message.startsWith(`step ${step}`) ? "" : `at step ${integer(step)}: `;
  return where + message + (hint ? `; ${hint}` : "");
}

function deviceText(device: Record<string, unknown>): string {
  const name = device["name"] ?? device["kind"] ?? device["device"];
  return typeof name === "string" ? `on ${visible(name)}` : "";
}

export interface Row extends Line {
  seq: number;
  time: number;
}

interface Filter {
  query: string;
  kinds: ReadonlySet<Kind>;
}

interface Selection {
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
