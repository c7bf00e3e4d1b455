import { ArrowDown, ArrowUp, Trash2 } from "lucide-react";

import type { RewardFileView, RewardKindView, SettingView } from "@/api";
import { Badge, Disclosure, IconButton, Prose, Select } from "@/components/ui";
import type { DraftItem, FieldValue } from "@/features/form/draft";
import { isText } from "@/features/form/draft";
import { Back, SettingControl, usualText } from "@/features/form/SettingControl";
import { count, percent, sentence } from "@/lib/format";

import { fieldOf, nameOf } from "./draft";
import type { RewardProblems } from "./draft";

interface FieldProps {
  reward: DraftItem;
  parameter: SettingView;
  problem: string | null;
  onField: (name: string, value: FieldValue | undefined) => void;
}

function label(name: string): string {
  const text = name.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
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
      label={label(parameter.name)}
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

interface Props {
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
export function RewardEditor({ reward, kind, share, problems, place, of, onField, onMove, onRemove, ...own }: Props) {
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
