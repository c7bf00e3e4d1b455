/** Which data, and which rows are the test. */

import { Database } from "lucide-react";
import { useState } from "react";

import { Button, Card, Disclosure, ErrorNote, NumberField } from "@/components/ui";
import { DataPicker } from "@/features/data/DataPicker";
import { DataReport } from "@/features/data/DataReport";
import { Checking, Chosen, Validation } from "@/features/data/parts";
import type { CheckState } from "@/features/data/useDataCheck";
import { useSetting } from "@/features/form/form";
import { SettingField } from "@/features/form/SettingField";
import { shortName } from "@/lib/format";

import type { ExperimentDraft } from "./draft";

interface Props {
  state: CheckState;
  draft: ExperimentDraft;
  change: (changes: Partial<ExperimentDraft>) => void;
  fault: string | undefined;
}

export function DataCard({ state, draft, change, fault }: Props) {
  const bound = useSetting("train_data_path");
  const [choosing, setChoosing] = useState(false);
  if (!bound) return null;
  const path = bound.text;
  const check = state.check ?? state.previous ?? state.partial;
  return (
    <Card title="Data" icon={Database} description="All arms see the same rows in the same order.">
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
        {path !== "" && (
          <>
            <SettingField name="mask_prompt" hint="The question is read but not learned." />
            {state.running && <Checking state={state} />}
            {state.error && <ErrorNote error={state.error} onRetry={state.again} />}
            {check && state.request && (
              <DataReport
                check={check}
                request={state.request}
                stale={state.check === undefined && state.partial === undefined}
              />
            )}
            <Disclosure title="Validation data" aside="chooses the best weights, and among learning rates">
              <Validation />
            </Disclosure>
            <Disclosure
              title="Test data"
              open
              aside={draft.testPath ? shortName(draft.testPath) : "a share of the training data"}
            >
              <TestData draft={draft} change={change} fault={fault} />
            </Disclosure>
            <Disclosure
              title="General text"
              aside={draft.generalPath ? shortName(draft.generalPath) : "the one that is included"}
            >
              <p className="mb-3 text-[0.8125rem] text-muted">What the model forgets is measured on it.</p>
              <OwnFile
                what="a general text"
                path={draft.generalPath}
                otherwise="Use the one that is included"
                onPath={(generalPath) => change({ generalPath })}
              />
            </Disclosure>
          </>
        )}
      </div>
    </Card>
  );
}

function TestData({ draft, change, fault }: Omit<Props, "state">) {
  return (
    <div className="space-y-3">
      <p className="text-[0.8125rem] text-muted">
        Rows that no arm is trained on or selected by. Every figure of the answer is measured on them.
      </p>
      {draft.testPath === "" && (
        <NumberField
          label="Share set aside"
          text={draft.testShare}
          onText={(testShare) => change({ testShare })}
          error={fault ?? null}
          className="max-w-48"
        />
      )}
      <OwnFile
        what="the test data"
        path={draft.testPath}
        otherwise="Set a share of the training data aside"
        onPath={(testPath) => change({ testPath })}
      />
    </div>
  );
}

function OwnFile({
  what,
  path,
  otherwise,
  onPath,
}: {
  what: string;
  path: string;
  otherwise: string;
  onPath: (path: string) => void;
}) {
  const [choosing, setChoosing] = useState(false);
  if (path === "" && !choosing) return <Button onClick={() => setChoosing(true)}>Use a separate file</Button>;
  return (
    <div className="space-y-3">
      {path !== "" && <Chosen path={path} onChange={() => setChoosing(!choosing)} changing={choosing} />}
      {(choosing || path === "") && (
        <DataPicker
          what={what}
          onChoose={(chosen) => {
            onPath(chosen);
            setChoosing(false);
          }}
        />
      )}
      <Button
        size="sm"
        variant="ghost"
        onClick={() => {
          onPath("");
          setChoosing(false);
        }}
      >
        {otherwise}
      </Button>
    </div>
  );
}
