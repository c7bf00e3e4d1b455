/** Which model: chosen, fetched or imported, and what it is. */

import { Box, Download, FolderOpen, TriangleAlert, X } from "lucide-react";
import { useEffect, useEffectEvent, useState } from "react";
import type { SubmitEvent } from "react";

import { api, useCancelJobMutation, useImportModelMutation, useListModelsQuery, usePullModelMutation } from "@/api";
import type { Job, ModelEntry, TargetsReport } from "@/api";
import {
  Badge,
  Button,
  Card,
  ErrorNote,
  IconButton,
  Note,
  Progress,
  RadioCards,
  Skeleton,
  Stat,
  Stats,
  Tabs,
  TextField,
} from "@/components/ui";
import { useSetting } from "@/features/form/form";
import type { Targets } from "@/features/form/queries";
import { bytes, compact, count, integer, shortName } from "@/lib/format";
import { useAppDispatch, useJob, useToast } from "@/state/hooks";

function WhatItIs({ report, entry }: { report: TargetsReport; entry: ModelEntry | undefined }) {
  return (
    <div className="space-y-3">
      <Stats>
        <Stat label="Parameters" value={compact(report.parameters)} note={integer(report.parameters)} />
        <Stat
          label="Architecture"
          value={report.model_type}
          note={`${count(report.blocks, "block")}, width ${report.hidden_size ?? "–"}`}
        />
        <Stat label="Context" value={integer(report.context_length)} note="tokens at most" />
        <Stat
          label="Weights"
          value={report.quantization ?? "not quantised"}
          note={entry && entry.bytes > 0 ? `${bytes(entry.bytes)} on disk` : undefined}
        />
      </Stats>
      {report.code.length > 0 && (
        <Note tone="warn" title="This model's folder contains code. Droid FineTuning never runs it.">
          {report.code.join(", ")}
        </Note>
      )}
      {report.warnings.map((warning) => (
        <Note key={warning} tone="warn" title="About this model">
          {warning}
        </Note>
      ))}
    </div>
  );
}

/** Which model, and what it is. */
export function ModelCard({ targets }: { targets: Targets }) {
  const bound = useSetting("model_path");
  const [choosing, setChoosing] = useState(false);
  const { data: models } = useListModelsQuery();
  if (!bound) return null;
  const ref = bound.text;
  const entry = models?.find((model) => model.ref === ref);
  const open = choosing || ref === "";
  return (
    <Card
      title="Model"
      icon={Box}
      description={open ? "The model to fine-tune. Its own files are never changed." : undefined}
      actions={
        ref !== "" && (
          <Button size="sm" onClick={() => setChoosing(!choosing)}>
            {choosing ? "Keep this model" : "Choose another"}
          </Button>
        )
      }
    >
      {!open && (
        <div className="space-y-4">
          <p className="flex flex-wrap items-center gap-2">
            <span className="font-semibold wrap-anywhere">{shortName(ref)}</span>
            {entry && <Badge>{SOURCES[entry.source]}</Badge>}
            {ref !== shortName(ref) && <span className="text-xs text-muted wrap-anywhere">{ref}</span>}
          </p>
          {targets.report ? (
            <WhatItIs report={targets.report} entry={entry} />
          ) : targets.error ? (
            <ErrorNote error={targets.error} onRetry={targets.refetch} />
          ) : (
            <Skeleton className="h-14" />
          )}
          {bound.problem !== null && (
            <p className="flex items-center gap-1.5 text-xs text-bad">
              <TriangleAlert className="size-3.5" aria-hidden />
              {bound.problem}
            </p>
          )}
        </div>
      )}
      {open && (
        <ModelPicker
          chosen={ref}
          onChoose={(model) => {
            bound.set(model);
            setChoosing(false);
          }}
        />
      )}
    </Card>
  );
}

const SOURCES: Record<ModelEntry["source"], string> = {
  home: "on this machine",
  "hub cache": "in the hub's cache",
  embedded: "small, to try things out",
};

