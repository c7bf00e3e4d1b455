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
