/** The list socket: runs, queue and jobs into the store, for as long as someone is signed in. */

import { useEffect } from "react";

import { api } from "@/api";
import { updateFrame } from "@/api/generatedSchemas";
import { ReconnectingSocket } from "@/api/sockets";
import { useAppDispatch, useAppSelector } from "@/state/hooks";
import { connectionChanged, updated } from "@/state/live";
import { signedIn } from "@/state/store";

/** Keep the store in step with the server. */
export function useUpdates(): void {
  const dispatch = useAppDispatch();
  const out = useAppSelector((state) => state.session.signedIn === false);
  useEffect(() => {
    if (out) return undefined;
    let wasLost = false;
    const socket = new ReconnectingSocket({
      path: () => "/api/updates",
      onFrame: (value, first) => {
        const frame = updateFrame.safeParse(value).data;
        if (!frame) return;
        dispatch(updated({ frame, first }));
        if (!first) return;
        dispatch(signedIn());
        dispatch(connectionChanged("live"));
        // What was asked meanwhile got no answer: whatever is on the page is asked for again.
        if (wasLost) dispatch(api.internalActions.onOnline());
        wasLost = false;
      },
      onState: (state) => {
        if (state !== "lost") return;
        wasLost = true;
        dispatch(connectionChanged("lost"));
      },
      // A refused upgrade says nothing about its reason; a request does, and a 401 signs this page out.
      onRefused: () =>
        void dispatch(api.endpoints.getQueue.initiate(undefined, { forceRefetch: true, subscribe: false })),
    });
    return () => socket.close();
  }, [dispatch, out]);
}
