/** Toasts, and the ones that say a run has ended. */

import { CircleAlert, CircleCheck, Info, TriangleAlert, X } from "lucide-react";
import type { LucideIcon } from "lucide-react";
import { useEffect, useRef } from "react";
import { Link } from "react-router";

import type { RunState, RunSummary } from "@/api";
import { IconButton, Prose } from "@/components/ui";
import { scoreOf, scoreText } from "@/features/metrics/score";
import { cx } from "@/lib/cx";
import { sentence } from "@/lib/format";
import type { Tone } from "@/lib/tone";
import { useAppDispatch, useAppSelector, useRuns, useToast } from "@/state/hooks";
import { isActive } from "@/state/live";
import { toastRemoved } from "@/state/store";
import type { Toast } from "@/state/store";

const SHOWN_MS = 8000;
const ICONS: Record<Tone, [LucideIcon, string]> = {
  neutral: [Info, "text-muted"],
  info: [Info, "text-info"],
  good: [CircleCheck, "text-good"],
  warn: [TriangleAlert, "text-warn"],
  bad: [CircleAlert, "text-bad"],
};

function ToastView({ toast }: { toast: Toast }) {
  const dispatch = useAppDispatch();
  const { id, tone, title, text, link } = toast;
  // What went wrong stays until it is read.
  const stays = tone === "bad";
  useEffect(() => {
    if (stays) return undefined;
    const timer = setTimeout(() => dispatch(toastRemoved(id)), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [dispatch, id, stays]);
  const [Icon, colour] = ICONS[tone];
  return (
    <li className="pointer-events-auto flex w-full max-w-sm items-start gap-2.5 rounded-lg border border-line bg-surface p-3 shadow-lg">
      <Icon className={cx("mt-0.5 size-4 shrink-0", colour)} aria-hidden />
      <div className="min-w-0 flex-1 text-[0.8125rem] wrap-anywhere">
        <p className="font-medium">
          <Prose text={title} />
        </p>
        {text !== undefined && (
          <p className="text-muted">
            <Prose text={sentence(text)} />
          </p>
        )}
        {link && (
          <Link
            to={link.to}
            className="font-medium text-accent underline-offset-2 hover:underline"
            onClick={() => dispatch(toastRemoved(id))}
          >
            {link.label}
          </Link>
        )}
      </div>
      <IconButton
        icon={X}
        label="Dismiss"
        size="sm"
        className="-mt-1 -mr-1"
        onClick={() => dispatch(toastRemoved(id))}
      />
    </li>
  );
}

/** Toasts, newest at the end; a polite live region that is always there, so that additions are read out. */
export function Toaster() {
  const toasts = useAppSelector((state) => state.toasts);
  return (
    <div
      role="status"
      aria-live="polite"
      className="pointer-events-none fixed inset-x-4 bottom-30 z-50 flex justify-end lg:bottom-4"
    >
      <ul className="flex w-full max-w-sm flex-col gap-2">
        {toasts.map((toast) => (
          <ToastView key={toast.id} toast={toast} />
        ))}
      </ul>
    </div>
  );
}

/** What to say about a run that went from being at work to `run.state`; nothing for states that are no end. */
function endOf(run: RunSummary): Omit<Toast, "id"> | null {
  const link = { to: `/results/${run.id}`, label: "Open the result" };
  const best = scoreOf(run);
  switch (run.state) {
    case "finished":
      return {
        tone: "good",
        title: `${run.adapter} finished`,
        text: best.best === null ? undefined : `Best ${best.name} ${scoreText(best.kind, best.best)}.`,
        link,
      };
    case "stopped":
      return {
        tone: "info",
        title: `${run.adapter} stopped`,
        text: `Checkpoint saved at step ${run.checkpoint_step ?? run.step}.`,
        link,
      };
    case "failed":
    case "crashed":
      return { tone: "bad", title: `${run.adapter} ${run.state}`, text: run.problem?.message, link };
    default:
      return null;
  }
}

/** Watch all runs and say which ended. */
export function useRunToasts(): void {
  const { runs, ready } = useRuns();
  const toast = useToast();
  const before = useRef<Map<string, RunState> | null>(null);
  useEffect(() => {
    if (!ready) return;
    for (const run of runs) {
      const state = before.current?.get(run.id);
      const said = state !== undefined && isActive(state) ? endOf(run) : null;
      if (said) toast(said);
    }
    before.current = new Map(runs.map((run) => [run.id, run.state]));
  }, [runs, ready, toast]);
}
