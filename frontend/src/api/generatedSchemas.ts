/** Generated from openapi.json by `npm run generate`: what is parsed at run time. Not to be edited. */

import * as z from "zod/mini";

import type { Job, QueueView, Record, RunSummary } from "./generated";

export const rewind = z.object({ seq: z.int(), step: z.int() });
export const recordsFrame = z.object({
  type: z.literal("records"),
  records: z.array(z.custom<Record>()),
  rewinds: z.array(rewind),
  last: z.int(),
  caught_up: z.boolean(),
});
export const resetFrame = z.object({ type: z.literal("reset") });
export const updateFrame = z.object({
  type: z.literal("update"),
  runs: z.array(z.custom<RunSummary>()),
  removed: z.array(z.string()),
  queue: z.custom<QueueView>(),
  jobs: z.array(z.custom<Job>()),
});
export const adapterWarning = z.object({ code: z.string(), message: z.string() });
export const adapterDetails = z.object({
  name: z.nullable(z.string()),
  type: z.string(),
  chat_template_used: z.boolean(),
  rank: z.nullable(z.int()),
  alpha: z.nullable(z.number()),
  scale: z.nullable(z.number()),
  dropout: z.nullable(z.number()),
  keys: z.nullable(z.array(z.string())),
  num_layers: z.nullable(z.int()),
  expected_layers: z.int(),
  model_recorded: z.nullable(z.string()),
  max_logit_change: z.nullable(z.number()),
  warnings: z.array(adapterWarning),
});
export const streamStart = z.object({
  type: z.literal("start"),
  side: z.int(),
  adapter_details: adapterDetails,
  seed: z.int(),
});
export const streamText = z.object({ type: z.literal("text"), side: z.int(), text: z.string() });
export const streamEnd = z.object({
  type: z.literal("end"),
  side: z.int(),
  finish_reason: z.enum(["stop", "length"]),
  prompt_tokens: z.int(),
  tokens: z.int(),
  tokens_per_second: z.number(),
});
export const errorBody = z.object({
  code: z.string(),
  message: z.string(),
  hint: z.string(),
  field: z.nullable(z.string()),
});
export const streamError = z.object({ type: z.literal("error"), side: z.nullable(z.int()), error: errorBody });
export const streamPhase = z.object({ type: z.literal("phase"), text: z.string() });
export const streamEvent = z.discriminatedUnion("type", [
  streamStart,
  streamText,
  streamEnd,
  streamError,
  streamPhase,
]);
export const dataFile = z.object({ name: z.string(), path: z.string(), bytes: z.int(), modified: z.number() });
export const compareRequest = z.object({
  use_chat_template: z.optional(z.boolean()),
  chat_template_kwargs: z.optional(z.nullable(z.record(z.string(), z.unknown()))),
  template_date: z.optional(z.nullable(z.string())),
  max_tokens: z.optional(z.int()),
  temperature: z.optional(z.number()),
  top_p: z.optional(z.number()),
  min_p: z.optional(z.number()),
  top_k: z.optional(z.int()),
  repetition_penalty: z.optional(z.number()),
  seed: z.optional(z.nullable(z.int())),
  prompt: z.string(),
  model_name: z.string(),
  adapters: z.array(z.nullable(z.string())),
  system_prompt: z.optional(z.nullable(z.string())),
  allow_mismatch: z.optional(z.boolean()),
});
/** Default and limits of each number that a comparison is asked with. */
export const compareRequestNumbers = {
  max_tokens: { initial: 512, rules: { integer: true, min: 1, max: 1000000 } },
  temperature: { initial: 0.7, rules: { min: 0, max: 10 } },
  top_p: { initial: 0.9, rules: { min: 0, above: true, max: 1 } },
  min_p: { initial: 0.05, rules: { min: 0, max: 1 } },
  top_k: { initial: 40, rules: { integer: true, min: 0, max: 1000000 } },
  repetition_penalty: { initial: 1, rules: { min: 0, above: true, max: 10 } },
  seed: { initial: 0, rules: { integer: true, min: 0, max: 9007199254740992, below: true } },
};
