/** Which runs the list shows and in what order; kept in the page's address, so that it survives reload and Back. */

import type { RunState, RunSummary } from "@/api";
import { methodTitle } from "@/lib/methods";
import { isActive } from "@/state/live";

import { improvement, rewardGain, targetsOf } from "./facts";

export type SortKey =
  "state" | "name" | "model" | "targets" | "data" | "loss" | "gain" | "seconds" | "step" | "created";

export interface Sort {
  key: SortKey;
  up: boolean;
}

export type StateFilter = "" | "active" | "problem" | RunState;

export interface Filter {
  text: string;
  state: StateFilter;
  model: string;
  targets: string;
  method: string;
}

export const NEWEST_FIRST: Sort = { key: "created", up: false };

const SORT_KEYS: readonly SortKey[] = [
  "state",
  "name",
  "model",
  "targets",
  "data",
  "loss",
  "gain",
  "seconds",
  "step",
  "created",
];
export const STATES: readonly RunState[] = [
  "running",
  "stopping",
  "stalled",
  "queued",
  "created",
  "finished",
  "stopped",
  "failed",
  "crashed",
  "unreadable",
];

function isStateFilter(value: string): value is StateFilter {
  return value === "" || value === "active" || value === "problem" || STATES.some((state) => state === value);
}

/** The filter that an address names; what it does not know counts as not given. */
export function readFilter(params: URLSearchParams): Filter {
  const state = params.get("state") ?? "";
  return {
    text: params.get("q") ?? "",
    state: isStateFilter(state) ? state : "",
    model: params.get("model") ?? "",
    targets: params.get("targets") ?? "",
    method: params.get("method") ?? "",
  };
}

/** The order that an address names, such as `loss` or `-loss` (largest first). */
export function readSort(params: URLSearchParams): Sort {
  const given = params.get("sort") ?? "";
  const key = SORT_KEYS.find((name) => name === given.replace(/^-/, ""));
  return key ? { key, up: !given.startsWith("-") } : NEWEST_FIRST;
}

/** `params` with some values changed; empty ones are left out. */
export function changed(params: URLSearchParams, changes: Record<string, string>): URLSearchParams {
  const next = new URLSearchParams(params);
  for (const [name, value] of Object.entries(changes)) {
    if (value === "") next.delete(name);
    else next.set(name, value);
  }
  return next;
}

/** How an order is written in an address; the usual one is not. */
export function sortText({ key, up }: Sort): string {
  return key === NEWEST_FIRST.key && up === NEWEST_FIRST.up ? "" : `${up ? "" : "-"}${key}`;
}

/** The order after a click on a column: the other way round, or its own first way. */
export function clicked(sort: Sort, key: SortKey): Sort {
  const falling = key === "created" || key === "gain" || key === "seconds" || key === "step";
  return sort.key === key ? { key, up: !sort.up } : { key, up: !falling };
}

function passesState(run: RunSummary, state: StateFilter): boolean {
  if (state === "") return true;
  if (state === "active") return isActive(run.state) || run.state === "queued";
  if (state === "problem") return run.problem !== null;
  return run.state === state;
}

/** The runs that pass; every word of the text has to occur somewhere. */
export function filtered(runs: readonly RunSummary[], filter: Filter): RunSummary[] {
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  return runs.filter((run) => {
    if (!passesState(run, filter.state)) return false;
    if (filter.model !== "" && run.model_name !== filter.model) return false;
    if (filter.targets !== "" && targetsOf(run) !== filter.targets) return false;
    if (filter.method !== "" && run.method !== filter.method) return false;
    if (words.length === 0) return true;
    const text =
      `${run.adapter} ${run.id} ${run.model} ${run.model_name} ${targetsOf(run)} rank ${run.rank} ${methodTitle(run.method)} ${run.train_data} ${run.state} ${run.problem?.message ?? ""}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

function valueOf(run: RunSummary, key: SortKey): string | number | null {
  switch (key) {
    case "state":
      return STATES.indexOf(run.state);
    case "name":
      return run.adapter;
    case "model":
      return run.model_name;
    case "targets":
      return `${targetsOf(run)} ${String(run.rank).padStart(6, "0")}`;
    case "data":
      return run.train_data;
    case "loss":
      return run.best_loss;
    case "gain":
      return improvement(run) ?? rewardGain(run);
    case "seconds":
      return run.seconds;
    case "step":
      return run.step;
    case "created":
      return run.created;
  }
}

/** Numbers in names count as numbers. */
const COLLATOR = new Intl.Collator("en", { numeric: true });

/** In order; what has no value comes last either way, and equals stay newest first. */
export function sorted(runs: readonly RunSummary[], { key, up }: Sort): RunSummary[] {
  const sign = up ? 1 : -1;
  return [...runs].sort((a, b) => {
    const [left, right] = [valueOf(a, key), valueOf(b, key)];
    if (left === null || right === null) return left === right ? b.created - a.created : left === null ? 1 : -1;
    const order = typeof left === "string" ? COLLATOR.compare(left, String(right)) : left - Number(right);
    return order === 0 ? b.created - a.created : sign * order;
  });
}

/** The distinct values of a property, in order, for a filter. */
export function distinct(runs: readonly RunSummary[], of: (run: RunSummary) => string): string[] {
  return [...new Set(runs.map(of))].filter((value) => value !== "").sort((a, b) => a.localeCompare(b, "en"));
}
