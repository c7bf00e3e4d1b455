/** Whether this browser is signed in: unknown until the server has said something. */

import { createSlice, isRejectedWithValue } from "@reduxjs/toolkit";

import { asApiError } from "@/api";

interface SessionState {
  signedIn: boolean | null;
}

const initialState: SessionState = { signedIn: null };

const session = createSlice({
  name: "session",
  initialState,
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
export const sessionReducer = session.reducer;
