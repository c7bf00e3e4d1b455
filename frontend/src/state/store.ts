/** The store: what the server said (RTK Query), what it keeps telling (live), and this browser's own state. */

import { configureStore } from "@reduxjs/toolkit";

import { api } from "@/api";

import { liveReducer } from "./live";
import { sessionReducer } from "./session";
import { toastsReducer } from "./toasts";

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
