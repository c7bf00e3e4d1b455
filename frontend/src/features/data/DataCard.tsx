/** The card in which data is chosen and checked; Setup, Enhanced Setup and Experiments add what is theirs. */

import { Database, RotateCw } from "lucide-react";
import { useState } from "react";
import type { ReactNode } from "react";

import { Button, Card, Disclosure, ErrorNote, Progress } from "@/components/ui";
import { useSetting } from "@/features/form/form";
import { SettingField } from "@/features/form/SettingField";
import { bytes, sentence, shortName } from "@/lib/format";
import type { Family } from "@/lib/methods";

import { DataPicker } from "./DataPicker";
import { DataReport } from "./DataReport";
import type { CheckState } from "./useDataCheck";

/** The file that is used, and the way to another one. */
function Chosen({ path, onChange, changing }: { path: string; onChange: () => void; changing: boolean }) {
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

interface OwnFileProps {
  /** What it holds. */
  what: string;
  /** Empty while the usual is used in its place. */
  path: string;
  problem?: string | null;
  /** What goes back to the usual. */
  otherwise: string;
  onPath: (path: string) => void;
  /** Shown while no file is chosen; `open` begins to choose one. */
  closed: (open: () => void) => ReactNode;
}

/** A file of its own in place of what is usual. */
export function OwnFile({ what, path, problem = null, otherwise, onPath, closed }: OwnFileProps) {
  const [choosing, setChoosing] = useState(false);
  const choose = (chosen: string) => {
    onPath(chosen);
    setChoosing(false);
  };
  if (path === "" && !choosing) return closed(() => setChoosing(true));
  return (
    <div className="space-y-3">
      {path !== "" && <Chosen path={path} onChange={() => setChoosing(!choosing)} changing={choosing} />}
      {(choosing || path === "") && <DataPicker what={what} onChoose={choose} />}
      {problem !== null && <p className="text-xs text-bad">{problem}</p>}
      <Button size="sm" variant="ghost" onClick={() => choose("")}>
        {otherwise}
      </Button>
    </div>
  );
}

/** A share held out, or a file of its own. */
function Validation() {
  const bound = useSetting("val_data_path");
  if (!bound) return null;
  return (
    <OwnFile
      what="the validation data"
      path={bound.text}
      problem={bound.problem}
      otherwise="Hold out a share of the training data instead"
      onPath={bound.set}
      closed={(open) => (
        <div className="grid items-start gap-4 sm:grid-cols-2">
          <SettingField name="validation_fraction" />
          <div>
            <p className="mb-1 text-[0.8125rem] font-medium">Or a separate file</p>
            <Button onClick={open}>Choose validation data</Button>
          </div>
        </div>
      )}
    />
  );
}

/** How far the check is. */
function Checking({ state: { job } }: { state: CheckState }) {
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
      <Progress value={job?.total ? job.done / job.total : null} label="Checking the data" />
    </div>
  );
}

interface Props {
  state: CheckState;
  /** One line under the title; `open` while a file is being chosen. */
  description: (open: boolean) => string | undefined;
  /** Offers to check again. */
  recheck?: boolean;
  family?: Family;
  /** Data to try it with, while none is chosen. */
  example?: ReactNode;
  /** Before the check, whether data is chosen or not. */
  sample?: (open: boolean) => ReactNode;
  /** Before the check of chosen data. */
  before?: ReactNode;
  /** What is said of the validation data in place of where it comes from. */
  validationAside?: string;
  /** After the validation data. */
  children?: ReactNode;
}

/** Which data, and what training would make of it. */
export function DataCard(props: Props) {
  const { state, description, recheck = true, family, example, sample, before, validationAside, children } = props;
  const bound = useSetting("train_data_path");
  const validation = useSetting("val_data_path");
  const without = useSetting("validation")?.text === "none";
  const [choosing, setChoosing] = useState(false);
  if (!bound) return null;
  const path = bound.text;
  const missing = path === "";
  const check = state.check ?? state.previous ?? state.partial;
  const heldOut = without ? "none" : "a share of the training data";
  const ownValidation = validation?.text ? shortName(validation.text) : heldOut;
  return (
    <Card
      title="Data"
      icon={Database}
      description={description(choosing || missing)}
      actions={
        recheck && !missing && !state.running ? (
          <Button size="sm" variant="ghost" icon={RotateCw} onClick={state.again}>
            Check again
          </Button>
        ) : undefined
      }
    >
      <div className="space-y-4">
        {!missing && <Chosen path={path} onChange={() => setChoosing(!choosing)} changing={choosing} />}
        {bound.problem !== null && !missing && <p className="text-xs text-bad">{bound.problem}</p>}
        {(choosing || missing) && (
          <DataPicker
            what="a file"
            example={missing && example}
            onChoose={(chosen) => {
              bound.set(chosen);
              setChoosing(false);
            }}
          />
        )}
        {sample?.(missing)}
        {!missing && (
          <>
            {before}
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
            <Disclosure title="Validation data" aside={validationAside ?? ownValidation}>
              <Validation />
            </Disclosure>
            {children}
          </>
        )}
      </div>
    </Card>
  );
}