interface Props {
  chosen: string;
  onChoose: (ref: string) => void;
}

/** A download or an import under way. */
function ModelJob({ job, onCancel }: { job: Job | undefined; onCancel: () => void }) {
  const title = job ? `${job.waiting ? "Waiting: " : ""}${job.title}` : "Starting…";
  return (
    <div className="flex items-center gap-3 rounded-md bg-sunken p-3" role="status">
      <div className="min-w-0 flex-1">
        <p className="mb-1 flex flex-wrap justify-between gap-2 text-xs">
          <span className="wrap-anywhere">{title}</span>
          {job && (
            <span className="text-muted">
              {job.phase !== "" && `${job.phase}, `}
              {bytes(job.done)}
              {job.total !== null && ` of ${bytes(job.total)}`}
            </span>
          )}
        </p>
        <Progress value={job?.total ? job.done / job.total : null} label={job?.title ?? "Fetching the model"} />
      </div>
      <IconButton icon={X} label="Cancel" size="sm" onClick={onCancel} />
    </div>
  );
}

interface ListProps extends Props {
  onFetch: (model: string) => void;
  busy: boolean;
}

function ModelList({ chosen, onChoose, onFetch, busy }: ListProps) {
  const { data, error, refetch } = useListModelsQuery();
  if (error) return <ErrorNote error={error} onRetry={() => void refetch()} />;
  if (!data) return <Skeleton className="h-28" />;
  const usable = data.filter((model) => model.installed);
  const absent = data.filter((model) => !model.installed);
  return (
    <div className="space-y-3">
      {usable.length > 0 && (
        <div className="max-h-96 overflow-y-auto p-0.5">
          <RadioCards
            label="Models on this machine"
            value={usable.some((model) => model.ref === chosen) ? chosen : null}
            onValue={onChoose}
            className="sm:grid-cols-2"
            options={usable.map((model) => ({
              value: model.ref,
              title: shortName(model.ref),
              aside: bytes(model.bytes),
              text: <ModelLine model={model} />,
              disabled: model.problem !== "",
            }))}
          />
        </div>
      )}
      {absent.map((model) => (
        <div
          key={model.ref}
          className="flex flex-wrap items-center justify-between gap-3 rounded-md border border-dashed border-edge p-3"
        >
          <div className="min-w-0">
            <p className="text-[0.8125rem] font-medium">{shortName(model.ref)}</p>
            <p className="text-xs text-muted">{model.note || SOURCES[model.source]}</p>
          </div>
          <Button
            size="sm"
            icon={Download}
            busy={busy}
            variant={usable.length === 0 ? "primary" : "secondary"}
            onClick={() => onFetch(model.ref)}
          >
            Fetch
          </Button>
        </div>
      ))}
      {data.length === 0 && <p className="text-muted">No model is on this machine yet.</p>}
    </div>
  );
}

function ModelLine({ model }: { model: ModelEntry }) {
  if (model.problem !== "") return <span className="text-bad">{model.problem}</span>;
  return (
    <span className="flex flex-wrap items-center gap-1.5">
      {model.model_type}
      {model.quantization !== "" && <Badge>{model.quantization}</Badge>}
      <span>{model.note || SOURCES[model.source]}</span>
    </span>
  );
}

function HubForm({ onFetch, busy }: { onFetch: (model: string) => void; busy: boolean }) {
  const [id, setId] = useState("");
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    onFetch(id.trim());
  };
  return (
    <form onSubmit={submit} className="flex flex-wrap items-end gap-3">
      <TextField
        className="flex-1 basis-64"
        label="Hub id"
        hint="As on huggingface.co: organisation/name. Only its weights, settings and tokenizer are fetched; no code is run."
        placeholder="mlx-community/Qwen2.5-0.5B-Instruct-bf16"
        value={id}
        onValue={setId}
        mono
      />
      <Button
        type="submit"
        variant="primary"
        icon={Download}
        busy={busy}
        disabled={!id.includes("/")}
        className="mb-5"
      >
        Fetch
      </Button>
    </form>
  );
}

