/** Sampled completions, each beside the others of its prompt. */

import { ChevronLeft, ChevronRight, ChevronsRight, MessagesSquare } from "lucide-react";
import { useState } from "react";

import type { Completions, SampledCompletion } from "@/api";
import { Badge, Button, Card, IconButton, Table, Td, Th } from "@/components/ui";
import { rewardText } from "@/features/metrics/score";
import { cx } from "@/lib/cx";
import { count, integer } from "@/lib/format";
import { useNarrow } from "@/lib/hooks";

interface Group {
  place: string;
  prompt: string;
  rows: SampledCompletion[];
  /** Whether all that are shown have no advantage: the group teaches nothing. */
  tied: boolean;
}

/** The completions by prompt, in the order in which the prompts come up. */
export function groupsOf(rows: readonly SampledCompletion[]): Group[] {
  const groups = new Map<string, Group>();
  for (const row of rows) {
    const key = `${row.place}\n${row.prompt}`;
    const group = groups.get(key) ?? { place: row.place, prompt: row.prompt, rows: [], tied: true };
    group.rows.push(row);
    group.tied &&= row.advantage === 0;
    groups.set(key, group);
  }
  return [...groups.values()].map((group) => ({ ...group, tied: group.tied && group.rows.length > 1 }));
}

/** Names of the rewards, in the order in which they come up. */
function rewardsOf(rows: readonly SampledCompletion[]): string[] {
  return [...new Set(rows.flatMap((row) => Object.keys(row.rewards)))];
}

/** An advantage with its sign: `+1.2`, `−0.4`, `0`. */
export function signed(value: number): string {
  if (value === 0) return "0";
  return `${value > 0 ? "+" : "−"}${Math.abs(value).toFixed(2)}`;
}

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

interface Props {
  /** Oldest first; it grows while the run trains. */
  completions: readonly Completions[];
  /** What to say while there is none. */
  empty: string;
}

/** Which of the steps that showed completions is looked at; null is the newest, whichever that is. */
function StepChoice({
  completions,
  at,
  newest,
  onChoose,
}: {
  completions: readonly Completions[];
  at: number;
  newest: boolean;
  onChoose: (at: number | null) => void;
}) {
  const last = completions.length - 1;
  const step = completions[at]?.step;
  return (
    <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
      <span className="flex items-center gap-1">
        <IconButton
          icon={ChevronLeft}
          label="Previous step"
          size="sm"
          disabled={at === 0}
          onClick={() => onChoose(at - 1)}
        />
        <span className="min-w-20 text-center text-[0.8125rem] font-medium" aria-live="polite">
          step {integer(step)}
        </span>
        <IconButton
          icon={ChevronRight}
          label="Next step"
          size="sm"
          disabled={at >= last}
          onClick={() => onChoose(at + 1)}
        />
      </span>
      <input
        type="range"
        min={0}
        max={last}
        value={at}
        disabled={last === 0}
        onChange={(event) => onChoose(Number(event.target.value))}
        aria-label="Step of the completions"
        aria-valuetext={`step ${integer(step)}`}
        className="w-full accent-accent sm:w-48"
      />
      <Button size="sm" variant="ghost" icon={ChevronsRight} disabled={newest} onClick={() => onChoose(null)}>
        {newest ? "Newest" : "Jump to newest"}
      </Button>
    </div>
  );
}

/** What the model wrote and what that earned, step by step. */
export function CompletionsCard({ completions, empty }: Props) {
  const [chosen, setChosen] = useState<number | null>(null);
  const last = completions.length - 1;
  const wanted = chosen === null ? last : completions.findIndex(({ step }) => step === chosen);
  // A step that a resumed run has undone is gone: then the newest.
  const at = wanted < 0 ? last : wanted;
  const shown = completions[at];
  const choose = (place: number | null) => setChosen(place === null ? null : (completions[place]?.step ?? null));
  return (
    <Card
      title="Sampled completions"
      icon={MessagesSquare}
      description="Some of those that a step learned from: each reward, their weighted sum, and the lead over the others of the same prompt."
      actions={
        completions.length > 0 && (
          <StepChoice completions={completions} at={at} newest={chosen === null || at === last} onChoose={choose} />
        )
      }
    >
      {shown ? <CompletionGroups rows={shown.rows} /> : <p className="text-muted">{empty}</p>}
    </Card>
  );
}
