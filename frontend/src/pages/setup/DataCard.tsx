import { Database, RotateCw } from "lucide-react";
import { useState } from "react";

import { useMakeExampleMutation } from "@/api";
import { Button, Card, Disclosure, ErrorNote } from "@/components/ui";
import { DataPicker } from "@/features/data/DataPicker";
import { DataReport } from "@/features/data/DataReport";
import { Checking, Chosen, Validation } from "@/features/data/parts";
import type { CheckState } from "@/features/data/useDataCheck";
import { fromConfig } from "@/features/form/draft";
import { useRunForm, useSetting } from "@/features/form/form";
import { SettingField } from "@/features/form/SettingField";
import { shortName } from "@/lib/format";
import { useToast } from "@/state/hooks";

/** The demo's data, with the settings that suit it. */
function Example() {
  const { settings, draft, replace } = useRunForm();
  const [make, { isLoading, error }] = useMakeExampleMutation();
  const toast = useToast();
  const use = async () => {
    const { data } = await make();
    if (!data) return;
    const taken = fromConfig(data.values, [...settings.values()]).draft;
    const model = draft["model_path"];
    replace({ ...draft, ...taken, ...(model === undefined ? {} : { model_path: model }) });
    toast({
      tone: "info",
      title: "The example is set up",
      text: "With the settings of `droidft demo`; change what you like.",
    });
  };
  return (
    <div className="space-y-2">
      <div className="flex flex-wrap items-center justify-between gap-3 rounded-md bg-accent-soft p-3">
        <p className="min-w-0 flex-1 basis-64 text-[0.8125rem]">
          <span className="font-medium">No data at hand?</span> Try it with the café orders: what customers say, and
          the line of JSON that the till wants.
        </p>
        <Button size="sm" busy={isLoading} onClick={() => void use()}>
          Use the example
        </Button>
      </div>
      {error && <ErrorNote error={error} />}
    </div>
  );
}

/** Which data, and what training would make of it. */
export function DataCard({ state }: { state: CheckState }) {
  const bound = useSetting("train_data_path");
  const validation = useSetting("val_data_path");
  const [choosing, setChoosing] = useState(false);
  if (!bound) return null;
  const path = bound.text;
  const open = choosing || path === "";
  const check = state.check ?? state.previous ?? state.partial;
  return (
    <Card
      title="Data"
      icon={Database}
      description={
        open
          ? "Conversations, prompts with answers, or plain text. Each row is checked before anything is trained."
          : undefined
      }
      actions={
        path !== "" && !state.running ? (
          <Button size="sm" variant="ghost" icon={RotateCw} onClick={state.again}>
            Check again
          </Button>
        ) : undefined
      }
    >
      <div className="space-y-4">
        {path !== "" && <Chosen path={path} onChange={() => setChoosing(!choosing)} changing={choosing} />}
        {bound.problem !== null && path !== "" && <p className="text-xs text-bad">{bound.problem}</p>}
        {open && (
          <DataPicker
            what="a file"
            example={path === "" && <Example />}
            onChoose={(chosen) => {
              bound.set(chosen);
              setChoosing(false);
            }}
          />
        )}
        {path !== "" && (
          <>
            <SettingField
              name="mask_prompt"
              hint="The question is read but not learned; usual for chats and for prompts with answers."
            />
            {state.running && <Checking state={state} />}
            {state.error && <ErrorNote error={state.error} onRetry={state.again} />}
            {check && state.request && (
              <DataReport
                check={check}
                request={state.request}
                stale={state.check === undefined && state.partial === undefined}
              />
            )}
            <Disclosure
              title="Validation data"
              aside={validation?.text ? shortName(validation.text) : "a share of the training data"}
            >
              <Validation />
            </Disclosure>
          </>
        )}
      </div>
    </Card>
  );
}
