import { Database, RotateCw } from "lucide-react";
import { useState } from "react";
import type { SubmitEvent } from "react";

import { useListDataQuery, useMakeExampleMutation } from "@/api";
import type { DataFile } from "@/api";
import { useToast } from "@/app/hooks";
import { Button, Card, Disclosure, ErrorNote, Progress, Select, Skeleton, TextField } from "@/components/ui";
import { bytes, sentence } from "@/lib/format";

import { DataReport } from "./DataReport";
import { fromConfig } from "./draft";
import { useSetting, useSetup } from "./form";
import { shortName } from "./ModelCard";
import { SettingField } from "./SettingField";
import { UploadArea } from "./UploadArea";
import type { CheckState } from "./useDataCheck";

/** The demo's data, with the settings that suit it. */
function Example() {
  const { settings, draft, replace } = useSetup();
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

function PathForm({ onUse }: { onUse: (path: string) => void }) {
  const [path, setPath] = useState("");
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    if (path.trim() !== "") onUse(path.trim());
  };
  return (
    <form onSubmit={submit} className="flex items-end gap-2">
      <TextField
        className="flex-1"
        label="Path on this machine, or a data set of the hub"
        placeholder="/data/train.jsonl or hub:org/name"
        mono
        value={path}
        onValue={setPath}
      />
      <Button type="submit" disabled={path.trim() === ""}>
        Use
      </Button>
    </form>
  );
}

function FileSelect({
  label,
  files,
  onChoose,
}: {
  label: string;
  files: readonly DataFile[];
  onChoose: (path: string) => void;
}) {
  const options = [
    { value: "", label: "Choose a file…" },
    ...files.map((file) => ({ value: file.path, label: `${file.name}  (${bytes(file.bytes)})` })),
  ];
  return <Select label={label} value="" options={options} onValue={(path) => path !== "" && onChoose(path)} />;
}

/** Ways to a data file: an upload, a file that is here, a path. */
interface PickerProps {
  what: string;
  onChoose: (path: string) => void;
  withExample?: boolean;
}

function DataPicker({ what, onChoose, withExample }: PickerProps) {
  const { data: files, error, refetch } = useListDataQuery();
  return (
    <div className="space-y-4">
      <UploadArea label={`Drop ${what} here, or choose it`} onDone={(file) => onChoose(file.path)} />
      {withExample && <Example />}
      <div className="grid gap-4 sm:grid-cols-2">
        {error ? (
          <ErrorNote error={error} onRetry={() => void refetch()} />
        ) : !files ? (
          <Skeleton className="h-14" />
        ) : (
          files.length > 0 && <FileSelect label="Files in the home folder" files={files} onChoose={onChoose} />
        )}
        <PathForm onUse={onChoose} />
      </div>
    </div>
  );
}

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

function Validation() {
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
          <p className="mb-1 text-[0.8125rem] font-medium">Or a file of its own</p>
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

function Checking({ state }: { state: CheckState }) {
  const { job } = state;
  const share = job?.total ? job.done / job.total : null;
  return (
    <div role="status">
      <p className="mb-1 flex justify-between gap-2 text-xs text-muted">
        <span>
          {job?.waiting
            ? "Waiting for other work to end…"
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
            withExample={path === ""}
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
