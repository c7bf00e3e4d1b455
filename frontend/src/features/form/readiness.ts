/** Whether a run could be started, and if not, why. */

import type { ApiError, DataCheck, DraftReport, FieldProblem, ModelEntry, PresetReport } from "@/api";
import { bytes, count, sentence } from "@/lib/format";
import type { Connection } from "@/state/live";

import type { Problems } from "./draft";
import { labelOf } from "./labels";

export interface Reason {
  /** The setting to fix. */
  field: string | null;
  text: string;
}

export interface Standing {
  config: Record<string, unknown>;
  problems: Problems;
  /** Problems between several settings. */
  general: readonly FieldProblem[];
  report: DraftReport | undefined;
  check: DataCheck | undefined;
  checkFailed: string | null;
  targetsFailed: string | null;
  /** Why the chosen targets match nothing in the model. */
  presetProblem: string | null;
  model: ModelEntry | undefined;
  connection: Connection;
}

/** Everything that keeps the run from starting; nothing means ready. */
export function reasons(standing: Standing): Reason[] {
  const { config, problems, general, check, model } = standing;
  const reasons: Reason[] = [];
  if (config["model_path"] === undefined) reasons.push({ field: "model_path", text: "Choose a model." });
  if (config["train_data_path"] === undefined)
    reasons.push({ field: "train_data_path", text: "Choose the training data." });
  if (model && !model.installed) reasons.push({ field: "model_path", text: "Fetch the model first." });
  if (standing.targetsFailed !== null) reasons.push({ field: "model_path", text: standing.targetsFailed });
  if (standing.presetProblem !== null) reasons.push({ field: "lora_targets", text: standing.presetProblem });
  if (check && check.fault_count > 0) {
    reasons.push({
      field: "train_data_path",
      text: `${count(check.fault_count, "row")} of the data cannot be trained on.`,
    });
  }
  if (standing.checkFailed !== null) reasons.push({ field: "train_data_path", text: standing.checkFailed });
  for (const [name, message] of Object.entries(problems))
    reasons.push({ field: name, text: `${labelOf(name)}: ${message}` });
  for (const { message } of general) reasons.push({ field: null, text: message });
  if (standing.connection === "lost") reasons.push({ field: null, text: "There is no connection to the server." });
  return reasons.map(({ field, text }) => ({ field, text: sentence(text) }));
}

/** Model and data are asked for by the readiness, not by red fields that nobody has touched. */
const REQUIRED: ReadonlySet<string> = new Set(["model_path", "train_data_path"]);

/** The same trouble is told once: what was typed cannot be read, or the server refuses it, alone or with the model. */
export function merge(
  own: Problems,
  problems: readonly FieldProblem[],
  refusals: readonly (ApiError | undefined)[],
): Problems {
  const all: Record<string, string> = {};
  for (const { field, message } of problems) if (field !== null && !REQUIRED.has(field)) all[field] = message;
  for (const refusal of refusals) if (refusal?.field) all[refusal.field] ??= refusal.message;
  return { ...all, ...own };
}

/** A doubt and no refusal: the estimate is one, and what is free changes. */
export function memoryWarning(preset: PresetReport | undefined): string | null {
  if (!preset?.memory || preset.verdict === null || preset.verdict === "fits") return null;
  const size = bytes(preset.memory.total);
  return preset.verdict === "tight"
    ? `Memory is tight: about ${size} at the peak.`
    : `This probably won't fit: the peak, about ${size}, exceeds the memory available. See LoRA for what helps.`;
}
