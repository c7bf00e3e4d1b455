/** What the server keeps telling: runs, queue, jobs, and whether it is still there. */

import { createSelector, createSlice } from "@reduxjs/toolkit";
import type { PayloadAction } from "@reduxjs/toolkit";

import type { Job, QueueView, RunState, RunSummary, UpdateFrame } from "@/api/generated";

export type Connection = "connecting" | "live" | "lost";

export interface LiveState {
  connection: Connection;
  /** Whether a first frame has come: before it, nothing is known, not even that there is nothing. */
  ready: boolean;
  runs: Record<string, RunSummary>;
  queue: QueueView | null;
  jobs: Record<string, Job>;
}

const initialState: LiveState = { connection: "connecting", ready: false, runs: {}, queue: null, jobs: {} };

function byId<T extends { id: string }>(items: T[]): Record<string, T> {
  return Object.fromEntries(items.map((item) => [item.id, item]));
}

const live = createSlice({
  name: "live",
  initialState,
  reducers: {
    connectionChanged: (state, { payload }: PayloadAction<Connection>) => {
      state.connection = payload;
    },
    /** `first`: the frame holds everything, so what it does not name is gone. */
    updated: (state, { payload }: PayloadAction<{ frame: UpdateFrame; first: boolean }>) => {
      const { frame, first } = payload;
      state.ready = true;
      state.queue = frame.queue;
      const removed = new Set(frame.removed);
      const kept = first ? [] : Object.values(state.runs).filter((run) => !removed.has(run.id));
      state.runs = byId([...kept, ...frame.runs]);
      state.jobs = first ? byId(frame.jobs) : { ...state.jobs, ...byId(frame.jobs) };
    },
  },
});

export const { connectionChanged, updated } = live.actions;
export const liveReducer = live.reducer;

interface HasLive {
  live: LiveState;
}

const ACTIVE: ReadonlySet<RunState> = new Set(["running", "stopping", "stalled"]);

/** Whether a run's worker is at work. */
export function isActive(state: RunState): boolean {
  return ACTIVE.has(state);
}

/** All runs, newest first. */
export const selectRuns = createSelector(
  (state: HasLive) => state.live.runs,
  (runs) => Object.values(runs).sort((a, b) => b.created - a.created),
);

/** Runs whose worker is at work. */
export const selectActive = createSelector(selectRuns, (runs) => runs.filter((run) => isActive(run.state)));

/** Everything that takes a while, under way or ended; newest first. */
export const selectJobs = createSelector(
  (state: HasLive) => state.live.jobs,
  (jobs) => Object.values(jobs).sort((a, b) => b.started - a.started),
);

/** Exports among them. */
export const selectExportJobs = createSelector(selectJobs, (jobs) => jobs.filter((job) => job.kind === "export"));
