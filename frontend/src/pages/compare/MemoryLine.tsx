/** What the server holds in memory for answers, and how to free it. */

import { asApiError, useGetInferenceQuery, useUnloadModelMutation } from "@/api";
import type { InferenceState } from "@/api";
import { Button } from "@/components/ui";
import { bytes } from "@/lib/format";
import { useToast } from "@/state/hooks";

export function MemoryLine() {
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
