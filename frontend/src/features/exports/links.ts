/** Where exports are found, and what they are called. */

import type { ExportEntry } from "@/api";
import type { Tone } from "@/lib/tone";

/** The page of an export. */
export function exportPage(name: string): string {
  return `/results/exports/${encodeURIComponent(name)}`;
}

/** A zip with all its files. */
export function archiveLink(name: string): string {
  return `/api/exports/${encodeURIComponent(name)}/archive`;
}

/** Whether an export may be used, as a word. */
export function stateOf({ certificate, problem }: ExportEntry): { label: string; tone: Tone } {
  if (certificate?.verdict === "failed") return { label: "Failed", tone: "bad" };
  if (problem !== "" || certificate === null) return { label: "Cannot be used", tone: "bad" };
  if (certificate.verdict === "unproven") return { label: "Unproven", tone: "warn" };
  return { label: "Passed", tone: "good" };
}
