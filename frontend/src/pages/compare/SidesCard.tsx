/** Which base, and which adapters on it. */

import { Plus } from "lucide-react";
import { Link } from "react-router";

import { asApiError, useGetAdapterQuery } from "@/api";
import type { AdapterEntry, ModelEntry } from "@/api";
import { Badge, Button, Card, LinkButton, Note, Select } from "@/components/ui";
import { exportLink } from "@/features/runs/state";
import { bytes, compact, count, sentence, significant } from "@/lib/format";
import { useActiveRuns } from "@/state/hooks";

import { guessAdapters, isTrainedOn, isUsable, MOST_ADAPTERS, ordered, usual, whichLabel } from "./choices";
import type { Chosen } from "./choices";

export interface SidesCardProps {
  models: readonly ModelEntry[];
  adapters: readonly AdapterEntry[];
  model: string;
  chosen: readonly Chosen[];
  onModel: (model: string) => void;
  onChosen: (chosen: Chosen[]) => void;
}

export function SidesCard({ models, adapters, model, chosen, onModel, onChosen }: SidesCardProps) {
  const usable = adapters.filter((entry) => entry.problem === "");
  const add = () => {
    const [first] = guessAdapters(adapters, model);
    const name = first?.name ?? ordered(usable, model)[0]?.name;
    const entry = usable.find((each) => each.name === name);
    if (entry) onChosen([...chosen, nextChoice(entry, chosen, ordered(usable, model))]);
  };
  return (
    <Card title="Sides" description="The base always answers; up to three adapters or checkpoints answer beside it.">
      <div className="grid gap-x-5 gap-y-4 sm:grid-cols-2 xl:grid-cols-[15rem_repeat(3,minmax(0,1fr))]">
        <ModelSelect models={models} model={model} onModel={onModel} />
        {chosen.map((choice, index) => (
          <AdapterFields
            key={index}
            number={index + 1}
            adapters={adapters}
            model={model}
            choice={choice}
            onChoice={(next) => onChosen(chosen.map((each, place) => (place === index ? next : each)))}
            onRemove={() => onChosen(chosen.filter((_, place) => place !== index))}
          />
        ))}
        {usable.length > 0 && chosen.length < MOST_ADAPTERS && (
          <div className="flex items-start sm:pt-6">
            <Button icon={Plus} onClick={add}>
              {chosen.length === 0 ? "Add an adapter" : "Add another"}
            </Button>
          </div>
        )}
      </div>
      {usable.length === 0 && (
        <div className="mt-4">
          <Note
            tone="neutral"
            title={adapters.length === 0 ? "There are no adapters yet." : "No adapter here can be used."}
            actions={
              <LinkButton to="/setup" size="sm">
                Train one in Setup
              </LinkButton>
            }
          >
            Until then the base answers alone.
          </Note>
        </div>
      )}
    </Card>
  );
}

/** What to add: the adapter's next weights that are not there yet, else the next adapter. */
function nextChoice(entry: AdapterEntry, chosen: readonly Chosen[], others: readonly AdapterEntry[]): Chosen {
  const isFree = (name: string, which: string) => !chosen.some((each) => each.name === name && each.which === which);
  for (const each of [entry, ...others]) {
    if (isFree(each.name, usual(each)) && !chosen.some(({ name }) => name === each.name)) {
      return { name: each.name, which: usual(each) };
    }
  }
  for (const each of [entry, ...others]) {
    const which = each.weights.find((weights) => isFree(each.name, weights));
    if (which !== undefined) return { name: each.name, which };
  }
  return { name: entry.name, which: usual(entry) };
}

function ModelSelect({ models, model, onModel }: Pick<SidesCardProps, "models" | "model" | "onModel">) {
  const known = models.find((entry) => entry.ref === model);
  const options = models.map((entry) => ({
    value: entry.ref,
    label: isUsable(entry) ? entry.ref : `${entry.ref} (${entry.installed ? "cannot be used" : "not fetched yet"})`,
    disabled: !isUsable(entry),
  }));
  if (!known) options.unshift({ value: model, label: `${model} (not in the list)`, disabled: false });
  return (
    <Select
      label="Base model"
      value={model}
      options={options}
      onValue={onModel}
      hint={known ? describeModel(known) : "It may have been removed, or lie in a folder of its own."}
    />
  );
}

