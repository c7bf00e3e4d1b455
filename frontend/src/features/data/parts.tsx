/** Parts of every card in which data is chosen. */

import { useState } from "react";

import { Button, Progress } from "@/components/ui";
import { useSetting } from "@/features/form/form";
import { SettingField } from "@/features/form/SettingField";
import { bytes, sentence, shortName } from "@/lib/format";

import { DataPicker } from "./DataPicker";
import type { CheckState } from "./useDataCheck";

/** The file that is used, and the way to another one. */
export function Chosen({ path, onChange, changing }: { path: string; onChange: () => void; changing: boolean }) {
  return (
    <div className="flex flex-wrap items-center justify-between gap-3">
      <p className="min-w-0">
        <span className="font-semibold wrap-anywhere">{shortName(path)}</span>
        {path !== shortName(path) && <span className="block text-xs text-muted wrap-anywhere">{path}</span>}
      </p>
      <Button size="sm" onClick={onChange}>
        {changing ? "Keep this file" : "Choose another"}
      </Button>
    </div>
  );
}

/** A share held out, or a file of its own. */
export function Validation() {
  const bound = useSetting("val_data_path");
  const [choosing, setChoosing] = useState(false);
  if (!bound) return null;
  const choose = (path: string) => {
    bound.set(path);
    setChoosing(false);
  };
  if (bound.text === "" && !choosing) {
    return (
      <div className="grid items-start gap-4 sm:grid-cols-2">
        <SettingField name="validation_fraction" />
        <div>
          <p className="mb-1 text-[0.8125rem] font-medium">Or a separate file</p>
          <Button onClick={() => setChoosing(true)}>Choose validation data</Button>
        </div>
      </div>
    );
  }
  return (
    <div className="space-y-3">
      {bound.text !== "" && <Chosen path={bound.text} onChange={() => setChoosing(!choosing)} changing={choosing} />}
      {(choosing || bound.text === "") && <DataPicker what="the validation data" onChoose={choose} />}
      {bound.problem !== null && <p className="text-xs text-bad">{bound.problem}</p>}
      <Button
        size="sm"
        variant="ghost"
        onClick={() => {
          bound.set("");
          setChoosing(false);
        }}
      >
        Hold out a share of the training data instead
      </Button>
    </div>
  );
}

/** How far the check is. */
export function Checking({ state }: { state: CheckState }) {
  const { job } = state;
  const share = job?.total ? job.done / job.total : null;
  return (
    <div role="status">
      <p className="mb-1 flex justify-between gap-2 text-xs text-muted">
        <span>
          {job?.waiting
            ? "Waiting for other work to finish…"
            : `${sentence(job?.phase || "checking rows").slice(0, -1)}…`}
        </span>
        {job?.total != null && (
          <span>
            {bytes(job.done)} of {bytes(job.total)}
          </span>
        )}
      </p>
      <Progress value={share} label="Checking the data" />
    </div>
  );
}
