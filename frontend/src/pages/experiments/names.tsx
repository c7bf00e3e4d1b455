/** Names and settings in running text: on narrow pages they break after an underscore, a slash or a comma. */

import { Fragment } from "react";

import { settingText } from "@/features/form/settingText";

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
