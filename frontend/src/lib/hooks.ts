/** Small hooks that belong to no page. */

import { useEffect, useState } from "react";

/** `value`, once it has stayed the same for `ms`. Compare by what it says: pass a string, or something memoised. */
export function useDebounced<T>(value: T, ms: number): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}
