/** What can be done to a run, with its questions, its toasts, and which run is being worked on. */

import { useCallback, useMemo, useState } from "react";
import type { ReactNode } from "react";

import { asApiError, useDeleteRunMutation, useResumeRunMutation, useStopRunMutation } from "@/api";
import type { RunSummary } from "@/api";
import { useConfirm } from "@/components/ui";
import { useToast } from "@/state/hooks";

import { DeleteDialog } from "./DeleteDialog";
import { sentences } from "./facts";

export type Work = "stop" | "resume" | "delete";

export interface RunActions {
  stop: (run: RunSummary) => void;
  /** Ends the worker at once, after a question. */
  kill: (run: RunSummary) => void;
  resume: (run: RunSummary) => void;
  /** Asks what to delete first. */
  remove: (run: RunSummary) => void;
}

export interface UsedActions {
  actions: RunActions;
  /** What is under way, by run. */
  busy: Readonly<Record<string, Work>>;
  /** To be rendered once by the page. */
  dialogs: ReactNode;
}

/** Actions on runs. `onDeleted` is told when a run is gone. */
export function useRunActions(onDeleted?: (run: string) => void): UsedActions {
  const [busy, setBusy] = useState<Record<string, Work>>({});
  const [doomed, setDoomed] = useState<RunSummary | null>(null);
  const [ask, confirmDialog] = useConfirm();
  const toast = useToast();
  const [stopRun] = useStopRunMutation();
  const [resumeRun] = useResumeRunMutation();
  const [deleteRun] = useDeleteRunMutation();

  const work = useCallback(
    async (run: RunSummary, kind: Work, call: () => Promise<unknown>, done: string, failed: string) => {
      setBusy((others) => ({ ...others, [run.id]: kind }));
      try {
        await call();
        toast({ tone: "info", title: `${run.adapter || run.id} ${done}` });
        return true;
      } catch (caught) {
        const { message, hint } = asApiError(caught);
        toast({ tone: "bad", title: `${run.adapter || run.id} ${failed}`, text: sentences(message, hint) });
        return false;
      } finally {
        setBusy((others) => Object.fromEntries(Object.entries(others).filter(([id]) => id !== run.id)));
      }
    },
    [toast],
  );

  const actions = useMemo<RunActions>(() => {
    const stop = (run: RunSummary, force: boolean) =>
      work(
        run,
        "stop",
        () => stopRun({ run: run.id, stopRequest: { force } }).unwrap(),
        run.state === "queued"
          ? "left the queue"
          : force
            ? "is being killed"
            : "is saving a checkpoint and will stop",
        "could not be stopped",
      );
    return {
      stop: (run) => void stop(run, false),
      kill: (run) =>
        void ask({
          title: `Kill ${run.adapter} at once?`,
          text:
            run.checkpoint_step === null
              ? "It has saved no checkpoint yet, so everything it has learned is lost."
              : `What it learned after its last checkpoint (step ${run.checkpoint_step}) is lost. It can be resumed from there.`,
          confirm: "Kill it",
          danger: true,
        }).then((yes) => (yes ? stop(run, true) : undefined)),
      resume: (run) =>
        void work(
          run,
          "resume",
          () => resumeRun({ run: run.id }).unwrap(),
          "is waiting for its turn",
          "cannot be resumed",
        ),
      remove: setDoomed,
    };
  }, [ask, work, stopRun, resumeRun]);

  const remove = async (run: RunSummary, files: boolean) => {
    const what = files ? "was deleted with its adapter" : "was deleted; its adapter is kept";
    const gone = await work(
      run,
      "delete",
      () => deleteRun({ run: run.id, files }).unwrap(),
      run.state === "unreadable" ? "was deleted" : what,
      "could not be deleted",
    );
    setDoomed(null);
    if (gone) onDeleted?.(run.id);
  };

  const dialogs = (
    <>
      {confirmDialog}
      <DeleteDialog
        run={doomed}
        busy={doomed !== null && busy[doomed.id] === "delete"}
        onDelete={(run, files) => void remove(run, files)}
        onClose={() => setDoomed(null)}
      />
    </>
  );
  return { actions, busy, dialogs };
}