function FolderForm({
  onUse,
  onImport,
  busy,
}: {
  onUse: (path: string) => void;
  onImport: (path: string, name: string) => void;
  busy: boolean;
}) {
  const [path, setPath] = useState("");
  const [name, setName] = useState("");
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    if (name.trim() === "") onUse(path.trim());
    else onImport(path.trim(), name.trim());
  };
  const gguf = path.trim().toLowerCase().endsWith(".gguf");
  return (
    <form onSubmit={submit} className="space-y-3">
      <div className="grid gap-3 sm:grid-cols-[2fr_1fr]">
        <TextField
          label="Folder or GGUF file"
          hint="On the server's machine, inside a folder that it may read (see System, above)."
          value={path}
          onValue={setPath}
          mono
        />
        <TextField
          label="Name it"
          hint={
            gguf
              ? "A GGUF file is converted once and kept under this name."
              : "Optional: the name it will have from now on."
          }
          value={name}
          onValue={setName}
        />
      </div>
      <Button
        type="submit"
        variant="primary"
        icon={FolderOpen}
        busy={busy}
        disabled={path.trim() === "" || (gguf && name.trim() === "")}
      >
        {name.trim() === "" ? "Use this folder" : "Import"}
      </Button>
    </form>
  );
}

const WAYS = [
  { value: "here", label: "On this machine" },
  { value: "hub", label: "From the hub" },
  { value: "folder", label: "From a folder or file" },
] as const;

/** What was begun, so that it can be begun again. */
interface Begun {
  job: string;
  again: () => Promise<void>;
}

/** Models here, from the hub, or from a folder. */
function ModelPicker({ chosen, onChoose }: Props) {
  const [way, setWay] = useState<(typeof WAYS)[number]["value"]>("here");
  const [begun, setBegun] = useState<Begun | null>(null);
  const [pull, pulling] = usePullModelMutation();
  const [adopt, adopting] = useImportModelMutation();
  const [cancel] = useCancelJobMutation();
  const dispatch = useAppDispatch();
  const toast = useToast();
  const job = useJob(begun?.job ?? null);
  const running = begun !== null && (job === undefined || job.state === "running");

  const fetchModel = async (model: string) => {
    const { data } = await pull({ modelPull: { model } });
    if (data) setBegun({ job: data.id, again: () => fetchModel(model) });
  };
  const importModel = async (path: string, name: string) => {
    const { data } = await adopt({ modelImport: { path, name } });
    if (data) setBegun({ job: data.id, again: () => importModel(path, name) });
  };
  const arrived = useEffectEvent((model: string) => {
    dispatch(api.util.invalidateTags(["models"]));
    toast({ tone: "good", title: `${shortName(model)} is ready` });
    onChoose(model);
  });
  const model = job?.state === "done" ? job.model : null;
  useEffect(() => {
    if (model) arrived(model);
  }, [model]);

  const error = pulling.error ?? adopting.error;
  return (
    <div className="space-y-4">
      <Tabs label="Where the model comes from" value={way} tabs={WAYS} onValue={setWay}>
        {way === "here" && (
          <ModelList chosen={chosen} onChoose={onChoose} onFetch={(ref) => void fetchModel(ref)} busy={running} />
        )}
        {way === "hub" && <HubForm onFetch={(ref) => void fetchModel(ref)} busy={pulling.isLoading || running} />}
        {way === "folder" && (
          <FolderForm
            onUse={onChoose}
            onImport={(path, name) => void importModel(path, name)}
            busy={adopting.isLoading || running}
          />
        )}
      </Tabs>
      {error && <ErrorNote error={error} />}
      {running && <ModelJob job={job} onCancel={() => void cancel({ job: begun.job })} />}
      {job?.warnings?.map((warning) => (
        <Note key={warning} tone="warn">
          {warning}
        </Note>
      ))}
      {begun && job?.error && <ErrorNote error={job.error} onRetry={() => void begun.again()} />}
    </div>
  );
}
