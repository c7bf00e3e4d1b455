/** What an experiment is doing, in words and colours. */

import type { ExperimentState } from "@/api";
import type { Tone } from "@/lib/tone";

interface Look {
  text: string;
  tone: Tone;
}

export function lookOf(state: ExperimentState): Look {
  switch (state) {
    case "planning":
      return { text: "being planned", tone: "info" };
    case "refused":
      return { text: "plan refused", tone: "bad" };
    case "planned":
      return { text: "ready to start", tone: "info" };
    case "running":
      return { text: "running", tone: "info" };
    case "waiting":
      return { text: "about to continue", tone: "info" };
    case "stopped":
      return { text: "paused", tone: "warn" };
    case "halted":
      return { text: "halted", tone: "bad" };
    case "finished":
      return { text: "finished", tone: "good" };
  }
}

/** Whether something may change by itself. */
export function isMoving(state: ExperimentState): boolean {
  return state === "planning" || state === "running" || state === "waiting";
}
