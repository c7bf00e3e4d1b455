/** The form of a new experiment: what was typed beside the settings that all arms share, and the plan it stands for. */

import * as z from "zod/mini";

import type { Plan } from "@/api";
import { parseNumber } from "@/lib/numbers";
import { objectOf, stored } from "@/lib/stored";

const ARM = z.object({
  name: z.string(),
  /** Settings, one `name: value` a line. */
  settings: z.string(),
  /** Place of another arm whose trainable count is matched: names change while they are typed. */
  match: z.nullable(z.number()),
});
export type ArmDraft = z.infer<typeof ARM>;

const DRAFT = z.object({
  title: z.string(),
  question: z.enum(["template", "arms", "sweep"]),
  arms: z.array(ARM),
  /** One `name: value, value` a line. */
  sweep: z.string(),
  seeds: z.string(),
  rates: z.string(),
  shares: z.boolean(),
  margin: z.string(),
  testPath: z.string(),
  testShare: z.string(),
  check: z.enum(["none", "numeric_answer", "exact_answer"]),
  questions: z.string(),
  answerColumn: z.string(),
  generalPath: z.string(),
});
export type ExperimentDraft = z.infer<typeof DRAFT>;
export type QuestionKind = ExperimentDraft["question"];
export type CheckKind = ExperimentDraft["check"];

export const EMPTY: ExperimentDraft = {
  title: "",
  question: "template",
  arms: [
    { name: "full-layer", settings: "lora_targets: full-layer", match: null },
    { name: "mlp", settings: "lora_targets: mlp", match: null },
  ],
  sweep: "learning_rate: 1e-4, 3e-4, 1e-3",
  seeds: "3",
  rates: "",
  shares: false,
  margin: "0.02",
  testPath: "",
  testShare: "0.1",
  check: "none",
  questions: "100",
  answerColumn: "answer",
  generalPath: "",
};

interface GivenArm {
  settings?: Record<string, unknown>;
  match_count_of?: string | null;
}

/** The form of a plan that was given before, as far as the form can say it. */
export function draftFrom(plan: Plan): ExperimentDraft {
  const { measurement = {}, sweep = {}, seeds = [], learning_rates: rates } = plan;
  const { questions } = measurement;
  const arms: Record<string, GivenArm> = { ...plan.arms };
  const names = Object.keys(arms);
  const matched = (name: string | null | undefined) => (name == null ? null : names.indexOf(name));
  const numbered = seeds.every((seed, at) => seed === at);
  return {
    ...EMPTY,
    title: plan.title ?? "",
    question: plan.template ? "template" : names.length > 0 ? "arms" : "sweep",
    arms:
      names.length > 0
        ? Object.entries(arms).map(([name, arm]) => ({
            name,
            settings: written(arm.settings ?? {}),
            match: matched(arm.match_count_of),
          }))
        : EMPTY.arms,
    sweep: Object.keys(sweep).length > 0 ? written(sweep) : EMPTY.sweep,
    seeds: seeds.length === 0 ? EMPTY.seeds : numbered ? String(seeds.length) : `${seeds.join(", ")},`,
    rates: rates?.join(", ") ?? "",
    shares: (plan.shares ?? []).length > 1,
    margin: String(plan.equivalence_margin ?? EMPTY.margin),
    testPath: measurement.test_data_path ?? "",
    testShare: words(plan.settings["test_fraction"]) || EMPTY.testShare,
    check: questions?.check.kind ?? "none",
    questions: String(questions?.most ?? EMPTY.questions),
    answerColumn: words(questions?.check.column) || EMPTY.answerColumn,
    generalPath: measurement.general_data_path ?? "",
  };
}

