/** What is typed and chosen on the page, kept in this browser; and the request that it means. */

import { parseNumber, typed } from "@/lib/numbers";
import type { NumberRules } from "@/lib/numbers";

import { MOST_ADAPTERS, refOf, sideName, splitRef } from "./choices";
import type { Chosen } from "./choices";
import type { Asked } from "./comparison";
import { isBoolean, isObject, isString, listOf, nullable, shape } from "./guards";
import type { Guard } from "./guards";
import { stored } from "./stored";

export type SamplingField = "max_tokens" | "temperature" | "top_p" | "min_p" | "top_k" | "repetition_penalty";

export interface SamplingControl {
  label: string;
  initial: number;
  rules: NumberRules;
  hint: string;
}

/** Every control with its limits, which are the server's, and a line on what it does. */
export const SAMPLING: Record<SamplingField, SamplingControl> = {
  max_tokens: {
    label: "Longest answer",
    initial: 512,
    rules: { integer: true, min: 1, max: 1_000_000 },
    hint: "In tokens; an English word is about 1.3. The answer is cut off there.",
  },
  temperature: {
    label: "Temperature",
    initial: 0.7,
    rules: { min: 0, max: 10 },
    hint: "0 always takes the likeliest token, so answers repeat exactly. Higher is more varied.",
  },
  top_p: {
    label: "Top-p",
    initial: 0.9,
    rules: { min: 0, above: true, max: 1 },
    hint: "Draws only from the likeliest tokens that together reach this share. 1 is off.",
  },
  min_p: {
    label: "Min-p",
    initial: 0.05,
    rules: { min: 0, max: 1 },
    hint: "Leaves out tokens below this share of the likeliest one's probability. 0 is off.",
  },
  top_k: {
    label: "Top-k",
    initial: 40,
    rules: { integer: true, min: 0, max: 1_000_000 },
    hint: "Draws only from this many likeliest tokens. 0 is off.",
  },
  repetition_penalty: {
    label: "Repetition penalty",
    initial: 1,
    rules: { min: 0, above: true, max: 10 },
    hint: "Above 1, the last 64 tokens are less likely to come again. 1 is off.",
  },
};
export const SAMPLING_FIELDS = [
  "max_tokens",
  "temperature",
  "top_p",
  "min_p",
  "top_k",
  "repetition_penalty",
] as const satisfies readonly SamplingField[];

export const SEED_RULES: NumberRules = { integer: true, min: 0, max: 2 ** 53, below: true };
const LONGEST = 1_000_000;

export interface Form {
  /** Empty until one is chosen; a guess stands in for it. */
  model: string;
  /** Null until some are chosen. */
  adapters: Chosen[] | null;
  prompt: string;
  system: string;
  sampling: Record<SamplingField, string>;
  /** Draw a seed for each comparison, or use the one that is typed. */
  drawSeed: boolean;
  seed: string;
  template: boolean;
  blind: boolean;
  /** Which comparison of the history is on the page. */
  shown: string | null;
}

function initialValues(): Record<SamplingField, number> {
  return {
    max_tokens: SAMPLING.max_tokens.initial,
    temperature: SAMPLING.temperature.initial,
    top_p: SAMPLING.top_p.initial,
    min_p: SAMPLING.min_p.initial,
    top_k: SAMPLING.top_k.initial,
    repetition_penalty: SAMPLING.repetition_penalty.initial,
  };
}

export function initialSampling(): Record<SamplingField, string> {
  const values = initialValues();
  return {
    max_tokens: typed(values.max_tokens),
    temperature: typed(values.temperature),
    top_p: typed(values.top_p),
    min_p: typed(values.min_p),
    top_k: typed(values.top_k),
    repetition_penalty: typed(values.repetition_penalty),
  };
}

export function initialForm(): Form {
  return {
    model: "",
    adapters: null,
    prompt: "",
    system: "",
    sampling: initialSampling(),
    drawSeed: true,
    seed: "0",
    template: true,
    blind: false,
    shown: null,
  };
}

