/** What can be done with a run, where that makes sense in its state. */

import { ChartLine, Columns2, CopyPlus, ListX, OctagonX, Play, RotateCcw, Square } from "lucide-react";
import { useState } from "react";
import type { ReactNode } from "react";

import { asApiError, useCancelQueuedMutation, useResumeRunMutation, useStopRunMutation } from "@/api";
import type { ApiError, RunSummary } from "@/api";
import { Button, LinkButton, useConfirm } from "@/components/ui";
import { compareLink, runLink, trainingLink } from "@/features/runs/state";
import { integer } from "@/lib/format";
import { cloneLink, setupName } from "@/lib/methods";
import { useToast } from "@/state/hooks";
import { isActive } from "@/state/live";

/** What went wrong, and how to try it again. */
export interface Failure {
  error: ApiError;
  again: () => void;
}

type Doing = "stop" | "kill" | "resume" | "cancel";

/** The requests that change a run, with what is under way and what went wrong. */
export function useRunActions(run: RunSummary) {
  const [stopRun] = useStopRunMutation();
  const [resumeRun] = useResumeRunMutation();
  const [cancelQueued] = useCancelQueuedMutation();
  const [doing, setDoing] = useState<Doing | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [ask, dialog] = useConfirm();
  const toast = useToast();

  const attempt = async (what: Doing, request: () => Promise<unknown>): Promise<boolean> => {
    setDoing(what);
    setFailure(null);
    try {
      await request();
      return true;
    } catch (caught) {
      setFailure({ error: asApiError(caught), again: () => void attempt(what, request) });
      return false;
    } finally {
      setDoing(null);
    }
  };

  const stop = async () => {
    const sure = await ask({
      title: "Stop this run?",
      text:
        "It saves a checkpoint and ends. Nothing is lost: it can be resumed later, bit for bit. " +
        "Abandoning the step in progress may take a moment.",
      confirm: "Save a checkpoint and end",
      cancel: "Keep training",
    });
    if (sure) await attempt("stop", () => stopRun({ run: run.id, stopRequest: { force: false } }).unwrap());
  };

  const kill = async () => {
    const kept =
      run.checkpoint_step === null
        ? "There is no checkpoint yet: all of it is lost."
        : `What came after its last checkpoint (step ${integer(run.checkpoint_step)} of ${integer(run.step)} done) is lost.`;
    const sure = await ask({
      title: "Kill the worker now?",
      text: `It ends at once, without saving. ${kept}`,
      confirm: "Kill it",
      cancel: "Wait",
      danger: true,
    });
    if (sure) await attempt("kill", () => stopRun({ run: run.id, stopRequest: { force: true } }).unwrap());
  };

  const resume = () => attempt("resume", () => resumeRun({ run: run.id, request: null }).unwrap());

  const cancel = async () => {
    const done = await attempt("cancel", () => cancelQueued({ run: run.id }).unwrap());
    if (!done) return;
    toast({
      tone: "neutral",
      title: `${run.adapter} was removed from the queue`,
      text: "It was not deleted; it can be queued again from its page.",
      link: { to: trainingLink(run.id), label: "Open it" },
    });
  };

  return { stop, kill, resume, cancel, doing, failure, dialog };
}

export type RunActions = ReturnType<typeof useRunActions>;

/** The buttons of one run; `brief` leaves only what changes it. */
export function ActionButtons({
  run,
  actions,
  brief,
}: {
  run: RunSummary;
  actions: RunActions;
  brief?: boolean | undefined;
}): ReactNode {
  const { doing } = actions;
  const { state } = run;
  const size = brief ? "sm" : "md";
  const ended = !isActive(state) && state !== "queued" && state !== "created";
  return (
    <>
      {(state === "running" || state === "stalled") && (
        <Button size={size} icon={Square} busy={doing === "stop"} onClick={() => void actions.stop()}>
          Stop
        </Button>
      )}
      {(state === "stalled" || state === "stopping") && (
        <Button
          size={size}
          variant="danger"
          icon={OctagonX}
          busy={doing === "kill"}
          onClick={() => void actions.kill()}
        >
          Kill now
        </Button>
      )}
      {state === "queued" && (
        <Button size={size} icon={ListX} busy={doing === "cancel"} onClick={() => void actions.cancel()}>
          Remove from the queue
        </Button>
      )}
      {run.can_resume && (
        <Button
          size={size}
          variant="primary"
          icon={state === "created" ? Play : RotateCcw}
          busy={doing === "resume"}
          onClick={() => void actions.resume()}
        >
          {state === "created" ? "Start" : "Resume"}
        </Button>
      )}
      {!brief && (
        <>
          {/* A finished run has both in the note on its end. */}
          {ended && state !== "finished" && (
            <LinkButton to={runLink(run.id)} icon={ChartLine}>
              See result
            </LinkButton>
          )}
          {state !== "finished" && run.checkpoint_step !== null && (
            <LinkButton to={compareLink(run.model, run.adapter)} icon={Columns2}>
              Compare with base
            </LinkButton>
          )}
          {state !== "unreadable" && (
            <LinkButton to={cloneLink(run)} icon={CopyPlus}>
              Clone into {setupName(run.method)}
            </LinkButton>
          )}
        </>
      )}
    </>
  );
}
