/** Which data, and which rows are the test. */

import { Button, Disclosure, NumberField } from "@/components/ui";
import { DataCard as Frame, OwnFile } from "@/features/data/DataCard";
import type { CheckState } from "@/features/data/useDataCheck";
import { SettingField } from "@/features/form/SettingField";
import { shortName } from "@/lib/format";

import type { ExperimentDraft } from "./draft";

interface Props {
  state: CheckState;
  draft: ExperimentDraft;
  change: (changes: Partial<ExperimentDraft>) => void;
  fault: string | undefined;
}

const closed = (open: () => void) => <Button onClick={open}>Use a separate file</Button>;

export function DataCard({ state, draft, change, fault }: Props) {
  return (
    <Frame
      state={state}
      recheck={false}
      description={() => "All arms see the same rows in the same order."}
      before={<SettingField name="mask_prompt" hint="The question is read but not learned." />}
      validationAside="chooses the best weights, and among learning rates"
    >
      <Disclosure
        title="Test data"
        open
        aside={draft.testPath ? shortName(draft.testPath) : "a share of the training data"}
      >
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
            closed={closed}
          />
        </div>
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
          closed={closed}
        />
      </Disclosure>
    </Frame>
  );
}
