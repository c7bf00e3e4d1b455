import { FileUp, X } from "lucide-react";
import { useId, useRef, useState } from "react";
import type { DragEvent } from "react";

import { api } from "@/api";
import type { DataFile } from "@/api";
import { ErrorNote, IconButton, Progress } from "@/components/ui";
import { cx } from "@/lib/cx";
import { bytes, percent } from "@/lib/format";
import { useAppDispatch } from "@/state/hooks";

import { upload } from "./upload";

interface Sending {
  name: string;
  size: number;
  share: number;
  abort: () => void;
}

/** A place to drop a data file on, or to choose one; it is copied into the home folder. */
export function UploadArea({ label, onDone }: { label: string; onDone: (file: DataFile) => void }) {
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
