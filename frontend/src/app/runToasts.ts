/** A toast when a run ends, wherever the reader is. */

import { useEffect, useRef } from "react";

import type { RunState, RunSummary } from "@/api";
import { scoreOf, scoreText } from "@/features/metrics/score";
import { useRuns, useToast } from "@/state/hooks";
import { isActive } from "@/state/live";
import type { Toast } from "@/state/toasts";

/** What to say about a run that went from being at work to `run.state`; nothing for states that are no end. */
export function endOf(run: RunSummary): Omit<Toast, "id"> | null {
  const link = { to: `/results/${run.id}`, label: "Open the result" };
  const best = scoreOf(run);
  switch (run.state) {
    case "finished":
      return {
        tone: "good",
        title: `${run.adapter} finished`,
        text: best.best === null ? undefined : `Best ${best.name} ${scoreText(best.kind, best.best)}.`,
        link,
      };
    case "stopped":
      return {
        tone: "info",
        title: `${run.adapter} stopped`,
        text: `Checkpoint saved at step ${run.checkpoint_step ?? run.step}.`,
        link,
      };
    case "failed":
    case "crashed":
      return { tone: "bad", title: `${run.adapter} ${run.state}`, text: run.problem?.message, link };
    default:
      return null;
  }
}

/** Watch all runs and say which ended. */
export function useRunToasts(): void {
  const { runs, ready } = useRuns();
  const toast = useToast();
  const before = useRef<Map<string, RunState> | null>(null);
  useEffect(() => {
    if (!ready) return;
    for (const run of runs) {
      const state = before.current?.get(run.id);
      const said = state !== undefined && isActive(state) ? endOf(run) : null;
      if (said) toast(said);
    }
    before.current = new Map(runs.map((run) => [run.id, run.state]));
  }, [runs, ready, toast]);
}
