import { useState } from "react";
import type { ReactNode, SubmitEvent } from "react";

import { useListDataQuery } from "@/api";
import type { DataFile } from "@/api";
import { Button, ErrorNote, Select, Skeleton, TextField } from "@/components/ui";
import { bytes } from "@/lib/format";

import { UploadArea } from "./UploadArea";

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
  const { data: files, error, refetch } = useListDataQuery();
  return (
    <div className="space-y-4">
      <UploadArea label={`Drop ${what} here, or choose it`} onDone={(file) => onChoose(file.path)} />
      {example}
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
