import { Download, FolderOpen, X } from "lucide-react";
import { useEffect, useEffectEvent, useState } from "react";
import type { SubmitEvent } from "react";

import { api, useCancelJobMutation, useImportModelMutation, useListModelsQuery, usePullModelMutation } from "@/api";
import type { ModelEntry } from "@/api";
import { useAppDispatch, useJob, useToast } from "@/app/hooks";
import {
  Badge,
  Button,
  ErrorNote,
  IconButton,
  Note,
  Progress,
  RadioCards,
  Skeleton,
  Tabs,
  TextField,
} from "@/components/ui";
import { bytes } from "@/lib/format";

import { SOURCES, shortName } from "./ModelCard";

interface Props {
  chosen: string;
  onChoose: (ref: string) => void;
}

/** A download or an import under way; says where the model is once it has come. */
function ModelJob({ id, onDone, onEnd }: { id: string; onDone: (model: string) => void; onEnd: () => void }) {
  const job = useJob(id);
  const [cancel] = useCancelJobMutation();
  const dispatch = useAppDispatch();
  const toast = useToast();
  const done = useEffectEvent((model: string) => {
    dispatch(api.util.invalidateTags(["models"]));
    toast({ tone: "good", title: `${shortName(model)} is here` });
    onDone(model);
  });
  const model = job?.state === "done" ? job.model : null;
  useEffect(() => {
    if (model) done(model);
  }, [model]);
  if (!job || job.state === "running") {
    const share = job?.total ? job.done / job.total : null;
    return (
      <div className="flex items-center gap-3">
        <div className="min-w-0 flex-1">
          <p className="mb-1 flex flex-wrap justify-between gap-2 text-xs">
            <span className="wrap-anywhere">
              {job ? `${job.waiting ? "Waiting: " : ""}${job.title}` : "Starting…"}
            </span>
            {job && (
              <span className="text-muted">
                {bytes(job.done)}
                {job.total !== null && ` of ${bytes(job.total)}`}
              </span>
            )}
          </p>
          <Progress value={share} label={job?.title ?? "Fetching the model"} />
        </div>
        <IconButton icon={X} label="Cancel" size="sm" onClick={() => void cancel({ job: id })} />
      </div>
    );
  }
  if (job.error) return <ErrorNote error={job.error} onRetry={onEnd} />;
  return <p className="text-xs text-muted">{job.state === "cancelled" ? "Cancelled." : "Done."}</p>;
}

function ModelList({ chosen, onChoose, onFetch }: Props & { onFetch: (model: string) => void }) {
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
          hint="On the machine that the server runs on, below a folder that it may read (see System, above)."
          value={path}
          onValue={setPath}
          mono
        />
        <TextField
          label="Name it"
          hint={
            gguf
              ? "A GGUF file is converted once and kept under this name."
              : "Optional: known under this name from now on."
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

/** Models here, from the hub, or from a folder. */
export function ModelPicker({ chosen, onChoose }: Props) {
  const [way, setWay] = useState<(typeof WAYS)[number]["value"]>("here");
  const [job, setJob] = useState<string | null>(null);
  const [pull, pulling] = usePullModelMutation();
  const [adopt, adopting] = useImportModelMutation();
  const fetchModel = async (model: string) => {
    const { data } = await pull({ modelPull: { model } });
    if (data) setJob(data.id);
  };
  const importModel = async (path: string, name: string) => {
    const { data } = await adopt({ modelImport: { path, name } });
    if (data) setJob(data.id);
  };
  const error = pulling.error ?? adopting.error;
  return (
    <div className="space-y-4">
      <Tabs label="Where the model comes from" value={way} tabs={WAYS} onValue={setWay}>
        {way === "here" && (
          <ModelList chosen={chosen} onChoose={onChoose} onFetch={(model) => void fetchModel(model)} />
        )}
        {way === "hub" && (
          <HubForm onFetch={(model) => void fetchModel(model)} busy={pulling.isLoading || job !== null} />
        )}
        {way === "folder" && (
          <FolderForm
            onUse={onChoose}
            onImport={(path, name) => void importModel(path, name)}
            busy={adopting.isLoading}
          />
        )}
      </Tabs>
      {error && <ErrorNote error={error} />}
      {job !== null && (
        <Note tone="neutral">
          <ModelJob
            id={job}
            onDone={(model) => {
              setJob(null);
              onChoose(model);
            }}
            onEnd={() => setJob(null)}
          />
        </Note>
      )}
    </div>
  );
}
