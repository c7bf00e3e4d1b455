/** What the states of a run are called, and how they look. */

import {
  Ban,
  CircleAlert,
  CircleCheck,
  CircleDashed,
  CirclePause,
  Clock,
  FileX,
  LoaderCircle,
  Skull,
  TriangleAlert,
} from "lucide-react";
import type { LucideIcon } from "lucide-react";

import type { RunState, RunSummary } from "@/api";
import type { Tone } from "@/lib/tone";

interface StateLook {
  label: string;
  tone: Tone;
  icon: LucideIcon;
}

const LOOKS: Record<RunState, StateLook> = {
  created: { label: "Not started", tone: "neutral", icon: CircleDashed },
  queued: { label: "Waiting", tone: "info", icon: Clock },
  running: { label: "Running", tone: "info", icon: LoaderCircle },
  stopping: { label: "Stopping", tone: "warn", icon: Ban },
  stalled: { label: "Stalled", tone: "warn", icon: TriangleAlert },
  stopped: { label: "Stopped", tone: "neutral", icon: CirclePause },
  finished: { label: "Finished", tone: "good", icon: CircleCheck },
  failed: { label: "Failed", tone: "bad", icon: CircleAlert },
  crashed: { label: "Crashed", tone: "bad", icon: Skull },
  unreadable: { label: "Unreadable", tone: "bad", icon: FileX },
};

/** Whether it finished before its last planned step: patience ran out. */
export function finishedEarly(run: RunSummary): boolean {
  return run.state === "finished" && run.steps !== null && run.step < run.steps;
}

/** Word, tone and icon for a run's state. */
export function lookOf(run: RunSummary): StateLook {
  const look = LOOKS[run.state];
  if (run.state === "queued" && run.queue_position !== null)
    return { ...look, label: `Waiting, ${ordinal(run.queue_position + 1)}` };
  return finishedEarly(run) ? { ...look, label: "Finished early" } : look;
}

/** The plain name of a state, for filters. */
export function stateLabel(state: RunState): string {
  return LOOKS[state].label;
}

function ordinal(position: number): string {
  const ending =
    position % 100 > 10 && position % 100 < 14 ? "th" : (["th", "st", "nd", "rd"][position % 10] ?? "th");
  return `${position}${ending}`;
}
