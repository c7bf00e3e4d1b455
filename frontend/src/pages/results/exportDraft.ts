/** A request for an export as the form holds it, and as the server takes it. */

import type { ExportRequest, FormFacts } from "@/api";
import { parseNumber } from "@/lib/numbers";

export type ExportForm = FormFacts["form"];

export interface ExportDraft {
  /** An adapter's name and its weights, which the address holds. */
  adapter: string;
  which: string;
  form: ExportForm;
  /** Empty for the usual one. */
  type: string;
  name: string;
  into: string;
  rows: string;
  rowCount: string;
  replace: boolean;
}

export const ROW_COUNT = { min: 1, max: 10_000, integer: true } as const;

/** What is left empty is not sent; null while a number is none. */
export function requestOf(draft: ExportDraft): ExportRequest | null {
  const rows = parseNumber(draft.rowCount, ROW_COUNT);
  if (draft.adapter === "" || rows.kind === "bad") return null;
  return {
    adapter: draft.which === "" ? draft.adapter : `${draft.adapter}@${draft.which}`,
    form: draft.form,
    ...(draft.type === "" ? {} : { type: draft.type }),
    ...(draft.name.trim() === "" ? {} : { name: draft.name.trim() }),
    ...(draft.into === "" ? {} : { into: draft.into }),
    ...(draft.rows.trim() === "" ? {} : { rows: draft.rows.trim() }),
    ...(rows.kind === "number" ? { row_count: rows.value } : {}),
    ...(draft.replace ? { replace: true } : {}),
  };
}

/** `till@best` apart; without an `@` the usual weights. */
export function adapterAndWeights(text: string): { adapter: string; which: string } {
  const [adapter = "", which = ""] = text.split("@");
  return { adapter, which };
}

/** Choices of the type: the usual one first. */
export function typeOptions({ types, usual }: FormFacts): { value: string; label: string }[] {
  const rest = types.filter((type) => type !== usual);
  const first = { value: "", label: usual === null ? "as the base" : `${usual} (usual)` };
  return [first, ...rest.map((type) => ({ value: type, label: /^\d+$/.test(type) ? `${type} bits` : type }))];
}
