/** Values kept in this browser's storage, and checked when they are read. */

import { useSyncExternalStore } from "react";

export interface Stored<T> {
  get: () => T;
  /** Whether it could be kept; otherwise it holds until the page is left. */
  set: (value: T) => boolean;
  update: (change: (value: T) => T) => boolean;
  subscribe: (listener: () => void) => () => void;
}

/**
 * `read` turns whatever JSON is found into a value, mending or dropping what is not as it should be. What is `shared`
 * follows the changes of other tabs; the rest is read once, so that two tabs do not type into each other.
 */
export function stored<T>(key: string, read: (found: unknown) => T, { shared }: { shared: boolean }): Stored<T> {
  const listeners = new Set<() => void>();
  let text: string | null = null;
  let value: T | null = null;

  const get = (): T => {
    if (value !== null && !shared) return value;
    const now = load(key);
    // What could not be kept is still what this page shows.
    if (value === null || (now !== text && now !== undefined)) {
      text = now ?? null;
      value = read(parse(text));
    }
    return value;
  };
  const set = (next: T): boolean => {
    value = next;
    const written = JSON.stringify(next);
    const kept = save(key, written);
    text = kept ? written : (load(key) ?? null);
    for (const listener of listeners) listener();
    return kept;
  };
  const subscribe = (listener: () => void) => {
    const onStorage = (event: StorageEvent) => {
      if (event.key === key || event.key === null) listener();
    };
    listeners.add(listener);
    window.addEventListener("storage", onStorage);
    return () => {
      listeners.delete(listener);
      window.removeEventListener("storage", onStorage);
    };
  };
  return { get, set, update: (change) => set(change(get())), subscribe };
}

export function useStored<T>(store: Stored<T>): T {
  return useSyncExternalStore(store.subscribe, store.get);
}

/** Undefined where storage is switched off. */
function load(key: string): string | null | undefined {
  try {
    return localStorage.getItem(key);
  } catch {
    return undefined;
  }
}

function save(key: string, text: string): boolean {
  try {
    localStorage.setItem(key, text);
    return true;
  } catch {
    return false;
  }
}

function parse(text: string | null): unknown {
  if (text === null) return null;
  try {
    const found: unknown = JSON.parse(text);
    return found;
  } catch {
    return null;
  }
}
