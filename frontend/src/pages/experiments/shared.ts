/** What all arms of a plan share, so that it can be read before the start. */

import type { FixedPlan, SettingView } from "@/api";

export interface SharedSetting {
  name: string;
  value: unknown;
  /** Whether the plan leaves it at its default. */
  byDefault: boolean;
  /** Whether an arm has a value of its own. */
  varies: boolean;
}

/** They stand by themselves. */
const APART: ReadonlySet<string> = new Set(["model_path", "train_data_path", "val_data_path"]);
/** Told even where they have their defaults. */
const TOLD = ["batch_size", "learning_rate", "lora_rank", "lora_alpha", "lora_targets", "lr_schedule", "optimizer"];

/** The settings of `fixed` that hold for all arms, or for those without one of their own; the given ones first. */
export function sharedSettings(fixed: FixedPlan, settings: readonly SettingView[]): SharedSetting[] {
  const { plan, arms } = fixed;
  const given = Object.entries(plan.settings).map(([name, value]) => ({ name, value, byDefault: false }));
  const left = settings
    .filter((setting) => TOLD.includes(setting.name) && !(setting.name in plan.settings))
    // The default of the day on which the plan was fixed, where it was kept.
    .map(({ name, ...setting }) => ({ name, value: arms[0]?.config?.[name] ?? setting.default, byDefault: true }));
  return [...given, ...left]
    .filter(({ name }) => !APART.has(name) && !(name === "learning_rate" && plan.learning_rates))
    .map((shared) => ({ ...shared, own: arms.filter(({ differs }) => shared.name in differs).length }))
    .filter(({ own }) => own < arms.length)
    .map(({ own, ...shared }) => ({ ...shared, varies: own > 0 }));
}
