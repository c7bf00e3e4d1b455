import { Plus } from "lucide-react";
import { useEffect, useRef, useState } from "react";

import type { Rewards } from "@/api";
import { Button, Select } from "@/components/ui";
import type { DraftItem, FieldValue } from "@/features/form/draft";

import { nameOf, newReward, sharesOf } from "./draft";
import type { ReadRewards } from "./draft";
import { RewardEditor } from "./RewardEditor";

interface Props {
  known: Rewards;
  rewards: readonly DraftItem[];
  problems: ReadRewards["problems"];
  onRewards: (rewards: DraftItem[]) => void;
}

/** A name that none of the others has: two rewards of one kind need a label. */
function labelled(reward: DraftItem, others: readonly DraftItem[]): DraftItem {
  const taken = new Set(others.map(nameOf));
  if (!taken.has(nameOf(reward))) return reward;
  let number = 2;
  while (taken.has(`${reward.kind}_${number}`)) number++;
  return { ...reward, fields: { ...reward.fields, label: `${reward.kind}_${number}` } };
}

/** `fields` with one of them changed, or back to its default. */
function withField(fields: DraftItem["fields"], name: string, value: FieldValue | undefined): DraftItem["fields"] {
  const others = Object.fromEntries(Object.entries(fields).filter(([own]) => own !== name));
  return value === undefined ? others : { ...others, [name]: value };
}

/** Rewards put together: added, weighed, reordered, removed. */
export function RewardBuilder({ known, rewards, problems, onRewards }: Props) {
  const [kind, setKind] = useState(known.kinds[0]?.kind ?? "");
  const [said, setSaid] = useState("");
  const list = useRef<HTMLOListElement>(null);
  // A list that changed under the caller's hands: fields of one reward may change twice in one event.
  const latest = useRef(rewards);
  useEffect(() => {
    latest.current = rewards;
  }, [rewards]);
  const shares = sharesOf(rewards);

  const put = (next: DraftItem[]) => {
    latest.current = next;
    onRewards(next);
  };
  const add = () => {
    const chosen = known.kinds.find((one) => one.kind === kind);
    if (!chosen) return;
    put([...latest.current, labelled(newReward(kind), latest.current)]);
    setSaid(`${chosen.title} is reward ${rewards.length + 1}.`);
  };
  const move = (from: number, to: number) => {
    const next = [...latest.current];
    const [item] = next.splice(from, 1);
    if (!item) return;
    next.splice(to, 0, item);
    put(next);
    setSaid(`${titleOf(item)} is now reward ${to + 1} of ${next.length}.`);
  };
  const remove = (item: DraftItem) => {
    put(latest.current.filter((one) => one.id !== item.id));
    setSaid(`${titleOf(item)} was removed.`);
    list.current?.parentElement?.querySelector("select")?.focus();
  };
  const titleOf = (item: DraftItem) => known.kinds.find((one) => one.kind === item.kind)?.title ?? item.kind;
  const chosen = known.kinds.find((one) => one.kind === kind);
  return (
    <div className="space-y-3">
      <ol ref={list} className="space-y-3 empty:hidden" aria-label="Rewards of the run">
        {rewards.map((reward, place) => (
          <RewardEditor
            key={reward.id}
            reward={reward}
            kind={known.kinds.find((one) => one.kind === reward.kind)}
            files={known.files}
            folder={known.folder}
            share={shares[place] ?? null}
            problems={problems[reward.id] ?? {}}
            place={place}
            of={rewards.length}
            onField={(name, value) =>
              put(
                latest.current.map((one) =>
                  one.id === reward.id ? { ...one, fields: withField(one.fields, name, value) } : one,
                ),
              )
            }
            onMove={(to) => move(place, to)}
            onRemove={() => remove(reward)}
          />
        ))}
      </ol>
      <div className="flex flex-wrap items-end gap-2">
        <Select
          label={rewards.length === 0 ? "Kind of reward" : "Another reward"}
          className="min-w-0 flex-1 basis-56 sm:max-w-xs"
          value={kind}
          onValue={setKind}
          options={known.kinds.map((one) => ({ value: one.kind, label: `${one.title} (${one.range})` }))}
        />
        <Button icon={Plus} onClick={add} variant={rewards.length === 0 ? "primary" : "secondary"}>
          Add
        </Button>
      </div>
      {chosen && <p className="text-xs text-muted">{chosen.help.replaceAll("`", "")}</p>}
      <span role="status" className="sr-only">
        {said}
      </span>
    </div>
  );
}