/** Settings as `name: value` lines. */
function written(settings: Record<string, unknown>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name}: ${Array.isArray(value) ? value.map(words).join(", ") : words(value)}`)
    .join("\n");
}

function words(value: unknown): string {
  if (value === null) return "null";
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? String(value) : "";
}

/** What an earlier visit left, as far as it can be understood. */
export const restoreDraft = objectOf(DRAFT.shape, () => ({ ...EMPTY }));
export const draftStore = stored("droidft.experiment", restoreDraft);

/** The arms without the one at `index`; who matched it matches none. */
export function withoutArm(arms: readonly ArmDraft[], index: number): ArmDraft[] {
  const moved = (match: number | null) => {
    if (match === null || match === index) return null;
    return match > index ? match - 1 : match;
  };
  return arms.filter((_, at) => at !== index).map((arm) => ({ ...arm, match: moved(arm.match) }));
}

/** A value as YAML would read it, as far as settings need it: numbers, true, false, null, else text. */
function scalar(text: string): unknown {
  const word = text.trim();
  if (word === "true" || word === "false") return word === "true";
  if (word === "null" || word === "none" || word === "") return null;
  const number = Number(word);
  return Number.isFinite(number) ? number : word;
}

/** `name: value` lines as settings; what is no such line is named. */
export function settingsOf(text: string): { settings: Record<string, unknown>; wrong: string[] } {
  const settings: Record<string, unknown> = {};
  const wrong: string[] = [];
  for (const [name, value] of lines(text, wrong)) settings[name] = scalar(value);
  return { settings, wrong };
}

/** `name: value, value` lines as a grid. */
export function sweepOf(text: string): { sweep: Record<string, unknown[]>; wrong: string[] } {
  const sweep: Record<string, unknown[]> = {};
  const wrong: string[] = [];
  for (const [name, value] of lines(text, wrong)) sweep[name] = value.split(",").map(scalar);
  return { sweep, wrong };
}

function lines(text: string, wrong: string[]): [string, string][] {
  const found: [string, string][] = [];
  for (const line of text.split("\n")) {
    if (line.trim() === "") continue;
    const match = /^\s*([a-z_][a-z0-9_]*)\s*[:=]\s*(.+)$/i.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) found.push([match[1], match[2]]);
    else wrong.push(line.trim());
  }
  return found;
}

/** `3` seeds are 0, 1, 2; a list is taken as it is. */
export function seedsOf(text: string): number[] | null {
  const numbers = text
    .split(/[\s,]+/)
    .filter(Boolean)
    .map(Number);
  if (numbers.length === 0 || numbers.some((number) => !Number.isInteger(number) || number < 0)) return null;
  const [only] = numbers;
  if (numbers.length === 1 && only !== undefined && !text.includes(","))
    return only >= 1 && only <= 100 ? Array.from({ length: only }, (_, seed) => seed) : null;
  return numbers;
}

export type Faults = Partial<Record<keyof ExperimentDraft, string>>;

/** The plan that a form stands for, and what is wrong with it by field. */
export function planOf(
  draft: ExperimentDraft,
  settings: Record<string, unknown>,
): { plan: Record<string, unknown>; faults: Faults } {
  const faults: Faults = {};
  const plan: Record<string, unknown> = { title: draft.title, settings: { ...settings } };
  switch (draft.question) {
    case "template":
      plan["template"] = "full-layer-vs-attention";
      break;
    case "arms":
      plan["arms"] = Object.fromEntries(
        draft.arms.map((arm) => {
          const { settings: own, wrong } = settingsOf(arm.settings);
          if (wrong.length > 0) faults.arms = `${arm.name}: write “name: value”, not “${wrong[0] ?? ""}”.`;
          const matched = arm.match === null ? undefined : draft.arms[arm.match];
          return [arm.name, { settings: own, match_count_of: matched?.name ?? null }];
        }),
      );
      if (new Set(draft.arms.map(({ name }) => name)).size < draft.arms.length)
        faults.arms = "Two arms have one name.";
      if (draft.arms.some(({ name }) => name === "")) faults.arms = "Every arm needs a name.";
      break;
    case "sweep": {
      const { sweep, wrong } = sweepOf(draft.sweep);
      if (wrong.length > 0) faults.sweep = `Write “name: value, value”, not “${wrong[0] ?? ""}”.`;
      if (Object.keys(sweep).length === 0) faults.sweep = "Name at least one setting with its values.";
      plan["sweep"] = sweep;
      break;
    }
  }
  const seeds = seedsOf(draft.seeds);
  if (seeds === null) faults.seeds = "A number of seeds such as 3, or a list such as 0, 1, 2.";
  else plan["seeds"] = seeds;
  if (draft.rates.trim() !== "") {
    const rates = draft.rates
      .split(/[\s,]+/)
      .filter(Boolean)
      .map(Number);
    if (rates.some((rate) => !(rate > 0 && rate <= 1))) faults.rates = "Rates above 0, such as 1e-4, 3e-4.";
    else plan["learning_rates"] = rates;
  }
  if (draft.shares) plan["shares"] = [0.1, 0.25, 0.5, 1];
  const margin = parseNumber(draft.margin, { min: 0, above: true, max: 10 });
  if (margin.kind === "number") plan["equivalence_margin"] = margin.value;
  else faults.margin = "A number above 0, such as 0.02.";
  plan["measurement"] = measurementOf(draft, faults);
  return { plan: withTest(plan, draft, faults), faults };
}

function measurementOf(draft: ExperimentDraft, faults: Faults): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  if (draft.testPath !== "") found["test_data_path"] = draft.testPath;
  if (draft.generalPath !== "") found["general_data_path"] = draft.generalPath;
  if (draft.check !== "none") {
    const most = parseNumber(draft.questions, { integer: true, min: 1 });
    if (most.kind !== "number") faults.questions = "A whole number from 1 on.";
    else
      found["questions"] = {
        check: { kind: draft.check, column: draft.answerColumn.trim() || "answer" },
        most: most.value,
      };
  }
  return found;
}

function withTest(plan: Record<string, unknown>, draft: ExperimentDraft, faults: Faults): Record<string, unknown> {
  if (draft.testPath !== "") return plan;
  const share = parseNumber(draft.testShare, { min: 0, above: true, max: 1, below: true });
  if (share.kind !== "number") {
    faults.testShare = "A share between 0 and 1, such as 0.1.";
    return plan;
  }
  const settings = plan["settings"];
  return { ...plan, settings: { ...(typeof settings === "object" ? settings : {}), test_fraction: share.value } };
}
