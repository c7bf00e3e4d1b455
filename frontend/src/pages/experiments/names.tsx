/** Names and settings in running text: on narrow pages they break after an underscore, a slash or a comma. */

import { Fragment } from "react";

import type { ExperimentState } from "@/api";
import { settingText } from "@/features/form/settingText";
import type { Tone } from "@/lib/tone";

export function Breakable({ text }: { text: string }) {
  return text.split(/(?<=[_/,])(?=\S)/).map((part, at) => (
    <Fragment key={at}>
      {at > 0 && <wbr />}
      {part}
    </Fragment>
  ));
}

/** `lora_targets mlp, lora_rank 8`; a setting that fits into a line is not broken. */
export function SettingsLine({ settings }: { settings: Readonly<Record<string, unknown>> }) {
  return Object.entries(settings).map(([name, value], at, all) => (
    <Fragment key={name}>
      <span className="inline-block">
        <Breakable text={`${name} ${settingText(value)}`} />
        {at < all.length - 1 && ","}
      </span>{" "}
    </Fragment>
  ));
}

/** What an experiment is doing, in words and colours. */
export const LOOKS: Readonly<Record<ExperimentState, { text: string; tone: Tone }>> = {
  planning: { text: "being planned", tone: "info" },
  refused: { text: "plan refused", tone: "bad" },
  planned: { text: "ready to start", tone: "info" },
  running: { text: "running", tone: "info" },
  waiting: { text: "about to continue", tone: "info" },
  stopped: { text: "paused", tone: "warn" },
  halted: { text: "halted", tone: "bad" },
  finished: { text: "finished", tone: "good" },
};

/** Whether something may change by itself. */
export function isMoving(state: ExperimentState): boolean {
  return state === "planning" || state === "running" || state === "waiting";
}
