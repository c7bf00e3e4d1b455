/** The form's state: kept in this browser, shared by the cards. */

import { createContext, use, useCallback, useEffect, useMemo, useReducer } from "react";
import type { ReactNode } from "react";

import type { SettingView } from "@/api";
import { parseNumber } from "@/lib/numbers";

import { current, isField, isItem, rulesOf } from "./draft";
import type { Draft, DraftValue, Problems } from "./draft";

export type Mode = "simple" | "advanced";
export const MODES = [
  { value: "simple", label: "Simple" },
  { value: "advanced", label: "Advanced" },
] as const satisfies readonly { value: Mode; label: string }[];

interface Stored {
  draft: Draft;
  mode: Mode;
}

type Action =
  | { type: "set"; name: string; value: DraftValue }
  | { type: "unset"; names: readonly string[] }
  | { type: "replace"; draft: Draft }
  | { type: "mode"; mode: Mode };

function reduce(state: Stored, action: Action): Stored {
  switch (action.type) {
    case "set":
      return { ...state, draft: { ...state.draft, [action.name]: action.value } };
    case "unset":
      return {
        ...state,
        draft: Object.fromEntries(Object.entries(state.draft).filter(([name]) => !action.names.includes(name))),
      };
    case "replace":
      return { ...state, draft: action.draft };
    case "mode":
      return { ...state, mode: action.mode };
  }
}

function isValue(value: unknown): value is DraftValue {
  return isField(value) || (Array.isArray(value) && value.every(isItem));
}

/** What an earlier visit left, as far as it can be understood. */
export function restore(text: string | null): Stored {
  const empty: Stored = { draft: {}, mode: "simple" };
  if (text === null) return empty;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || !("draft" in value)) return empty;
    const { draft } = value;
    if (typeof draft !== "object" || draft === null) return empty;
    const kept: Record<string, DraftValue> = {};
    for (const [name, item] of Object.entries(draft)) if (isValue(item)) kept[name] = item;
    return { draft: kept, mode: "mode" in value && value.mode === "advanced" ? "advanced" : "simple" };
  } catch {
    return empty;
  }
}

export interface Form {
  draft: Draft;
  mode: Mode;
  set: (name: string, value: DraftValue) => void;
  unset: (...names: string[]) => void;
  replace: (draft: Draft) => void;
  setMode: (mode: Mode) => void;
}

/** Where this browser keeps the form of each page. */
export const STORED = {
  "/setup": "droidft.setup",
  "/enhanced": "droidft.enhanced",
  "/experiments": "droidft.experiments",
} as const;
export type Page = keyof typeof STORED;

/** Leave a form for a page that is about to be opened. */
export function leaveFor(page: Page, draft: Draft): void {
  const { mode } = restore(localStorage.getItem(STORED[page]));
  localStorage.setItem(STORED[page], JSON.stringify({ draft, mode }));
}

/** The form of a page, in this browser. */
export function useForm(page: Page): Form {
  const key = STORED[page];
  const [state, dispatch] = useReducer(reduce, null, () => restore(localStorage.getItem(key)));
  useEffect(() => {
    localStorage.setItem(key, JSON.stringify(state));
  }, [state, key]);
  const set = useCallback((name: string, value: DraftValue) => dispatch({ type: "set", name, value }), []);
  const unset = useCallback((...names: string[]) => dispatch({ type: "unset", names }), []);
  const replace = useCallback((draft: Draft) => dispatch({ type: "replace", draft }), []);
  const setMode = useCallback((mode: Mode) => dispatch({ type: "mode", mode }), []);
  return useMemo(() => ({ ...state, set, unset, replace, setMode }), [state, set, unset, replace, setMode]);
}

interface FormContext extends Form {
  page: Page;
  /** With the defaults of the method that is set up. */
  settings: ReadonlyMap<string, SettingView>;
  /** What is wrong, by setting. */
  problems: Problems;
}

const Context = createContext<FormContext | null>(null);

export function FormProvider({ value, children }: { value: FormContext; children: ReactNode }) {
  return <Context value={value}>{children}</Context>;
}

/** The form, in any card of the page. */
export function useRunForm(): FormContext {
  const context = use(Context);
  if (!context) throw new Error("useRunForm outside of a page with a form");
  return context;
}

export interface BoundSetting {
  setting: SettingView;
  value: DraftValue;
  text: string;
  problem: string | null;
  isDefault: boolean;
  set: (value: DraftValue) => void;
}

/** One setting of the form; null where this server has no such setting. */
export function useSetting(name: string): BoundSetting | null {
  const { settings, draft, problems, set } = useRunForm();
  const setting = settings.get(name);
  if (!setting) return null;
  const value = current(draft, setting);
  return {
    setting,
    value,
    text: typeof value === "string" ? value : "",
    problem: problems[name] ?? null,
    isDefault: draft[name] === undefined,
    set: (next) => set(name, next),
  };
}

/** The number that a setting stands for now; null when it is empty or wrong. */
export function useNumber(name: string): number | null {
  const bound = useSetting(name);
  if (!bound) return null;
  const parsed = parseNumber(bound.text, rulesOf(bound.setting));
  return parsed.kind === "number" ? parsed.value : null;
}
