/** Whether a run could be started, and if not, why. */

import type { DataCheck, DraftReport, FieldProblem, ModelEntry } from "@/api";
import type { Connection } from "@/app/live";
import { count, sentence } from "@/lib/format";

import type { Problems } from "./draft";
import { labelOf } from "./labels";

export interface Reason {
  /** The setting to mend. */
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
  const found: Reason[] = [];
  if (config["model_path"] === undefined) found.push({ field: "model_path", text: "Choose a model." });
  if (config["train_data_path"] === undefined)
    found.push({ field: "train_data_path", text: "Choose the training data." });
  if (model && !model.installed) found.push({ field: "model_path", text: "The model has to be fetched first." });
  if (standing.targetsFailed !== null) found.push({ field: "model_path", text: standing.targetsFailed });
  if (standing.presetProblem !== null) found.push({ field: "lora_targets", text: standing.presetProblem });
  if (check && check.fault_count > 0) {
    found.push({
      field: "train_data_path",
      text: `${count(check.fault_count, "row")} of the data cannot be trained on.`,
    });
  }
  if (standing.checkFailed !== null) found.push({ field: "train_data_path", text: standing.checkFailed });
  for (const [name, message] of Object.entries(problems))
    found.push({ field: name, text: `${labelOf(name)}: ${message}` });
  for (const { message } of general) found.push({ field: null, text: message });
  if (standing.connection === "lost") found.push({ field: null, text: "There is no connection to the server." });
  return found.map(({ field, text }) => ({ field, text: sentence(text) }));
}
