/** The form's state: kept in this browser, shared by the cards. */

import { nanoid } from "@reduxjs/toolkit";
import { createContext, use, useMemo, useRef } from "react";
import type { ReactNode } from "react";
import { useNavigate } from "react-router";
import * as z from "zod/mini";

import { errorOf, useCreateRunMutation } from "@/api";
import type { ApiError, SettingView } from "@/api";
import { parseNumber } from "@/lib/numbers";
import { objectOf, stored, useStored } from "@/lib/stored";

import { current, isConfig, rulesOf, VALUE } from "./draft";
import type { Draft, DraftValue, Problems } from "./draft";

export type Mode = "simple" | "advanced";
export const MODES = [
  { value: "simple", label: "Simple" },
  { value: "advanced", label: "Advanced" },
] as const satisfies readonly { value: Mode; label: string }[];

interface Kept {
  draft: Draft;
  mode: Mode;
}

const readKept = objectOf(
  { draft: z.record(z.string(), z.unknown()), mode: z.enum(["simple", "advanced"]) },
  (): { draft: Record<string, unknown>; mode: Mode } => ({ draft: {}, mode: "simple" }),
);

/** What an earlier visit left, as far as it can be understood. */
export function restore(found: unknown): Kept {
  const { draft, mode } = readKept(found);
  const values = Object.entries(draft).map(([name, value]) => [name, VALUE.safeParse(value).data] as const);
  return {
    draft: Object.fromEntries(values.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))),
    mode,
  };
}

export interface Form {
  draft: Draft;
  mode: Mode;
  set: (name: string, value: DraftValue) => void;
  unset: (...names: string[]) => void;
  replace: (draft: Draft) => void;
  setMode: (mode: Mode) => void;
}

/**
 * The form of each page, kept in this browser: one form, in however many tabs. Each change is made to what is kept by
 * then, so a tab that was opened earlier never puts an old value back.
 */
const FORMS = {
  "/setup": stored("droidft.setup", restore, { shared: true }),
  "/enhanced": stored("droidft.enhanced", restore, { shared: true }),
  "/experiments": stored("droidft.experiments", restore, { shared: true }),
} as const;
export type Page = keyof typeof FORMS;

/** Leave a form for a page that is about to be opened. */
export function leaveFor(page: Page, draft: Draft): void {
  FORMS[page].update((kept) => ({ ...kept, draft }));
}

/** The form of a page, in this browser. */
export function useForm(page: Page): Form {
  const store = FORMS[page];
  const kept = useStored(store);
  const actions = useMemo(() => {
    const change = (next: (draft: Draft) => Draft) =>
      void store.update(({ draft, mode }) => ({ draft: next(draft), mode }));
    return {
      set: (name: string, value: DraftValue) => change((draft) => ({ ...draft, [name]: value })),
      unset: (...names: string[]) =>
        change((draft) => Object.fromEntries(Object.entries(draft).filter(([name]) => !names.includes(name)))),
      replace: (draft: Draft) => change(() => draft),
      setMode: (mode: Mode) => void store.update(({ draft }) => ({ draft, mode })),
    };
  }, [store]);
  return useMemo(() => ({ ...kept, ...actions }), [kept, actions]);
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

/** Start the run of a configuration. The same form sent twice, for want of an answer, makes one run. */
export function useStart() {
  const navigate = useNavigate();
  const [create, { isLoading, error, originalArgs }] = useCreateRunMutation();
  const sent = useRef({ body: "", key: "" });
  const start = async (config: Record<string, unknown>) => {
    if (!isConfig(config)) return;
    const body = JSON.stringify(config);
    if (sent.current.body !== body) sent.current = { body, key: nanoid() };
    const { data, error: failure } = await create({ trainingConfig: config, "Idempotency-Key": sent.current.key });
    // An answer settles the matter; only silence leaves open whether there is a run.
    const silence = failure !== undefined && "status" in failure && failure.status === 0;
    if (!silence) sent.current = { body: "", key: "" };
    if (data) await navigate(`/training/${data.id}`);
  };
  return {
    start,
    isLoading,
    /** Why the configuration was refused; once it changes, the server judges again. */
    refusalOf: (config: Record<string, unknown>): ApiError | undefined =>
      JSON.stringify(originalArgs?.trainingConfig) === JSON.stringify(config) ? errorOf(error) : undefined,
  };
}