function describeModel({ problem, model_type, bytes: size, quantization, source }: ModelEntry): string {
  if (problem !== "") return problem;
  return [model_type, bytes(size), quantization, source].filter(Boolean).join(", ");
}

interface AdapterFieldsProps {
  number: number;
  adapters: readonly AdapterEntry[];
  model: string;
  choice: Chosen;
  onChoice: (choice: Chosen) => void;
  onRemove: () => void;
}

function AdapterFields({ number, adapters, model, choice, onChoice, onRemove }: AdapterFieldsProps) {
  const entry = adapters.find((each) => each.name === choice.name);
  const names = ordered(adapters, model).map((each) => ({
    value: each.name,
    label: adapterLabel(each, model),
    disabled: each.problem !== "",
  }));
  if (!entry) names.unshift({ value: choice.name, label: `${choice.name} (not there)`, disabled: false });
  const weights = [...new Set([...(entry?.weights ?? []), choice.which])];
  return (
    <div
      role="group"
      aria-label={`Adapter ${number}`}
      className="min-w-0 max-sm:border-t max-sm:border-line max-sm:pt-3"
    >
      <Select
        label={`Adapter ${number}`}
        aside={
          <button
            type="button"
            onClick={onRemove}
            className="rounded underline decoration-dotted underline-offset-2 hover:text-ink"
          >
            remove<span className="sr-only"> adapter {number}</span>
          </button>
        }
        value={choice.name}
        options={names}
        onValue={(name) => onChoice({ name, which: usual(adapters.find((each) => each.name === name)) })}
      />
      <Select
        label="Weights"
        aria-label={`Weights of adapter ${number}`}
        value={choice.which}
        options={weights.map((which) => ({ value: which, label: whichLabel(which) }))}
        onValue={(which) => onChoice({ ...choice, which })}
        className="mt-2"
      />
      {entry?.problem === "" && (
        <p className="mt-2 text-xs">
          <Link to={exportLink(`${choice.name}@${choice.which}`)} className="text-accent hover:underline">
            Export<span className="sr-only"> {choice.name}</span>
          </Link>
        </p>
      )}
      {entry && <AdapterNotes entry={entry} which={choice.which} model={model} />}
    </div>
  );
}

function adapterLabel(entry: AdapterEntry, model: string): string {
  if (entry.problem !== "") return `${entry.name} (cannot be used)`;
  if (isTrainedOn(entry, model)) return entry.name;
  return `${entry.name} (${entry.base === null ? "base unknown" : "another base"})`;
}

/** What the adapter is, and whatever may be wrong with it on this base, before anything is asked. */
function AdapterNotes({ entry, which, model }: { entry: AdapterEntry; which: string; model: string }) {
  const skip = model === "" || entry.problem !== "" || which === "";
  const { currentData, error, refetch } = useGetAdapterQuery({ name: entry.name, which, model }, { skip });
  const training = useActiveRuns().some((run) => run.adapter === entry.name);
  const facts = [
    entry.rank === null ? null : `rank ${entry.rank}`,
    entry.alpha === null ? null : `alpha ${significant(entry.alpha)}`,
    count(entry.blocks, "block"),
    `${compact(entry.parameters)} parameters`,
  ];
  return (
    <div className="mt-2 space-y-1 text-xs text-muted">
      <p>
        {facts.filter((fact) => fact !== null).join(", ")} {training && <Badge tone="info">still in training</Badge>}
      </p>
      {!isTrainedOn(entry, model) && (
        <p className="text-warn wrap-anywhere">
          {entry.base === null
            ? "It does not say what it was trained on."
            : `It says it was trained on ${entry.base}.`}
        </p>
      )}
      {error !== undefined && <Unchecked error={error} onRetry={() => void refetch()} />}
      {currentData?.warnings.map((warning) => (
        <p key={warning.code} className="text-warn wrap-anywhere">
          {sentence(warning.message)}
        </p>
      ))}
    </div>
  );
}

/** The adapter itself may be at fault, or it could not be looked at now. */
function Unchecked({ error, onRetry }: { error: unknown; onRetry: () => void }) {
  const { status, message } = asApiError(error);
  if (status !== 0) return <p className="text-bad wrap-anywhere">{sentence(message)}</p>;
  return (
    <p>
      Not checked against the base yet: {sentence(message)}{" "}
      <button
        type="button"
        onClick={onRetry}
        className="rounded underline decoration-dotted underline-offset-2 hover:text-ink"
      >
        Check again
      </button>
    </p>
  );
}
