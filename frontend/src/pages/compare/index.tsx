/** Compare: one prompt, the base and up to three adapters, side by side. */

import { Columns2 } from "lucide-react";
import { useCallback, useEffect, useState } from "react";
import { useSearchParams } from "react-router";

import {
  asApiError,
  useGetInferenceQuery,
  useListAdaptersQuery,
  useListModelsQuery,
  useUnloadModelMutation,
} from "@/api";
import type { AdapterEntry, InferenceState, ModelEntry } from "@/api";
import { Button, EmptyState, ErrorNote, LinkButton, PageHeader, Skeletons } from "@/components/ui";
import { bytes } from "@/lib/format";
import { useStored } from "@/lib/stored";
import { useToast } from "@/state/hooks";

import { Answers } from "./Answers";
import { guessAdapters, guessModel, isTrainedOn, isUsable, refOf, settled, splitRef } from "./choices";
import type { Chosen } from "./choices";
import type { Comparison, Vote } from "./comparison";
import { formOf, formStore, readForm } from "./form";
import type { Form } from "./form";
import { historyStore, keep } from "./history";
import { HistoryCard } from "./HistoryCard";
import { PromptCard } from "./PromptCard";
import { SidesCard } from "./SidesCard";
import { TallyCard } from "./TallyCard";
import { useComparison } from "./useComparison";
import { cast, voted } from "./votes";

export default function ComparePage() {
  // Both change by what happens elsewhere: a training that saves, a folder that is copied here.
  const fresh = { refetchOnMountOrArgChange: true, refetchOnFocus: true };
  const models = useListModelsQuery(undefined, fresh);
  const adapters = useListAdaptersQuery(undefined, fresh);
  return (
    <>
      <PageHeader
        title="Compare"
        description="One prompt, answered by the base and by up to three adapters, side by side."
        actions={<MemoryLine />}
      />
      {models.data && (adapters.data ?? adapters.error) !== undefined ? (
        models.data.some(isUsable) ? (
          <>
            {adapters.error !== undefined && !adapters.data && (
              <div className="mb-5">
                <ErrorNote error={adapters.error} onRetry={() => void adapters.refetch()} />
              </div>
            )}
            <Workbench models={models.data} adapters={adapters.data ?? []} />
          </>
        ) : (
          <EmptyState
            icon={Columns2}
            title="There is no model yet."
            actions={<LinkButton to="/setup">Go to Setup</LinkButton>}
          >
            Fetch or import a base model in Setup; then it can be asked here, with or without adapters.
          </EmptyState>
        )
      ) : models.error !== undefined ? (
        <ErrorNote error={models.error} onRetry={() => void models.refetch()} />
      ) : (
        <Skeletons label="Loading models and adapters" heights={["h-44", "h-72"]} />
      )}
    </>
  );
}

function MemoryLine() {
  const { data, isError } = useGetInferenceQuery(undefined, { pollingInterval: 5000, skipPollingIfUnfocused: true });
  const [unload, { isLoading }] = useUnloadModelMutation();
  const toast = useToast();
  if (!data || isError) return null;
  const free = async () => {
    try {
      await unload().unwrap();
    } catch (caught) {
      const { message, hint } = asApiError(caught);
      toast({ tone: "bad", title: message, text: hint });
    }
  };
  return (
    <div className="flex min-h-8 flex-wrap items-center gap-x-3 gap-y-1 text-xs text-muted">
      <span className="min-w-0 wrap-anywhere">{sentence(data)}</span>
      {data.memory !== null && (
        <Button size="sm" busy={isLoading} disabled={data.busy} onClick={() => void free()}>
          Unload
        </Button>
      )}
    </div>
  );
}

function sentence({ model, memory, busy, waiting }: InferenceState): string {
  const queue = waiting > 0 ? `; ${waiting} waiting` : "";
  if (memory === null) return "No model is loaded; the first answer loads it.";
  if (model === null)
    return `${busy ? "A model is being loaded" : "The worker holds no model"}, ${bytes(memory)}${queue}.`;
  return `${model} is ${busy ? "answering" : "loaded"}, ${bytes(memory)}${queue}.`;
}

interface Lists {
  models: readonly ModelEntry[];
  adapters: readonly AdapterEntry[];
}

const change = (changes: Partial<Form>) => void formStore.update((form) => ({ ...form, ...changes }));

