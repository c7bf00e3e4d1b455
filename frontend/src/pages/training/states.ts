/** What each state of a run is called and how it looks. */

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

import type { RunState } from "@/api";
import type { Tone } from "@/lib/tone";

export interface StateLook {
  label: string;
  tone: Tone;
  icon: LucideIcon;
  /** What it means, in a sentence. */
  text: string;
}

/** Label, tone and meaning of a state. */
export function lookOf(state: RunState): StateLook {
  switch (state) {
    case "created":
      return { label: "Not started", tone: "neutral", icon: CircleDashed, text: "It is neither running nor queued." };
    case "queued":
      return { label: "Waiting", tone: "info", icon: Clock, text: "It starts when those before it have ended." };
    case "running":
      return { label: "Running", tone: "info", icon: CirclePlay, text: "Its worker is running." };
    case "stopping":
      return { label: "Stopping", tone: "warn", icon: Hourglass, text: "It saves a checkpoint, then ends." };
    case "stalled":
      return {
        label: "Stalled",
        tone: "warn",
        icon: TriangleAlert,
        text: "The worker is alive but has stopped reporting.",
      };
    case "stopped":
      return { label: "Stopped", tone: "neutral", icon: CirclePause, text: "It ended with a checkpoint saved." };
    case "finished":
      return { label: "Finished", tone: "good", icon: CircleCheck, text: "It completed." };
    case "failed":
      return { label: "Failed", tone: "bad", icon: CircleAlert, text: "It ended with an error." };
    case "crashed":
      return { label: "Crashed", tone: "bad", icon: Ban, text: "The worker ended without saying why." };
    case "unreadable":
      return { label: "Unreadable", tone: "bad", icon: FileQuestion, text: "Its folder cannot be read." };
  }
}
