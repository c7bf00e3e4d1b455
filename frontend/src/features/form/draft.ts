/**
 * The form as it stands: what was typed, by setting. A setting that is not in it has its default. Numbers stay text
 * until they are needed, so that a field can be empty or half typed.
 */

import { nanoid } from "@reduxjs/toolkit";
import * as z from "zod/mini";

import type { SettingView, TrainingConfig } from "@/api";
import { parseNumber, typed } from "@/lib/numbers";
import type { NumberRules } from "@/lib/numbers";

/** What one field can hold. */
const FIELD = z.union([z.string(), z.boolean(), z.array(z.string())]);
export type FieldValue = z.infer<typeof FIELD>;

/** An item of a list of objects, such as a reward: its kind, and its fields as they are typed. */
const ITEM = z.object({
  /** Of this browser only: it stays the same when the item is moved. */
  id: z.string(),
  kind: z.string(),
  fields: z.record(z.string(), FIELD),
});
export type DraftItem = z.infer<typeof ITEM>;

export const VALUE = z.union([FIELD, z.array(ITEM)]);
export type DraftValue = z.infer<typeof VALUE>;
export type Draft = Readonly<Record<string, DraftValue>>;
export type Problems = Readonly<Record<string, string>>;

/** A run takes part in neither: one continues an old run, the other is for the command line. */
export const NOT_IN_FORM: ReadonlySet<string> = new Set(["resume"]);

/** What may be typed for a setting. */
export function rulesOf({ kind, optional, bounds }: SettingView): NumberRules {
  return { ...bounds, integer: kind === "integer", optional };
}

/** The text, state or list that a field shows for a value of the configuration. */
export function shown(value: unknown): FieldValue {
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return typed(value);
  if (Array.isArray(value)) return value.map(String);
  if (typeof value === "object" && value !== null) return JSON.stringify(value);
  return typeof value === "string" ? value : "";
}

/** Settings with the defaults that they have with a method. */
export function forMethod(settings: readonly SettingView[], method: string): SettingView[] {
  return settings.map((setting) =>
    method in setting.by_method ? { ...setting, default: setting.by_method[method] } : setting,
  );
}

/** A list of objects as the form keeps it; what is no object with a kind is left out. */
export function itemsOf(value: unknown): DraftItem[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((item: unknown) => {
    if (typeof item !== "object" || item === null || !("kind" in item) || typeof item.kind !== "string") return [];
    const { kind, ...fields } = item;
    // A field that is null is not given: what that means is its default.
    const given = Object.entries(fields).filter(([, own]) => own !== null);
    return [{ id: nanoid(), kind, fields: Object.fromEntries(given.map(([name, own]) => [name, shown(own)])) }];
  });
}

/** What the field of `setting` shows now. */
export function current(draft: Draft, setting: SettingView): DraftValue {
  return draft[setting.name] ?? (setting.kind === "objects" ? itemsOf(setting.default) : shown(setting.default));
}

export function isText(value: unknown): value is string {
  return typeof value === "string";
}

export function isItem(value: string | DraftItem): value is DraftItem {
  return typeof value !== "string";
}

/** The configuration that a draft stands for, without what cannot be read (named in `problems`) and without objects. */
export function toConfig(
  draft: Draft,
  settings: readonly SettingView[],
): { config: Record<string, unknown>; problems: Problems } {
  const config: Record<string, unknown> = {};
  const problems: Record<string, string> = {};
  for (const setting of settings) {
    const value = draft[setting.name];
    if (value === undefined || NOT_IN_FORM.has(setting.name)) continue;
    if (setting.kind === "integer" || setting.kind === "number") {
      const parsed = parseNumber(typeof value === "string" ? value : "", rulesOf(setting));
      if (parsed.kind === "bad") problems[setting.name] = parsed.message;
      if (parsed.kind === "number") config[setting.name] = parsed.value;
      // Emptied where the method has a default of its own: that is not meant.
      if (parsed.kind === "empty" && setting.default !== null) config[setting.name] = null;
    } else if (Array.isArray(value)) {
      // Lists of objects need their own fields' rules: `features/rewards` reads them.
      if (value.length > 0 && value.every(isText)) config[setting.name] = value;
    } else if (typeof value === "boolean" || value !== "") {
      config[setting.name] = value;
    }
  }
  return { config, problems };
}

/** A draft from settings by name, as a YAML file or an old run has them; what is no setting is left out and named. */
export function fromConfig(
  values: Record<string, unknown>,
  settings: readonly SettingView[],
): { draft: Draft; unknown: string[] } {
  const known = new Map(settings.map((setting) => [setting.name, setting]));
  const draft: Record<string, DraftValue> = {};
  const unknown: string[] = [];
  for (const [name, value] of Object.entries(values)) {
    const setting = known.get(name);
    if (!setting || NOT_IN_FORM.has(name)) unknown.push(name);
    else if (value === null) {
      if (setting.optional && setting.default !== null) draft[name] = "";
    } else if (JSON.stringify(value) !== JSON.stringify(setting.default))
      draft[name] = setting.kind === "objects" ? itemsOf(value) : shown(value);
  }
  return { draft, unknown };
}

/** Whether a configuration names at least what every run needs; the server judges the rest. */
export function isConfig(config: Record<string, unknown>): config is Record<string, unknown> & TrainingConfig {
  return typeof config["model_path"] === "string" && typeof config["train_data_path"] === "string";
}

/** The text of a draft's setting that holds text; empty otherwise. */
export function textOf(draft: Draft, name: string): string {
  const value = draft[name];
  return typeof value === "string" ? value : "";
}
