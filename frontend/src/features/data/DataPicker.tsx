/** Ways to a data file: an upload, a file that is here, a path. */

import { FileUp, X } from "lucide-react";
import { useId, useRef, useState } from "react";
import type { DragEvent, ReactNode, SubmitEvent } from "react";

import { api, useListDataQuery } from "@/api";
import type { DataFile } from "@/api";
import { fromAnswer, OFFLINE } from "@/api/errors";
import { dataFile } from "@/api/generatedSchemas";
import { Answered, Button, ErrorNote, IconButton, Progress, Select, Skeleton, TextField } from "@/components/ui";
import { cx } from "@/lib/cx";
import { bytes, percent } from "@/lib/format";
import { addressOf } from "@/lib/root";
import { parsed } from "@/lib/stored";
import { useAppDispatch } from "@/state/hooks";

/** A name that the server takes, as close to the file's own as can be. */
export function safeName(name: string): string {
  const dot = name.lastIndexOf(".");
  const stem = plain(dot > 0 ? name.slice(0, dot) : name) || "data";
  const ending = dot > 0 ? `.${plain(name.slice(dot + 1)).slice(0, 20)}` : ".jsonl";
  return stem.slice(0, LONGEST - ending.length) + ending;
}

const LONGEST = 100;

function plain(text: string): string {
  return text
    .normalize("NFKD")
    .replace(/[\u0300-\u036f]/g, "")
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+|-+$/g, "");
}

/** Send `file`; `onProgress` gets the share sent. Rejects with an `ApiError`, or with null when aborted. */
function upload(file: File, onProgress: (share: number) => void, signal: AbortSignal): Promise<DataFile> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", addressOf(`/api/data/files/${encodeURIComponent(safeName(file.name))}`));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => onProgress(event.lengthComputable ? event.loaded / event.total : 0);
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the one shape of errors
    const fail = (reason: unknown) => reject(reason);
    request.onload = () => {
      const body = parsed(request.responseText);
      const stored = dataFile.safeParse(body);
      if (request.status < 300 && stored.success) resolve(stored.data);
      else fail(fromAnswer(request.status, body));
    };
    request.onerror = () => fail({ ...OFFLINE, message: "The upload was cut off.", hint: "Try again." });
    request.onabort = () => fail(null);
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

interface Sending {
  name: string;
  size: number;
  share: number;
  abort: () => void;
}

/** A place to drop a data file on, or to choose one; it is copied into the home folder. */
function UploadArea({ label, onDone }: { label: string; onDone: (file: DataFile) => void }) {
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  const [over, setOver] = useState(false);
  const [sending, setSending] = useState<Sending | null>(null);
  const [error, setError] = useState<unknown>(null);
  const dispatch = useAppDispatch();

  const send = async (file: File | undefined) => {
    if (!file) return;
    const control = new AbortController();
    setError(null);
    setSending({ name: file.name, size: file.size, share: 0, abort: () => control.abort() });
    const progress = (share: number) => setSending((now) => now && { ...now, share });
    try {
      const stored = await upload(file, progress, control.signal);
      dispatch(api.util.invalidateTags(["data"]));
      onDone(stored);
    } catch (reason) {
      setError(reason);
    } finally {
      setSending(null);
    }
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    void send(event.dataTransfer.files[0]);
  };

  if (sending) {
    return (
      <div className="flex items-center gap-3 rounded-md border border-line p-4">
        <div className="min-w-0 flex-1">
          <p className="mb-1 flex flex-wrap justify-between gap-2 text-xs">
            <span className="wrap-anywhere">{sending.name}</span>
            <span className="text-muted">
              {percent(sending.share, 0)} of {bytes(sending.size)}
            </span>
          </p>
          <Progress value={sending.share} label={`Uploading ${sending.name}`} />
        </div>
        <IconButton icon={X} label="Cancel the upload" size="sm" onClick={sending.abort} />
      </div>
    );
  }
  return (
    <div className="space-y-2">
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- dropping is extra; the input inside does the same by keyboard */}
      <label
        htmlFor={id}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={drop}
        className={cx(
          "relative flex flex-col items-center gap-1 rounded-md border border-dashed px-4 py-5 text-center",
          "has-focus-visible:outline-2 has-focus-visible:outline-accent",
          over ? "border-accent bg-accent-soft" : "border-edge hover:bg-sunken",
        )}
      >
        <FileUp className="size-5 text-muted" aria-hidden />
        <span className="text-[0.8125rem] font-medium">{label}</span>
        <span className="text-xs text-muted">JSONL, JSON, CSV or Parquet; it stays on this machine</span>
        <input
          ref={input}
          id={id}
          type="file"
          accept=".jsonl,.json,.csv,.parquet,.ndjson,.txt"
          className="absolute inset-0 cursor-pointer opacity-0"
          onChange={(event) => {
            void send(event.target.files?.[0]);
            event.target.value = "";
          }}
        />
      </label>
      {error !== null && <ErrorNote error={error} />}
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

interface PickerProps {
  what: string;
  onChoose: (path: string) => void;
  /** Data to try it with, below the place for an upload. */
  example?: ReactNode;
}

/** Ways to a data file: an upload, a file that is here, a path. */
export function DataPicker({ what, onChoose, example }: PickerProps) {
  const known = useListDataQuery();
  return (
    <div className="space-y-4">
      <UploadArea label={`Drop ${what} here, or choose it`} onDone={(file) => onChoose(file.path)} />
      {example}
      <div className="grid gap-4 sm:grid-cols-2">
        <Answered query={known} waiting={<Skeleton className="h-14" />}>
          {(files) =>
            files.length > 0 && <FileSelect label="Files in the home folder" files={files} onChoose={onChoose} />
          }
        </Answered>
        <PathForm onUse={onChoose} />
      </div>
    </div>
  );
}
