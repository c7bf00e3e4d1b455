/** Past comparisons: look through, bring back, delete. */

import { History, Trash2 } from "lucide-react";
import { useState } from "react";

import { Badge, Button, Card, IconButton, TextField, useConfirm } from "@/components/ui";
import { cx } from "@/lib/cx";
import { count, relative } from "@/lib/format";
import { useStored } from "@/lib/stored";

import { sideName } from "./choices";
import { isHidden } from "./comparison";
import type { Comparison } from "./comparison";
import { forget, historyStore, search } from "./history";

const FEW = 10;

export interface HistoryCardProps {
  shown: string | null;
  onShow: (comparison: Comparison) => void;
  /** After an entry, or all of them (null), were deleted. */
  onForgotten: (id: string | null) => void;
}

export function HistoryCard({ shown, onShow, onForgotten }: HistoryCardProps) {
  const entries = useStored(historyStore);
  const [words, setWords] = useState("");
  const [all, setAll] = useState(false);
  const [ask, dialog] = useConfirm();
  const found = search(entries, words);
  const listed = all ? found : found.slice(0, FEW);
  const clear = async () => {
    const sure = await ask({
      title: `Delete all ${count(entries.length, "prompt")} with their answers?`,
      text: "Blind votes are kept. This cannot be undone.",
      confirm: "Delete all",
      danger: true,
    });
    if (!sure) return;
    historyStore.set([]);
    onForgotten(null);
  };
  return (
    <Card
      title="History"
      icon={History}
      description="Prompts with their answers, kept in this browser."
      actions={
        entries.length > 0 && (
          <Button size="sm" variant="ghost" icon={Trash2} onClick={() => void clear()}>
            Delete all
          </Button>
        )
      }
    >
      {dialog}
      {entries.length === 0 ? (
        <p className="text-[0.8125rem] text-muted">What you ask appears here and survives a reload.</p>
      ) : (
        <>
          <TextField
            type="search"
            label="Search the history"
            placeholder="Words of a prompt, an answer, an adapter"
            value={words}
            onValue={setWords}
          />
          <p role="status" className={words === "" ? "sr-only" : "mt-2 text-xs text-muted"}>
            {words === "" ? "" : found.length === 0 ? "Nothing matches." : `${found.length} of ${entries.length}`}
          </p>
          <ul className="mt-2 divide-y divide-line">
            {listed.map((entry) => (
              <Entry
                key={entry.id}
                entry={entry}
                isShown={entry.id === shown}
                onShow={onShow}
                onForgotten={onForgotten}
              />
            ))}
          </ul>
          {found.length > FEW && (
            <Button size="sm" variant="ghost" className="mt-2" onClick={() => setAll(!all)}>
              {all ? "Show fewer" : `Show all ${found.length}`}
            </Button>
          )}
        </>
      )}
    </Card>
  );
}

function Entry({
  entry,
  isShown,
  onShow,
  onForgotten,
}: Omit<HistoryCardProps, "shown"> & { entry: Comparison; isShown: boolean }) {
  const drop = () => {
    forget(entry.id);
    onForgotten(entry.id);
  };
  // In an order that gives nothing away.
  const sides = entry.sides.map((side) => side.adapter).sort((a, b) => (a ?? "").localeCompare(b ?? ""));
  const prompt = entry.request.prompt.slice(0, 300);
  return (
    <li className="flex items-center gap-2">
      <button
        type="button"
        onClick={() => onShow(entry)}
        aria-current={isShown}
        className={cx("min-w-0 flex-1 rounded-md px-2 py-2 text-left hover:bg-sunken", isShown && "bg-accent-soft")}
      >
        <span className="line-clamp-2 text-[0.8125rem] wrap-anywhere">{prompt}</span>
        <span className="mt-0.5 flex flex-wrap items-center gap-x-2 gap-y-1 text-xs text-muted">
          <span>{relative(entry.at / 1000)}</span>
          <span className="wrap-anywhere">{sides.map(sideName).join(", ")}</span>
          <Marks entry={entry} />
        </span>
      </button>
      <IconButton icon={Trash2} size="sm" label={`Delete “${prompt.slice(0, 40)}”`} onClick={drop} />
    </li>
  );
}

function Marks({ entry }: { entry: Comparison }) {
  return (
    <>
      {entry.state === "stopped" && <Badge>stopped</Badge>}
      {entry.state === "failed" && <Badge tone="bad">failed</Badge>}
      {entry.blind && (isHidden(entry) ? <Badge tone="info">blind, open</Badge> : <Badge>blind</Badge>)}
    </>
  );
}
