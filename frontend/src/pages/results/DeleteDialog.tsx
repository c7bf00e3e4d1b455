import { useState } from "react";

import type { RunSummary } from "@/api";
import { Button, Dialog, Note, RadioCards } from "@/components/ui";
import { isActive } from "@/state/live";

interface Props {
  /** The run in question; null keeps the dialog closed. */
  run: RunSummary | null;
  busy: boolean;
  onDelete: (run: RunSummary, files: boolean) => void;
  onClose: () => void;
}

/** Asks whether the adapter goes too. */
export function DeleteDialog({ run, busy, onDelete, onClose }: Props) {
  return (
    <Dialog open={run !== null} onClose={onClose} title={run ? `Delete ${run.adapter || run.id}?` : ""}>
      {run && <Question key={run.id} run={run} busy={busy} onDelete={onDelete} onClose={onClose} />}
    </Dialog>
  );
}

function Question({ run, busy, onDelete, onClose }: Props & { run: RunSummary }) {
  const [what, setWhat] = useState<"run" | "both">("run");
  const atWork = isActive(run.state);
  return (
    <div className="space-y-4">
      {atWork ? (
        <Note tone="warn" title="It is still running.">
          Stop it first; that saves a checkpoint.
        </Note>
      ) : (
        <>
          <RadioCards
            label="What to delete"
            value={what}
            onValue={setWhat}
            options={[
              {
                value: "run",
                title: "The run only",
                text: "Its history, log and resumable checkpoints. The adapter stays and can be used; the run cannot be resumed.",
              },
              {
                value: "both",
                title: "The run and its adapter",
                text: `All of the above and the adapter ${run.adapter} with all its weights.`,
              },
            ]}
          />
          <p className="text-[0.8125rem] text-muted">This cannot be undone.</p>
        </>
      )}
      <div className="flex flex-wrap justify-end gap-2">
        <Button onClick={onClose}>{atWork ? "Close" : "Cancel"}</Button>
        {!atWork && (
          <Button variant="danger" busy={busy} onClick={() => onDelete(run, what === "both")}>
            {what === "both" ? "Delete run and adapter" : "Delete run"}
          </Button>
        )}
      </div>
    </div>
  );
}
