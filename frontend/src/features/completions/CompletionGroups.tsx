import { useState } from "react";

import type { SampledCompletion } from "@/api";
import { Badge, Table, Td, Th } from "@/components/ui";
import { rewardText } from "@/features/metrics/score";
import { cx } from "@/lib/cx";
import { count, integer } from "@/lib/format";
import { useNarrow } from "@/lib/hooks";

import { groupsOf, rewardsOf, signed } from "./rows";
import type { Group } from "./rows";

const LONG = 280;

/** A text as it is, line ends included; a long one is cut until it is asked for. */
function Text({ text, what, mono }: { text: string; what: string; mono?: boolean }) {
  const [whole, setWhole] = useState(false);
  const long = text.length > LONG || text.split("\n").length > 6;
  if (text === "") return <span className="text-muted italic">nothing</span>;
  return (
    <>
      <span
        className={cx(
          "whitespace-pre-wrap wrap-anywhere",
          mono && "font-mono text-xs",
          long && !whole && "line-clamp-5",
        )}
      >
        {text}
      </span>
      {long && (
        <button
          type="button"
          aria-expanded={whole}
          onClick={() => setWhole(!whole)}
          className="mt-0.5 rounded text-xs font-medium text-accent underline-offset-2 hover:underline"
        >
          {whole ? "Show less" : `Show the whole ${what}`}
        </button>
      )}
    </>
  );
}

function Advantage({ value }: { value: number }) {
  return <span className={value > 0 ? "text-good" : value < 0 ? "text-bad" : "text-muted"}>{signed(value)}</span>;
}

function Tokens({ row }: { row: SampledCompletion }) {
  return (
    <span className="inline-flex flex-wrap items-center justify-end gap-1">
      {row.truncated && <Badge tone="warn">cut off</Badge>}
      {integer(row.tokens)}
    </span>
  );
}

interface Shown {
  rows: readonly SampledCompletion[];
  rewards: readonly string[];
}

function Wide({ rows, rewards, label }: Shown & { label: string }) {
  return (
    <Table label={label} className="[&_tr:last-child>td]:border-b-0">
      <thead>
        <tr>
          <Th>Completion</Th>
          {rewards.map((name) => (
            <Th key={name} right>
              {name}
            </Th>
          ))}
          <Th right>Sum</Th>
          <Th right>Advantage</Th>
          <Th right>Tokens</Th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row, at) => (
          <tr key={at}>
            <Td className="min-w-72">
              <Text text={row.completion} what="completion" />
            </Td>
            {rewards.map((name) => (
              <Td key={name} right>
                {rewardText(row.rewards[name])}
              </Td>
            ))}
            <Td right className="font-semibold">
              {rewardText(row.reward)}
            </Td>
            <Td right>
              <Advantage value={row.advantage} />
            </Td>
            <Td right>
              <Tokens row={row} />
            </Td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

/** The same one under the other, for narrow screens. */
function Narrow({ rows, rewards, label }: Shown & { label: string }) {
  return (
    <ul aria-label={label} className="divide-y divide-line">
      {rows.map((row, at) => (
        <li key={at} className="space-y-1.5 p-3 text-[0.8125rem]">
          <div>
            <Text text={row.completion} what="completion" />
          </div>
          <dl className="flex flex-wrap gap-x-4 gap-y-1 text-xs">
            {rewards.map((name) => (
              <div key={name} className="flex gap-1">
                <dt className="text-muted wrap-anywhere">{name}</dt>
                <dd>{rewardText(row.rewards[name])}</dd>
              </div>
            ))}
            <div className="flex gap-1">
              <dt className="text-muted">sum</dt>
              <dd className="font-semibold">{rewardText(row.reward)}</dd>
            </div>
            <div className="flex gap-1">
              <dt className="text-muted">advantage</dt>
              <dd>
                <Advantage value={row.advantage} />
              </dd>
            </div>
            <div className="flex gap-1">
              <dt className="text-muted">tokens</dt>
              <dd>
                <Tokens row={row} />
              </dd>
            </div>
          </dl>
        </li>
      ))}
    </ul>
  );
}

function OneGroup({ group, rewards }: { group: Group; rewards: readonly string[] }) {
  const narrow = useNarrow();
  const Rows = narrow ? Narrow : Wide;
  const name = group.place === "" ? "the prompt" : (group.place.split("/").at(-1) ?? group.place);
  return (
    <article className="overflow-hidden rounded-md border border-line" aria-label={`Completions of ${name}`}>
      <header className="space-y-1 border-b border-line bg-sunken px-3 py-2 text-[0.8125rem]">
        <p className="flex flex-wrap items-center gap-x-2 gap-y-1 text-xs text-muted">
          <span className="font-medium wrap-anywhere">{name}</span>
          <span>{count(group.rows.length, "completion")}</span>
          {group.tied && (
            <span title="All of them earned the same, so none is better than the others: nothing is learned here">
              <Badge tone="warn">tied</Badge>
            </span>
          )}
        </p>
        <Text text={group.prompt} what="prompt" />
      </header>
      <Rows rows={group.rows} rewards={rewards} label={`Completions and rewards of ${name}`} />
    </article>
  );
}

/** Completions with what each reward gave them; a prompt's together, the prompt said once. */
export function CompletionGroups({ rows }: { rows: readonly SampledCompletion[] }) {
  const rewards = rewardsOf(rows);
  return (
    <div className="space-y-3">
      {groupsOf(rows).map((group) => (
        <OneGroup key={`${group.place} ${group.prompt}`} group={group} rewards={rewards} />
      ))}
    </div>
  );
}