export const isChosen: Guard<Chosen> = shape<Chosen>({ name: isString, which: isString });
const isForm: Guard<Form> = shape<Form>({
  model: isString,
  adapters: nullable(listOf(isChosen)),
  prompt: isString,
  system: isString,
  sampling: shape<Record<SamplingField, string>>({
    max_tokens: isString,
    temperature: isString,
    top_p: isString,
    min_p: isString,
    top_k: isString,
    repetition_penalty: isString,
  }),
  drawSeed: isBoolean,
  seed: isString,
  template: isBoolean,
  blind: isBoolean,
  shown: nullable(isString),
});

/** A form as it was kept; fields that a later version added take their first value. */
function restored(found: unknown): Form {
  const merged = { ...initialForm(), ...(isObject(found) ? found : {}) };
  return isForm(merged) ? merged : initialForm();
}

export const formStore = stored("droidft.compare.form", restored, { shared: false });

/** A request with everything spelled out but the seed, where that is drawn when it is sent. */
export type Question = Omit<Asked, "seed"> & { seed: number | null };

export type Reading = { kind: "ready"; question: Question } | { kind: "not ready"; why: string };

/** What a form asks, with its model and adapters settled; or what it lacks. */
export function readForm(form: Form, model: string, adapters: readonly Chosen[]): Reading {
  const refs = adapters.map(refOf);
  const why = missing(form, model, refs) ?? contradiction(form);
  const sampling = readSampling(form.sampling);
  if (why !== null) return { kind: "not ready", why };
  if (sampling.kind === "bad") return { kind: "not ready", why: sampling.why };
  const seed = form.drawSeed ? null : parseNumber(form.seed, SEED_RULES);
  if (seed !== null && seed.kind !== "number") return { kind: "not ready", why: "The seed needs a whole number." };
  const question: Question = {
    ...sampling.values,
    seed: seed === null ? null : seed.value,
    prompt: form.prompt,
    model_name: model,
    adapters: [null, ...refs],
    system_prompt: form.system === "" ? null : form.system,
    use_chat_template: form.template,
  };
  return { kind: "ready", question };
}

function missing(form: Form, model: string, refs: readonly string[]): string | null {
  if (model === "") return "Choose a base model.";
  if (refs.length > MOST_ADAPTERS) return `At most ${MOST_ADAPTERS} adapters fit beside the base.`;
  const twice = refs.find((ref, index) => refs.indexOf(ref) !== index);
  if (twice !== undefined) return `${sideName(twice)} is chosen twice: choose other weights, or take one away.`;
  return form.prompt === "" ? "Write a prompt." : null;
}

function contradiction(form: Form): string | null {
  if (Math.max(form.prompt.length, form.system.length) > LONGEST)
    return "A text is longer than 1,000,000 characters.";
  if (form.system === "" || form.template) return null;
  return "A system prompt needs the chat template: turn it on, or clear the system prompt.";
}

type Sampling = { kind: "good"; values: Record<SamplingField, number> } | { kind: "bad"; why: string };

function readSampling(texts: Record<SamplingField, string>): Sampling {
  const values = initialValues();
  for (const field of SAMPLING_FIELDS) {
    const { label, rules } = SAMPLING[field];
    const parsed = parseNumber(texts[field], rules);
    if (parsed.kind !== "number") return { kind: "bad", why: `${label} needs a number within its limits.` };
    values[field] = parsed.value;
  }
  return { kind: "good", values };
}

/** A seed that can be typed again; the same one goes to every side. */
export function drawSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
}

/** The form that asked a question: for what is brought back from the history. */
export function formOf(asked: Asked, form: Form): Form {
  const sampling = initialSampling();
  for (const field of SAMPLING_FIELDS) sampling[field] = typed(asked[field]);
  return {
    ...form,
    model: asked.model_name,
    adapters: asked.adapters.filter((ref) => ref !== null).map(splitRef),
    prompt: asked.prompt,
    system: asked.system_prompt ?? "",
    sampling,
    template: asked.use_chat_template,
    seed: typed(asked.seed),
  };
}
