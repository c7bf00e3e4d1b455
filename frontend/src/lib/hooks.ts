/** Small hooks that belong to no page. */

import { useEffect, useState, useSyncExternalStore } from "react";

/** `value`, once it has stayed the same for `ms`. Compare by what it says: pass a string, or something memoised. */
export function useDebounced<T>(value: T, ms: number): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}

const narrow = () => window.matchMedia("(max-width: 639px)");

function subscribe(listener: () => void): () => void {
  const query = narrow();
  query.addEventListener("change", listener);
  return () => query.removeEventListener("change", listener);
}

/** Whether the window is as narrow as a phone. */
export function useNarrow(): boolean {
  return useSyncExternalStore(subscribe, () => narrow().matches);
}
