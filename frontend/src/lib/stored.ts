/** Values kept in this browser's storage, and checked when they are read. */

import { useSyncExternalStore } from "react";
import * as z from "zod/mini";

export interface Stored<T> {
  get: () => T;
  /** Whether it could be kept; otherwise it holds until the page is left. */
  set: (value: T) => boolean;
  update: (change: (value: T) => T) => boolean;
  subscribe: (listener: () => void) => () => void;
}

const OBJECT = z.record(z.string(), z.unknown());

interface Options {
  /** Follows the changes of other tabs; the rest is read once, so that two tabs do not type into each other. */
  shared?: boolean;
  storage?: () => Storage;
}

/** `read` turns whatever JSON is there into a value, repairing or dropping what is not as it should be. */
export function stored<T>(
  key: string,
  read: (found: unknown) => T,
  { shared = false, storage = () => localStorage }: Options = {},
): Stored<T> {
  const listeners = new Set<() => void>();
  let text: string | null = null;
  let value: { is: T } | null = null;

  /** Undefined where storage is switched off. */
  const load = (): string | null | undefined => {
    try {
      return storage().getItem(key);
    } catch {
      return undefined;
    }
  };
  const save = (written: string): boolean => {
    try {
      storage().setItem(key, written);
      return true;
    } catch {
      return false;
    }
  };
  const get = (): T => {
    if (value !== null && !shared) return value.is;
    const now = load();
    // What could not be kept is still what this page shows.
    if (value === null || (now !== text && now !== undefined)) {
      text = now ?? null;
      value = { is: read(parsed(text)) };
    }
    return value.is;
  };
  const set = (next: T): boolean => {
    value = { is: next };
    const written = JSON.stringify(next);
    const kept = save(written);
    text = kept ? written : (load() ?? null);
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
      // What another tab wrote meanwhile counts for the next page that shows it.
      if (listeners.size === 0) value = null;
    };
  };
  return { get, set, update: (change) => set(change(get())), subscribe };
}

export function useStored<T>(store: Stored<T>): T {
  return useSyncExternalStore(store.subscribe, store.get);
}

/** A reader of lists: items that are not as they should be are dropped. */
export function listOf<T>(item: z.ZodMiniType<T>): (found: unknown) => T[] {
  return (found) => (Array.isArray(found) ? found : []).flatMap((one: unknown) => item.safeParse(one).data ?? []);
}

/** A reader of objects: a field that is missing, or not as it should be, is as in `initial`. */
export function objectOf<T extends object>(
  shape: { [Name in keyof T]: z.ZodMiniType<T[Name]> },
  initial: () => T,
): (found: unknown) => T {
  return (found) => {
    const value = initial();
    const given = OBJECT.safeParse(found).data ?? {};
    for (const name in shape) {
      const own = shape[name].safeParse(given[name]);
      if (own.success) value[name] = own.data;
    }
    return value;
  };
}

/** Text as JSON; null for text that is none. */
export function parsed(text: string | null): unknown {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}
