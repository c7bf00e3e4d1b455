/** What is typed and chosen on the page, kept in this browser; and the request that it means. */

import * as z from "zod/mini";

import { compareRequestNumbers as NUMBERS } from "@/api/generatedSchemas";
import { parseNumber, typed } from "@/lib/numbers";
import { objectOf, stored } from "@/lib/stored";

import { CHOSEN, MOST_ADAPTERS, refOf, sideName, splitRef } from "./choices";
import type { Chosen } from "./choices";
import type { Asked } from "./comparison";

/** Every control, and a line on what it does; defaults and limits are the server's. */
export const SAMPLING = {
  max_tokens: {
    label: "Longest answer",
    hint: "In tokens; an English word is about 1.3. The answer is cut off there.",
  },
  temperature: {
    label: "Temperature",
    hint: "0 always takes the likeliest token, so answers repeat exactly. Higher is more varied.",
  },
  top_p: { label: "Top-p", hint: "Draws only from the likeliest tokens that together reach this share. 1 is off." },
  min_p: { label: "Min-p", hint: "Leaves out tokens below this share of the likeliest one's probability. 0 is off." },
  top_k: { label: "Top-k", hint: "Draws only from this many likeliest tokens. 0 is off." },
  repetition_penalty: {
    label: "Repetition penalty",
    hint: "Above 1, the last 64 tokens are less likely to come again. 1 is off.",
  },
} as const;
type SamplingField = keyof typeof SAMPLING;
export const SAMPLING_FIELDS = [
  "max_tokens",
  "temperature",
  "top_p",
  "min_p",
  "top_k",
  "repetition_penalty",
] as const satisfies readonly SamplingField[];

const LONGEST = 1_000_000;

/** A value for each field of sampling. */
function each<T>(valueOf: (field: SamplingField) => T): Record<SamplingField, T> {
  return {
    max_tokens: valueOf("max_tokens"),
    temperature: valueOf("temperature"),
    top_p: valueOf("top_p"),
    min_p: valueOf("min_p"),
    top_k: valueOf("top_k"),
    repetition_penalty: valueOf("repetition_penalty"),
  };
}

const FORM = z.object({
  /** Empty until one is chosen; a guess stands in for it. */
  model: z.string(),
  /** Null until some are chosen. */
  adapters: z.nullable(z.array(CHOSEN)),
  prompt: z.string(),
  system: z.string(),
  sampling: z.object(each(() => z.string())),
  /** Draw a seed for each comparison, or use the one that is typed. */
  drawSeed: z.boolean(),
  seed: z.string(),
  template: z.boolean(),
  /** Whether the model thinks first; `trained` leaves that to the adapter's training. */
  thinking: z.enum(["trained", "on", "off"]),
  /** Adapters may have been trained on other weights than the model's. */
  mismatch: z.boolean(),
  blind: z.boolean(),
  /** Which comparison of the history is on the page. */
  shown: z.nullable(z.string()),
});
export type Form = z.infer<typeof FORM>;

export function initialSampling(): Form["sampling"] {
  return each((field) => typed(NUMBERS[field].initial));
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
    thinking: "trained",
    mismatch: false,
    blind: false,
    shown: null,
  };
}

export const formStore = stored("droidft.compare.form", objectOf(FORM.shape, initialForm));

/** A request with everything spelled out but the seed, where that is drawn when it is sent. */
export type Question = Omit<Asked, "seed"> & { seed: number | null };

export type Reading = { kind: "ready"; question: Question } | { kind: "not ready"; why: string };

/** What a form asks, with its model and adapters settled; or what it lacks. */
export function readForm(form: Form, model: string, adapters: readonly Chosen[], thinks = false): Reading {
  const refs = adapters.map(refOf);
  const why = missing(form, model, refs) ?? contradiction(form);
  const sampling = readSampling(form.sampling);
  if (why !== null) return { kind: "not ready", why };
  if (typeof sampling === "string") return { kind: "not ready", why: sampling };
  const seed = form.drawSeed ? null : parseNumber(form.seed, NUMBERS.seed.rules);
  if (seed !== null && seed.kind !== "number") return { kind: "not ready", why: "The seed needs a whole number." };
  const question: Question = {
    ...sampling,
    seed: seed === null ? null : seed.value,
    prompt: form.prompt,
    model_name: model,
    adapters: [null, ...refs],
    system_prompt: form.system === "" ? null : form.system,
    use_chat_template: form.template,
    template_date: null,
    chat_template_kwargs:
      thinks && form.template && form.thinking !== "trained" ? { enable_thinking: form.thinking === "on" } : null,
    allow_mismatch: form.mismatch,
  };
  return { kind: "ready", question };
}

function missing(form: Form, model: string, refs: readonly string[]): string | null {
  if (model === "") return "Choose a base model.";
  if (refs.length > MOST_ADAPTERS) return `At most ${MOST_ADAPTERS} adapters fit beside the base.`;
  const twice = refs.find((ref, index) => refs.indexOf(ref) !== index);
  if (twice !== undefined) return `${sideName(twice)} is chosen twice: choose other weights, or remove one.`;
  return form.prompt === "" ? "Write a prompt." : null;
}

function contradiction(form: Form): string | null {
  if (Math.max(form.prompt.length, form.system.length) > LONGEST)
    return "A text is longer than 1,000,000 characters.";
  if (form.system === "" || form.template) return null;
  return "A system prompt needs the chat template: turn it on, or clear the system prompt.";
}

/** The numbers that are typed; a sentence where one is none. */
function readSampling(texts: Form["sampling"]): Record<SamplingField, number> | string {
  const values = each((field) => parseNumber(texts[field], NUMBERS[field].rules));
  const wrong = SAMPLING_FIELDS.find((field) => values[field].kind !== "number");
  if (wrong !== undefined) return `${SAMPLING[wrong].label} needs a number within its limits.`;
  return each((field) => (values[field].kind === "number" ? values[field].value : NaN));
}

/** A seed that can be typed again; the same one goes to every side. */
export function drawSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
}

function thinkingOf(asked: Asked): Form["thinking"] {
  const given = asked.chat_template_kwargs?.["enable_thinking"];
  return typeof given === "boolean" ? (given ? "on" : "off") : "trained";
}

/** The form that asked a question: for what is brought back from the history. */
export function formOf(asked: Asked, form: Form): Form {
  return {
    ...form,
    model: asked.model_name,
    adapters: asked.adapters.filter((ref) => ref !== null).map(splitRef),
    prompt: asked.prompt,
    system: asked.system_prompt ?? "",
    sampling: each((field) => typed(asked[field])),
    template: asked.use_chat_template,
    thinking: thinkingOf(asked),
    mismatch: asked.allow_mismatch,
    seed: typed(asked.seed),
  };
}
