/** Rewards put together, each with its parameters. */

import { ArrowDown, ArrowUp, Plus, Trash2 } from "lucide-react";
import { useEffect, useRef, useState } from "react";

import type { RewardFileView, RewardKindView, Rewards, SettingView } from "@/api";
import { Badge, Button, Disclosure, IconButton, Prose, Select } from "@/components/ui";
import { isText } from "@/features/form/draft";
import type { DraftItem, FieldValue } from "@/features/form/draft";
import { Back, SettingControl, usualText } from "@/features/form/SettingField";
import { capital, count, percent, sentence } from "@/lib/format";

import { fieldOf, nameOf, newReward, sharesOf } from "./draft";
import type { ReadRewards, RewardProblems } from "./draft";

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

interface FieldProps {
  reward: DraftItem;
  parameter: SettingView;
  problem: string | null;
  onField: (name: string, value: FieldValue | undefined) => void;
}

function Parameter({ reward, parameter, problem, onField }: FieldProps) {
  const value = fieldOf(reward, parameter);
  const usual = usualText(parameter);
  const changed = reward.fields[parameter.name] !== undefined && usual !== null && value !== usual;
  return (
    <SettingControl
      setting={parameter}
      value={value}
      problem={problem}
      onValue={(next) => onField(parameter.name, next)}
      label={capital(parameter.name.replaceAll("_", " "))}
      hint={<Prose text={parameter.help + (parameter.kind === "list" ? " One a line." : "")} />}
      aside={
        changed ? (
          <Back label={`Back to the default, ${usual}`} onClick={() => onField(parameter.name, undefined)} />
        ) : undefined
      }
      placeholder={parameter.optional ? "none" : undefined}
    />
  );
}

interface OwnProps {
  reward: DraftItem;
  files: readonly RewardFileView[];
  folder: string;
  problems: RewardProblems;
  onField: FieldProps["onField"];
}

/** A file and one of its functions, chosen from those that are there. */
function OwnFile({ reward, files, folder, problems, onField }: OwnProps) {
  const file = isText(reward.fields["file"]) ? reward.fields["file"] : "";
  const name = isText(reward.fields["function"]) ? reward.fields["function"] : "reward";
  const chosen = files.find((one) => one.file === file);
  const known = chosen?.functions ?? [];
  const used = known.find((one) => one.name === name);
  const missing = (there: boolean, value: string) =>
    there || value === "" ? [] : [{ value, label: `${value} (not there)` }];
  return (
    <>
      <Select
        label="File"
        value={file}
        error={problems["file"] ?? (chosen?.problem ? sentence(chosen.problem) : null)}
        hint={files.length === 0 ? `There is none yet: put a Python file into ${folder}` : `From ${folder}`}
        onValue={(next) => {
          onField("file", next);
          const first = files.find((one) => one.file === next)?.functions;
          if (first && !first.some((one) => one.name === name)) onField("function", first[0]?.name);
        }}
        options={[
          { value: "", label: "Choose a file…" },
          ...files.map((one) => ({ value: one.file, label: one.file })),
          ...missing(chosen !== undefined, file),
        ]}
      />
      <Select
        label="Function"
        value={name}
        error={problems["function"] ?? null}
        hint={
          used === undefined ? (
            "A function of the file that takes prompts and completions."
          ) : (
            <>
              {used.help !== "" && `${sentence(used.help)} `}
              {used.required.length > 0
                ? `Needs ${count(used.required.length, "column")} of each row: ${used.required.join(", ")}.`
                : "It needs no column of the rows."}
            </>
          )
        }
        onValue={(next) => onField("function", next)}
        options={[
          ...known.map((one) => ({ value: one.name, label: `${one.name}, line ${one.line}` })),
          ...missing(used !== undefined, name),
        ]}
      />
    </>
  );
}

interface EditorProps {
  reward: DraftItem;
  kind: RewardKindView | undefined;
  files: readonly RewardFileView[];
  folder: string;
  /** Its part of all weights. */
  share: number | null;
  problems: RewardProblems;
  /** From 0, of how many. */
  place: number;
  of: number;
  onField: (name: string, value: FieldValue | undefined) => void;
  onMove: (to: number) => void;
  onRemove: () => void;
}

/** One reward with its parameters. */
function RewardEditor({ reward, kind, share, problems, place, of, onField, onMove, onRemove, ...own }: EditorProps) {
  const parameters = kind?.parameters ?? [];
  const main = parameters.filter(({ name }) => name !== "weight" && name !== "label");
  const weight = parameters.find(({ name }) => name === "weight");
  const naming = parameters.find(({ name }) => name === "label");
  const isOwn = reward.kind === "python";
  const others = main.filter(({ name }) => !isOwn || (name !== "file" && name !== "function"));
  const title = kind?.title ?? reward.kind;
  const problem = (name: string) => problems[name] ?? null;
  return (
    <li className="rounded-md border border-line" aria-label={`${title}, reward ${place + 1} of ${of}`}>
      <div className="flex flex-wrap items-center justify-between gap-x-3 gap-y-1 border-b border-line bg-sunken py-1 pr-1 pl-3">
        <p className="flex min-w-0 flex-wrap items-center gap-x-2 gap-y-0.5 text-[0.8125rem]">
          <span className="font-medium">{title}</span>
          <code className="font-mono text-xs text-muted wrap-anywhere">{nameOf(reward)}</code>
          {kind && <Badge>{kind.range}</Badge>}
        </p>
        <span className="flex items-center">
          <span className="mr-2 text-xs text-muted">
            {share === null ? "" : `${percent(share, 0)} of the weights`}
          </span>
          <IconButton
            icon={ArrowUp}
            label={`Move ${title} up`}
            size="sm"
            disabled={place === 0}
            onClick={() => onMove(place - 1)}
          />
          <IconButton
            icon={ArrowDown}
            label={`Move ${title} down`}
            size="sm"
            disabled={place === of - 1}
            onClick={() => onMove(place + 1)}
          />
          <IconButton icon={Trash2} label={`Remove ${title}`} size="sm" onClick={onRemove} />
        </span>
      </div>
      <div className="space-y-3 p-3">
        {kind && (
          <p className="text-xs text-muted">
            <Prose text={kind.help} />
          </p>
        )}
        {problem("") !== null && <p className="text-xs text-bad">{problem("")}</p>}
        <div className="grid items-start gap-x-4 gap-y-3 sm:grid-cols-2 lg:grid-cols-3">
          {isOwn && <OwnFile reward={reward} problems={problems} onField={onField} {...own} />}
          {others.map((parameter) => (
            <Parameter
              key={parameter.name}
              reward={reward}
              parameter={parameter}
              problem={problem(parameter.name)}
              onField={onField}
            />
          ))}
          {weight && <Parameter reward={reward} parameter={weight} problem={problem("weight")} onField={onField} />}
        </div>
        {naming && (
          <Disclosure title="Use another name" open={reward.fields["label"] !== undefined}>
            <div className="max-w-sm">
              <Parameter reward={reward} parameter={naming} problem={problem("label")} onField={onField} />
            </div>
          </Disclosure>
        )}
      </div>
    </li>
  );
}
