/** Short notes that come and go, read out to those who do not see them. */

import { createSlice, nanoid } from "@reduxjs/toolkit";
import type { PayloadAction } from "@reduxjs/toolkit";

import type { Tone } from "@/lib/tone";

export interface Toast {
  id: string;
  tone: Tone;
  title: string;
  text?: string | undefined;
  /** Where its link leads, within the application. */
  link?: { to: string; label: string } | undefined;
}

const initialState: Toast[] = [];

const toasts = createSlice({
  name: "toasts",
  initialState,
  reducers: {
    toastAdded: {
      prepare: (toast: Omit<Toast, "id">) => ({ payload: { ...toast, id: nanoid() } }),
      reducer: (state, { payload }: PayloadAction<Toast>) => [...state.slice(-3), payload],
    },
    toastRemoved: (state, { payload }: PayloadAction<string>) => state.filter((toast) => toast.id !== payload),
  },
});

export const { toastAdded, toastRemoved } = toasts.actions;
export const toastsReducer = toasts.reducer;
