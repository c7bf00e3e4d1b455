import { Fragment } from "react";

/** Text in which `backticks` stand for code, as settings' help has them. */
export function Prose({ text }: { text: string }) {
  return text.split("`").map((part, at) =>
    at % 2 === 1 ? (
      <code key={at} className="font-mono text-[0.95em]">
        {part}
      </code>
    ) : (
      <Fragment key={at}>{part}</Fragment>
    ),
  );
}
