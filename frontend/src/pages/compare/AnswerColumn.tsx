/** One side's answer as it comes, its figures, and what was on the base. */

import { CircleAlert, LoaderCircle, ThumbsUp, TriangleAlert } from "lucide-react";
import { useId } from "react";
import type { ReactNode } from "react";

import type { AdapterDetails } from "@/api";
import { Badge, CopyButton, Disclosure, ErrorNote } from "@/components/ui";
import { cx } from "@/lib/cx";
import { count, sentence, significant, speed } from "@/lib/format";

import { sideName } from "./choices";
import { isAnswering, isHidden, letter } from "./comparison";
import type { Comparison, Side } from "./comparison";

const SWATCHES = ["bg-s1", "bg-s2", "bg-s3"] as const;

/** Base is grey, adapters have the colours of their places in the request's list. */
function swatch(comparison: Comparison, side: Side): string {
  if (isHidden(comparison) || side.adapter === null) return "bg-edge";
  const adapters = comparison.sides.map(({ adapter }) => adapter).filter((adapter) => adapter !== null);
  // Shuffled or not, a name keeps its colour.
  const place = (comparison.blind ? [...adapters].sort() : adapters).indexOf(side.adapter);
  return SWATCHES[place % SWATCHES.length] ?? "bg-edge";
}

export function AnswerColumn({ comparison, index }: { comparison: Comparison; index: number }) {
  const id = useId();
  const side = comparison.sides[index];
  if (!side) return null;
  const hidden = isHidden(comparison);
  const answering = isAnswering(comparison, side);
  const name = hidden ? `Answer ${letter(index)}` : sideName(side.adapter);
  return (
    <section
      aria-labelledby={id}
      className={cx(
        "flex min-w-0 flex-col rounded-lg border bg-surface shadow-card",
        comparison.vote === index ? "border-accent" : "border-line",
      )}
    >
      <header className="flex min-h-12 items-center gap-2 border-b border-line px-4 py-2">
        <span aria-hidden className={cx("size-2.5 shrink-0 rounded-sm", swatch(comparison, side))} />
        <h3 id={id} className="min-w-0 flex-1 text-[0.8125rem] font-semibold wrap-anywhere">
          {name}
        </h3>
        {comparison.blind && !hidden && <Badge>was {letter(index)}</Badge>}
        {comparison.vote === index && (
          <Badge tone="good" icon={ThumbsUp}>
            your vote
          </Badge>
        )}
        {side.text !== "" && !answering && (
          <CopyButton text={side.text} label={`Copy the answer of ${name}`} iconOnly />
        )}
      </header>
      <div className="flex-1 space-y-3 px-4 py-3">
        <Answer side={side} answering={answering} name={name} comparison={comparison} />
        {side.error !== null && (hidden ? <HiddenError /> : <ErrorNote error={side.error} />)}
      </div>
      {!hidden && <Footer comparison={comparison} side={side} />}
    </section>
  );
}

/** Its message names the adapter. */
function HiddenError() {
  return (
    <p className="flex items-center gap-2 text-[0.8125rem] text-bad">
      <CircleAlert className="size-4 shrink-0" aria-hidden />
      This side could not answer.
    </p>
  );
}

function Answer({
  side,
  answering,
  name,
  comparison,
}: {
  side: Side;
  answering: boolean;
  name: string;
  comparison: Comparison;
}) {
  if (side.text === "") {
    if (answering) return <Waiting comparison={comparison} side={side} />;
    if (side.error !== null) return null;
    return <p className="text-muted italic">{side.end === null ? "No answer." : "An empty answer."}</p>;
  }
  return (
    <div
      role="group"
      aria-label={`${name}: text`}
      aria-busy={answering}
      className="text-sm whitespace-pre-wrap wrap-anywhere"
    >
      {side.text}
      {answering && (
        <span aria-hidden className="ml-0.5 inline-block h-4 w-1.5 animate-pulse bg-accent align-text-bottom" />
      )}
    </div>
  );
}

function Waiting({ comparison, side }: { comparison: Comparison; side: Side }) {
  // Once one side has begun, who is ready before whom could tell them apart.
  const ready = side.details !== null && !isHidden(comparison);
  return (
    <p aria-busy className="flex items-center gap-2 text-[0.8125rem] text-muted">
      <LoaderCircle className="size-4 animate-spin" aria-hidden />
      {ready ? "Reading the prompt…" : "Waiting…"}
    </p>
  );
}

function Footer({ comparison, side }: { comparison: Comparison; side: Side }) {
  const { end, details } = side;
  if (end === null && details === null) return null;
  return (
    <footer className="border-t border-line px-4 py-2.5">
      {end !== null && (
        <p className="flex flex-wrap items-center gap-x-3 gap-y-1 text-xs text-muted">
          <span>{count(end.tokens, "token")}</span>
          <span title="Of this side's own computing, after its first token">{speed(end.speed)}</span>
          <span>{count(end.promptTokens, "prompt token")}</span>
          {end.reason === "length" ? <Badge tone="warn">cut off at the limit</Badge> : <span>ended by itself</span>}
        </p>
      )}
      {end === null && comparison.state === "stopped" && (
        <p className="text-xs text-muted">Stopped before its end.</p>
      )}
      {details?.warnings.map((warning) => (
        <p key={warning.code} className="mt-1.5 flex items-start gap-1.5 text-xs wrap-anywhere text-warn">
          <TriangleAlert className="mt-px size-3.5 shrink-0" aria-label="Warning" />
          <span className="min-w-0">{sentence(warning.message)}</span>
        </p>
      ))}
      {details !== null && (
        <Disclosure title={side.adapter === null ? "Details" : "Adapter details"} aside={inShort(details)}>
          <AdapterFacts details={details} />
        </Disclosure>
      )}
    </footer>
  );
}

function inShort({ rank, scale }: AdapterDetails): string {
  return rank === null ? "" : `rank ${rank}, scale ${significant(scale)}`;
}

function AdapterFacts({ details }: { details: AdapterDetails }) {
  return (
    <dl className="space-y-1 text-xs">
      {facts(details).map(([label, value]) => (
        <div key={label} className="grid grid-cols-[7.5rem_minmax(0,1fr)] gap-x-2">
          <dt className="text-muted">{label}</dt>
          <dd className="wrap-anywhere">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function facts(details: AdapterDetails): [string, ReactNode][] {
  const template: [string, ReactNode] = ["chat template", details.chat_template_used ? "used" : "not used"];
  if (details.name === null) {
    return [["weights", "the base alone"], ["layers", details.expected_layers], template];
  }
  const known = (value: number | null) => (value === null ? "not known" : significant(value, 4));
  return [
    ["adapter", details.name],
    ["weights", details.type],
    ["rank", known(details.rank)],
    ["alpha", known(details.alpha)],
    ["scale", details.scale === null ? "not known" : `${significant(details.scale, 4)} (alpha / rank)`],
    ["dropout", details.dropout === null ? "not known" : `${details.dropout} (in training only)`],
    ["layers", `${details.num_layers ?? "not known"} of ${details.expected_layers}`],
    ["keys", details.keys === null ? "not known" : details.keys.join(", ")],
    template,
    ["trained on", details.model_recorded ?? "not recorded"],
    ["moves logits by", details.max_logit_change === null ? "not measured" : movement(details.max_logit_change)],
  ];
}

function movement(change: number): string {
  if (change === 0) return "0: it changes nothing";
  return `up to ${significant(change)} on a short English text`;
}
