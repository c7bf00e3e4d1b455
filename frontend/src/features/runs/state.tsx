/** What each state of a run is called and how it looks, and where a run is found. */

import {
  Ban,
  CircleAlert,
  CircleCheck,
  CircleDashed,
  CirclePause,
  CirclePlay,
  Clock,
  FileQuestion,
  Hourglass,
  TriangleAlert,
} from "lucide-react";
import type { LucideIcon } from "lucide-react";

import type { RunState, RunSummary } from "@/api";
import { Badge } from "@/components/ui";
import type { Tone } from "@/lib/tone";

interface StateLook {
  label: string;
  tone: Tone;
  icon: LucideIcon;
  /** What it means, in a sentence. */
  text: string;
}

const STALLED = "The worker is alive but has stopped reporting.";

export const LOOKS: Readonly<Record<RunState, StateLook>> = {
  created: { label: "Not started", tone: "neutral", icon: CircleDashed, text: "It is neither running nor queued." },
  queued: { label: "Waiting", tone: "info", icon: Clock, text: "It starts when those before it have ended." },
  running: { label: "Running", tone: "info", icon: CirclePlay, text: "Its worker is running." },
  stopping: { label: "Stopping", tone: "warn", icon: Hourglass, text: "It saves a checkpoint, then ends." },
  stalled: { label: "Stalled", tone: "warn", icon: TriangleAlert, text: STALLED },
  stopped: { label: "Stopped", tone: "neutral", icon: CirclePause, text: "It ended with a checkpoint saved." },
  finished: { label: "Finished", tone: "good", icon: CircleCheck, text: "It completed." },
  failed: { label: "Failed", tone: "bad", icon: CircleAlert, text: "It ended with an error." },
  crashed: { label: "Crashed", tone: "bad", icon: Ban, text: "The worker ended without saying why." },
  unreadable: { label: "Unreadable", tone: "bad", icon: FileQuestion, text: "Its folder cannot be read." },
};

/** A state with its place in the queue, or that patience ran out before the last planned step. */
function exactLabel({ state, queue_position: place, step, steps }: RunSummary): string {
  if (state === "queued" && place !== null) return `Waiting, ${ordinal(place + 1)}`;
  return state === "finished" && steps !== null && step < steps ? "Finished early" : LOOKS[state].label;
}

function ordinal(position: number): string {
  const teen = position % 100 > 10 && position % 100 < 14;
  return `${position}${teen ? "th" : (["th", "st", "nd", "rd"][position % 10] ?? "th")}`;
}

/** The state as a word with its sign and colour; where it is not said exactly, what it means is its tooltip. */
export function StateBadge({ run, exact }: { run: RunSummary; exact?: boolean }) {
  const { label, tone, icon, text } = LOOKS[run.state];
  const badge = (
    <Badge tone={tone} icon={icon}>
      {exact ? exactLabel(run) : label}
    </Badge>
  );
  return exact ? badge : <span title={text}>{badge}</span>;
}

/** A run's page among the results. */
export function runLink(run: string): string {
  return `/results/${encodeURIComponent(run)}`;
}

/** A run's page while it trains. */
export function trainingLink(run: string): string {
  return `/training/${encodeURIComponent(run)}`;
}

/** Where an adapter, such as `till@200`, is exported. */
export function exportLink(adapter: string): string {
  return `/results/export?${new URLSearchParams({ adapter }).toString()}`;
}

/** Where Compare opens with a model and an adapter, such as `till@200`. */
export function compareLink(model: string, adapter: string): string {
  return `/compare?${new URLSearchParams({ model, adapter }).toString()}`;
}
