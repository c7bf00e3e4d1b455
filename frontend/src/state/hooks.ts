/** The store as components use it. */

import { useCallback } from "react";
import { useDispatch, useSelector } from "react-redux";

import { useGetJobQuery } from "@/api";
import type { Job, QueueView, RunSummary } from "@/api";

import { selectActive, selectExportJobs, selectJobs, selectRuns } from "./live";
import type { Connection } from "./live";
import { toastAdded } from "./store";
import type { AppDispatch, RootState, Toast } from "./store";

export const useAppDispatch = useDispatch.withTypes<AppDispatch>();
export const useAppSelector = useSelector.withTypes<RootState>();

/** All runs, newest first, kept fresh by the server; `ready` is false until it has said anything. */
export function useRuns(): { runs: RunSummary[]; ready: boolean } {
  const runs = useAppSelector(selectRuns);
  const ready = useAppSelector((state) => state.live.ready);
  return { runs, ready };
}

/** Runs whose worker is at work. */
export function useActiveRuns(): RunSummary[] {
  return useAppSelector(selectActive);
}

/** One run, kept fresh; undefined while unknown. */
export function useRun(id: string | undefined): RunSummary | undefined {
  return useAppSelector((state) => (id === undefined ? undefined : state.live.runs[id]));
}

/** What trains and what waits; null while unknown. */
export function useQueue(): QueueView | null {
  return useAppSelector((state) => state.live.queue);
}

/** Whether the server is there. */
export function useConnection(): Connection {
  return useAppSelector((state) => state.live.connection);
}

/**
 * A job, kept fresh: told by the server, asked for when the connection is lost or when it ended and its result
 * was too large to be told.
 */
export function useJob(id: string | null): Job | undefined {
  const told = useAppSelector((state) => (id === null ? undefined : state.live.jobs[id]));
  const live = useAppSelector((state) => state.live.connection === "live");
  const lacksResult =
    told?.state === "done" &&
    told.check === null &&
    told.model === null &&
    told.trial === null &&
    told.export === null &&
    told.pushed === null;
  const skip = id === null || (live && told !== undefined && !lacksResult);
  const { currentData } = useGetJobQuery({ job: id ?? "" }, { skip, pollingInterval: live ? 0 : 1000 });
  if (id === null) return undefined;
  return skip ? told : (currentData ?? told);
}

/** Exports that are being made, and those of this server that have ended; newest first. */
export function useExportJobs(): Job[] {
  return useAppSelector(selectExportJobs);
}

/** All work that takes a while, newest first. */
export function useJobs(): Job[] {
  return useAppSelector(selectJobs);
}

/** Show a toast. */
export function useToast(): (toast: Omit<Toast, "id">) => void {
  const dispatch = useAppDispatch();
  return useCallback((toast) => void dispatch(toastAdded(toast)), [dispatch]);
}
