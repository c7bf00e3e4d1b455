/** The store: what the server said (RTK Query), what it keeps telling (live), and this browser's own state. */

import { configureStore, createSlice, isRejectedWithValue, nanoid } from "@reduxjs/toolkit";
import type { PayloadAction } from "@reduxjs/toolkit";

import { api, asApiError } from "@/api";
import type { Tone } from "@/lib/tone";

import { liveReducer } from "./live";

interface SessionState {
  signedIn: boolean | null;
}

const UNKNOWN: SessionState = { signedIn: null };

const session = createSlice({
  name: "session",
  initialState: UNKNOWN,
  reducers: {
    signedIn: (state) => {
      state.signedIn = true;
    },
    signedOut: (state) => {
      state.signedIn = false;
    },
  },
  extraReducers: (builder) =>
    builder.addMatcher(isRejectedWithValue, (state, { payload }) => {
      if (asApiError(payload).status === 401) state.signedIn = false;
    }),
});

export const { signedIn, signedOut } = session.actions;
const sessionReducer = session.reducer;

export interface Toast {
  id: string;
  tone: Tone;
  title: string;
  text?: string | undefined;
  /** Where its link leads, within the application. */
  link?: { to: string; label: string } | undefined;
}

const NONE: Toast[] = [];

const toasts = createSlice({
  name: "toasts",
  initialState: NONE,
  reducers: {
    toastAdded: {
      prepare: (toast: Omit<Toast, "id">) => ({ payload: { ...toast, id: nanoid() } }),
      reducer: (state, { payload }: PayloadAction<Toast>) => [...state.slice(-3), payload],
    },
    toastRemoved: (state, { payload }: PayloadAction<string>) => state.filter((toast) => toast.id !== payload),
  },
});

export const { toastAdded, toastRemoved } = toasts.actions;
const toastsReducer = toasts.reducer;

export function makeStore() {
  return configureStore({
    reducer: { [api.reducerPath]: api.reducer, live: liveReducer, session: sessionReducer, toasts: toastsReducer },
    middleware: (defaults) =>
      // Both checks walk the whole state after each action; with thousands of runs that is felt in development.
      defaults({ serializableCheck: false, immutableCheck: false }).concat(api.middleware),
  });
}

export type AppStore = ReturnType<typeof makeStore>;
export type RootState = ReturnType<AppStore["getState"]>;
export type AppDispatch = AppStore["dispatch"];
