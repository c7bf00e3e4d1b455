import { Database, RotateCw } from "lucide-react";
import { useState } from "react";

import { Button, Card, CodeBlock, Disclosure, ErrorNote } from "@/components/ui";
import { DataPicker } from "@/features/data/DataPicker";
import { DataReport } from "@/features/data/DataReport";
import { Checking, Chosen, Validation } from "@/features/data/parts";
import type { CheckState } from "@/features/data/useDataCheck";
import { useSetting } from "@/features/form/form";
import { SettingField } from "@/features/form/SettingField";
import { shortName } from "@/lib/format";
import type { Family } from "@/lib/methods";

const WANTED = {
  rewards: {
    text: "Prompts, as text or as a conversation that ends with the user. Other columns, such as the right answer, go to the rewards.",
    example: `{"prompt": "What is 2 + 3?", "answer": "5"}
{"messages": [{"role": "user", "content": "What is 2 + 3?"}], "answer": "5"}`,
  },
  preferences: {
    text: "A prompt with two answers to it: the chosen one and the rejected one, as texts or as conversations.",
    example: `{"prompt": "What is 2 + 3?", "chosen": "5", "rejected": "6"}`,
  },
} as const;

/** Which data, and whether it has what the method needs. */
export function DataCard({ state, family }: { state: CheckState; family: Exclude<Family, "answers"> }) {
  const bound = useSetting("train_data_path");
  const validation = useSetting("val_data_path");
  const [choosing, setChoosing] = useState(false);
  if (!bound) return null;
  const path = bound.text;
  const check = state.check ?? state.previous ?? state.partial;
  return (
    <Card
      title="Data"
      icon={Database}
      description={WANTED[family].text}
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
        {(choosing || path === "") && (
          <DataPicker
            what="a file"
            onChoose={(chosen) => {
              bound.set(chosen);
              setChoosing(false);
            }}
          />
        )}
        <Disclosure title="What a row looks like" open={path === ""}>
          <CodeBlock text={WANTED[family].example} label="rows" wrap />
        </Disclosure>
        {path !== "" && (
          <>
            {state.running && <Checking state={state} />}
            {state.error && <ErrorNote error={state.error} onRetry={state.again} />}
            {check && state.request && (
              <DataReport
                check={check}
                request={state.request}
                family={family}
                stale={state.check === undefined && state.partial === undefined}
              />
            )}
            <Disclosure
              title="Validation data"
              aside={validation?.text ? shortName(validation.text) : "a share of the training data"}
            >
              <Validation />
            </Disclosure>
            <Disclosure title="Columns and system prompt">
              <div className="grid items-start gap-4 sm:grid-cols-2">
                <SettingField name="prompt_column" placeholder="prompt" />
                <SettingField name="messages_column" placeholder="messages" />
                <SettingField name="system_prompt" className="sm:col-span-2" />
              </div>
            </Disclosure>
          </>
        )}
      </div>
    </Card>
  );
}
