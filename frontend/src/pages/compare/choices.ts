/** Which models and adapters can be chosen, and which go together. */

import * as z from "zod/mini";

import type { AdapterEntry, ModelEntry } from "@/api";

/** An adapter and which of its weights: `latest`, `best` or a step. */
export const CHOSEN = z.object({ name: z.string(), which: z.string() });
export type Chosen = z.infer<typeof CHOSEN>;

export const MOST_ADAPTERS = 3;

/** As the server takes it. */
export function refOf({ name, which }: Chosen): string {
  return `${name}@${which}`;
}

/** The parts of `name@which`; `which` is empty where none is named. */
export function splitRef(ref: string): Chosen {
  const [name = "", which = ""] = ref.split("@");
  return { name, which };
}

/** With weights where none are named: the best, or the latest where none are best. */
export function settled({ name, which }: Chosen, adapters: readonly AdapterEntry[]): Chosen {
  return { name, which: which === "" ? usual(adapters.find((entry) => entry.name === name)) : which };
}

/** The weights to begin with. */
export function usual(entry: AdapterEntry | undefined): string {
  return entry === undefined || entry.weights.includes("best") ? "best" : (entry.weights[0] ?? "latest");
}

export function isUsable(model: ModelEntry): boolean {
  return model.installed && model.problem === "";
}

/** The folder's name of a path, or a hub id, also where it is spelled as a folder of the hub's cache. */
function modelName(ref: string): string {
  const cached = /models--([^/]+)--([^/]+)/.exec(ref);
  if (cached) return `${cached[1] ?? ""}/${cached[2] ?? ""}`;
  return ref.startsWith("/") || ref.startsWith("~") ? (ref.split("/").findLast((part) => part !== "") ?? ref) : ref;
}

/**
 * Whether an adapter says that it was trained on that model, as far as names tell. For order and marks only: the
 * server compares the weights themselves when it answers.
 */
export function isTrainedOn(adapter: AdapterEntry, model: string): boolean {
  return adapter.base !== null && (adapter.base === model || modelName(adapter.base) === modelName(model));
}

/** Those of the model first, newest first among equals: a run's adapter bears its date. */
export function ordered(adapters: readonly AdapterEntry[], model: string): AdapterEntry[] {
  const rank = (entry: AdapterEntry) => (entry.problem !== "" ? 2 : isTrainedOn(entry, model) ? 0 : 1);
  return [...adapters].sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? 1 : -1));
}

/** The model to begin with: that of the adapters asked for, else of the newest adapter, else the first. */
export function guessModel(
  models: readonly ModelEntry[],
  adapters: readonly AdapterEntry[],
  wanted: readonly string[] = [],
): string {
  const usable = models.filter(isUsable);
  const asked = wanted.map((name) => adapters.find((entry) => entry.name === name));
  const newest = adapters.filter((entry) => entry.problem === "").sort((a, b) => (a.name < b.name ? 1 : -1));
  for (const adapter of [...asked, ...newest]) {
    const base = adapter && usable.find((model) => isTrainedOn(adapter, model.ref));
    if (base) return base.ref;
  }
  return usable[0]?.ref ?? "";
}

/** The adapters to begin with: the newest that was trained on the model. */
export function guessAdapters(adapters: readonly AdapterEntry[], model: string): Chosen[] {
  const entry = ordered(adapters, model).find((each) => each.problem === "" && isTrainedOn(each, model));
  return entry ? [{ name: entry.name, which: usual(entry) }] : [];
}

/** In words: `best weights`, `step 200`. */
export function whichLabel(which: string): string {
  if (which === "best") return "best (lowest validation loss)";
  return which === "latest" ? "latest" : `step ${which}`;
}

/** A side's name: `Base`, or the adapter with its weights. */
export function sideName(adapter: string | null): string {
  if (adapter === null) return "Base";
  const [name = "", which = ""] = adapter.split("@");
  return which === "" ? name : `${name} · ${/^\d+$/.test(which) ? `step ${which}` : which}`;
}
