/** What can be done to a run, with its questions, its toasts, and which run is being worked on. */

import { Activity, Copy, Play, Square, Trash2, Zap } from "lucide-react";
import type { LucideIcon } from "lucide-react";
import { useCallback, useMemo, useState } from "react";
import type { ReactNode } from "react";
import { Link } from "react-router";

import { asApiError, useDeleteRunMutation, useResumeRunMutation, useStopRunMutation } from "@/api";
import type { RunSummary } from "@/api";
import { Button, Dialog, IconButton, Note, RadioCards, useConfirm } from "@/components/ui";
import { cloneLink, setupName } from "@/lib/methods";
import { useToast } from "@/state/hooks";
import { isActive } from "@/state/live";

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
          () => resumeRun({ run: run.id, request: null }).unwrap(),
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

/** A link that looks like an `IconButton`. */
function IconLink({ to, icon: Icon, label }: { to: string; icon: LucideIcon; label: string }) {
  return (
    <Link
      to={to}
      aria-label={label}
      title={label}
      className="inline-flex size-8 shrink-0 items-center justify-center rounded-md transition-colors hover:bg-sunken"
    >
      <Icon className="size-4" aria-hidden />
    </Link>
  );
}

interface ButtonsProps {
  run: RunSummary;
  work: Work | undefined;
  actions: RunActions;
}

/** What can be done to a run in a list: only what its state allows. */
export function RunButtons({ run, work, actions }: ButtonsProps) {
  const name = run.adapter || run.id;
  const stuck = run.state === "stalled" || run.state === "stopping";
  return (
    <div className="flex items-center justify-end">
      {isActive(run.state) && <IconLink to={`/training/${run.id}`} icon={Activity} label={`Watch ${name} live`} />}
      {run.can_resume && (
        <IconButton
          size="sm"
          icon={Play}
          label={run.state === "created" ? `Start ${name}` : `Resume ${name}`}
          busy={work === "resume"}
          onClick={() => actions.resume(run)}
        />
      )}
      {run.can_stop && run.state !== "stopping" && (
        <IconButton
          size="sm"
          icon={Square}
          label={run.state === "queued" ? `Remove ${name} from the queue` : `Stop ${name} with a checkpoint`}
          busy={work === "stop"}
          onClick={() => actions.stop(run)}
        />
      )}
      {run.can_stop && stuck && (
        <IconButton
          size="sm"
          icon={Zap}
          label={`Kill ${name} at once`}
          busy={work === "stop"}
          onClick={() => actions.kill(run)}
        />
      )}
      {run.state !== "unreadable" && (
        <IconLink to={cloneLink(run)} icon={Copy} label={`Clone ${name} into ${setupName(run.method)}`} />
      )}
      {!isActive(run.state) && (
        <IconButton
          size="sm"
          icon={Trash2}
          label={`Delete ${name}`}
          busy={work === "delete"}
          onClick={() => actions.remove(run)}
        />
      )}
    </div>
  );
}

interface DeleteProps {
  /** The run in question; null keeps the dialog closed. */
  run: RunSummary | null;
  busy: boolean;
  onDelete: (run: RunSummary, files: boolean) => void;
  onClose: () => void;
}

/** Asks whether the adapter goes too. */
function DeleteDialog({ run, busy, onDelete, onClose }: DeleteProps) {
  return (
    <Dialog open={run !== null} onClose={onClose} title={run ? `Delete ${run.adapter || run.id}?` : ""}>
      {run && <Question key={run.id} run={run} busy={busy} onDelete={onDelete} onClose={onClose} />}
    </Dialog>
  );
}

function Question({ run, busy, onDelete, onClose }: DeleteProps & { run: RunSummary }) {
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
