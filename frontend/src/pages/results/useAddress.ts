import { useCallback, useEffect, useState } from "react";
import { NavigationType, useLocation, useNavigationType, useSearchParams } from "react-router";

/** Browsers allow an address to change about three times a second. */
const SETTLE_MS = 350;

/**
 * The part of the page's address after `?` as state that answers at once: the address follows when typing pauses, and
 * leads when someone navigates.
 */
export function useAddress(): [URLSearchParams, (change: (before: URLSearchParams) => URLSearchParams) => void] {
  const [params, setParams] = useSearchParams();
  const { key, search } = useLocation();
  const type = useNavigationType();
  const [own, setOwn] = useState(params);
  const [entry, setEntry] = useState(key);
  if (key !== entry) {
    setEntry(key);
    if (type !== NavigationType.Replace) setOwn(params);
  }
  const wanted = own.toString();
  useEffect(() => {
    const [next, now] = [new URLSearchParams(wanted), new URLSearchParams(search)];
    if (now.toString() === wanted) return undefined;
    const typing = next.get("q") !== now.get("q");
    const timer = setTimeout(() => setParams(next, { replace: true }), typing ? SETTLE_MS : 0);
    return () => clearTimeout(timer);
  }, [wanted, search, setParams]);
  const change = useCallback((make: (before: URLSearchParams) => URLSearchParams) => setOwn(make), []);
  return [own, change];
}