function Workbench({ models, adapters }: Lists) {
  usePreselection();
  const form = useStored(formStore);
  const history = useStored(historyStore);
  const toast = useToast();
  const [draft, setDraft] = useState<string | null>(null);

  const asked = form.adapters?.map((choice) => choice.name);
  const model = form.model || guessModel(models, adapters, asked);
  const chosen = form.adapters?.map((choice) => settled(choice, adapters)) ?? guessAdapters(adapters, model);
  const thinks = models.some((entry) => entry.ref === model && entry.thinking);
  const reading = readForm(form, model, chosen, thinks);

  const onNotKept = useCallback(
    () =>
      toast({ tone: "warn", title: "The history has no room for this", text: "Export it, or delete older entries." }),
    [toast],
  );
  const { current, start, stop, replace } = useComparison(onNotKept);
  const shown = current?.id === form.shown ? current : history.find((entry) => entry.id === form.shown);
  const running = current?.state === "running";

  const send = () => {
    if (reading.kind !== "ready") return;
    setDraft(null);
    change({ shown: start(reading.question, form.blind && chosen.length > 0).id });
  };
  const regenerate = ({ request, blind }: Comparison) => {
    // The base first again, before they are shuffled or not.
    const adapters = [...request.adapters].sort((a, b) => Number(a !== null) - Number(b !== null));
    change({ shown: start({ ...request, adapters, seed: null }, blind).id });
  };
  const bringBack = (entry: Comparison) => {
    if (running && entry.id !== current.id) stop();
    const unsent = form.prompt.trim() !== "" && !history.some(({ request }) => request.prompt === form.prompt);
    setDraft(unsent && form.prompt !== entry.request.prompt ? form.prompt : null);
    change({ ...formOf(entry.request, form), shown: entry.id });
    window.scrollTo({ top: 0 });
  };
  const settle = (comparison: Comparison) => {
    if (comparison.id === current?.id) replace(comparison);
    else if (!keep(comparison)) onNotKept();
  };
  const vote = (comparison: Comparison, preferred: Vote) => {
    const result = voted(comparison, preferred, Date.now());
    if (result === null) return;
    if (!cast(result.ballot)) onNotKept();
    settle(result.comparison);
  };
  const onForgotten = (id: string | null) => {
    if (!running && (id === null || id === form.shown)) change({ shown: null });
  };
  const onModel = (next: string) => {
    const fits = ({ name }: Chosen) => adapters.some((entry) => entry.name === name && isTrainedOn(entry, next));
    change({ model: next, adapters: chosen.length > 0 && chosen.every(fits) ? [...chosen] : null });
  };

  return (
    <div className="space-y-5">
      <SidesCard
        models={models}
        adapters={adapters}
        model={model}
        chosen={chosen}
        onModel={onModel}
        onChosen={(next) => change({ model, adapters: next })}
      />
      <PromptCard
        form={form}
        onForm={change}
        reading={reading}
        sides={chosen.length + 1}
        thinks={thinks}
        running={running}
        onSend={send}
        onStop={stop}
        draft={draft}
        onDraft={() => {
          if (draft !== null) change({ prompt: draft });
          setDraft(null);
        }}
      />
      {shown && (
        <Answers
          comparison={shown}
          onStop={stop}
          onRegenerate={() => regenerate(shown)}
          onSeed={(seed) => change({ seed: String(seed), drawSeed: false })}
          onVote={(preferred) => vote(shown, preferred)}
          onReveal={() => settle({ ...shown, revealed: true })}
        />
      )}
      <div className="grid items-start gap-5 lg:grid-cols-2">
        <HistoryCard shown={form.shown} onShow={bringBack} onForgotten={onForgotten} />
        <TallyCard model={model} sides={[null, ...chosen.map(refOf)]} />
      </div>
    </div>
  );
}

/** `?model=…&adapter=…&adapter=…` chooses the sides, once; the address is then the page's own again. */
function usePreselection(): void {
  const [params, setParams] = useSearchParams();
  useEffect(() => {
    const model = params.get("model");
    const wanted = params.getAll("adapter").map(splitRef);
    if (model === null && wanted.length === 0) return;
    change({ model: model ?? "", adapters: wanted.length > 0 ? wanted.slice(0, 3) : null, shown: null });
    setParams({}, { replace: true });
  }, [params, setParams]);
}
