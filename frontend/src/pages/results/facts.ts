/** Short texts about a run that list, page and overlay share. */

import type { RunSummary } from "@/api";
import { scoreOf } from "@/features/metrics/score";
import { familyOf } from "@/lib/methods";

/** By how much the mean reward rose; null for runs that are judged by a loss. */
export function rewardGain(run: RunSummary): number | null {
  const { kind, first, best } = scoreOf(run);
  return kind === "reward" && first !== null && best !== null ? best - first : null;
}

/** What is trained: `full-layer, rank 32`, `every weight`. */
export function targetsOf(run: RunSummary): string {
  if (run.fine_tune_type === "full") return "every weight";
  return `${run.fine_tune_type === "dora" ? "DoRA " : ""}${run.targets}`;
}

/** The same with the rank. */
export function targetsAndRank(run: RunSummary): string {
  return run.fine_tune_type === "full" ? targetsOf(run) : `${targetsOf(run)}, rank ${run.rank}`;
}

/** The share by which the validation loss fell, negative when it rose; null where either is unknown. */
export function improvement(run: RunSummary): number | null {
  // A reward may begin at zero or below it: its gain is no share of anything.
  if (familyOf(run.method) === "rewards") return null;
  if (run.first_loss === null || run.best_loss === null || run.first_loss === 0) return null;
  return (run.first_loss - run.best_loss) / run.first_loss;
}

/** A fall as `−98.9 %`; small ones keep more digits. */
export function fall(share: number): string {
  const percent = share * 100;
  const digits = Math.abs(percent) >= 10 ? 1 : Math.abs(percent) >= 1 ? 2 : 3;
  if (Number(percent.toFixed(3)) === 0) return "0 %";
  return `${percent > 0 ? "−" : "+"}${Math.abs(percent).toFixed(digits)} %`;
}

/** Where runs are laid over one another. */
export function overlayLink(runs: readonly string[]): string {
  return `/results/overlay?${new URLSearchParams(runs.map((run) => ["run", run])).toString()}`;
}

/** A zip with an adapter's weights. `which` is best, latest or a step. */
export function downloadLink(adapter: string, which: string): string {
  return `/api/adapters/${encodeURIComponent(adapter)}/download?${new URLSearchParams({ which }).toString()}`;
}

/** A message of the server as a sentence begins, unless it begins with a name such as `adapters.safetensors`. */
export function capital(text: string): string {
  return /^[a-z]+([ ,:;']|[.?!]$)/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
}

/** An error's message and what to do about it, as sentences. */
export function sentences(message: string, hint: string): string {
  return [message, hint]
    .filter((part) => part !== "")
    .map((part) => capital(/[.?!]$/.test(part) ? part : `${part}.`))
    .join(" ");
}
