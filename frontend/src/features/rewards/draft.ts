/** Rewards as the form keeps them, and as a run is given them. */

import { nanoid } from "@reduxjs/toolkit";

import type { RewardKindView, SettingView } from "@/api";
import { isItem, isText, rulesOf, shown } from "@/features/form/draft";
import type { DraftItem, DraftValue, FieldValue } from "@/features/form/draft";
import { parseNumber } from "@/lib/numbers";

/** Problems of one reward, by the name of its parameter; `""` is of the reward as a whole. */
export type RewardProblems = Readonly<Record<string, string>>;

export interface ReadRewards {
  rewards: Record<string, unknown>[];
  /** By the reward's id. */
  problems: Readonly<Record<string, RewardProblems>>;
}

/** The rewards that a draft's value holds. */
export function rewardsIn(value: DraftValue | undefined): DraftItem[] {
  return Array.isArray(value) ? value.filter(isItem) : [];
}

/** A new reward of a kind; its parameters have their defaults. */
export function newReward(kind: string, fields: DraftItem["fields"] = {}): DraftItem {
  return { id: nanoid(), kind, fields };
}

/** What the field of a parameter shows. */
export function fieldOf(reward: DraftItem, parameter: SettingView): FieldValue {
  return reward.fields[parameter.name] ?? shown(parameter.default);
}

/** What it is called in reports, as the engine names it. */
export function nameOf({ kind, fields }: DraftItem): string {
  const text = (name: string) => (isText(fields[name]) ? fields[name].trim() : "");
  if (text("label") !== "") return text("label");
  if (kind === "python") return `${text("file").replace(/\.py$/, "")}.${text("function") || "reward"}`;
  return kind;
}

/** The weight that is typed; 1 where none is, null where it cannot be read. */
export function weightOf({ fields }: DraftItem): number | null {
  const typed = fields["weight"];
  if (typed === undefined) return 1;
  const parsed = parseNumber(isText(typed) ? typed : "", { min: -1000, max: 1000 });
  return parsed.kind === "number" ? parsed.value : null;
}

/** Each reward's part of the sum of all weights without their signs; null where a weight cannot be read. */
export function sharesOf(rewards: readonly DraftItem[]): (number | null)[] {
  const weights = rewards.map(weightOf);
  const total = weights.reduce<number>((sum, weight) => sum + Math.abs(weight ?? 0), 0);
  return weights.map((weight) => (weight === null || total === 0 ? null : Math.abs(weight) / total));
}

function read(
  reward: DraftItem,
  kind: RewardKindView,
): { values: Record<string, unknown>; problems: RewardProblems } {
  const values: Record<string, unknown> = { kind: reward.kind };
  const problems: Record<string, string> = {};
  for (const parameter of kind.parameters) {
    const typed = reward.fields[parameter.name];
    const { name } = parameter;
    if (typed === undefined) {
      if (parameter.required) problems[name] = "This is needed.";
    } else if (parameter.kind === "integer" || parameter.kind === "number") {
      const parsed = parseNumber(isText(typed) ? typed : "", rulesOf(parameter));
      if (parsed.kind === "bad") problems[name] = parsed.message;
      if (parsed.kind === "number") values[name] = parsed.value;
    } else if (Array.isArray(typed)) {
      values[name] = typed.map((line) => line.trim()).filter((line) => line !== "");
    } else if (typeof typed === "boolean" || typed.trim() !== "") {
      values[name] = typed;
    } else if (parameter.required) problems[name] = "This is needed.";
    else if (parameter.default !== null) problems[name] = "This cannot be empty.";
  }
  return { values, problems };
}

/** What the rewards stand for, and what of them cannot be read. */
export function readRewards(rewards: readonly DraftItem[], kinds: readonly RewardKindView[]): ReadRewards {
  const problems: Record<string, RewardProblems> = {};
  const made: Record<string, unknown>[] = [];
  for (const reward of rewards) {
    const kind = kinds.find((one) => one.kind === reward.kind);
    if (!kind) {
      problems[reward.id] = { "": `This program knows no reward of the kind ${reward.kind}.` };
      continue;
    }
    const one = read(reward, kind);
    if (Object.keys(one.problems).length > 0) problems[reward.id] = one.problems;
    made.push(one.values);
  }
  return { rewards: made, problems };
}
