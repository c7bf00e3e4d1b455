/** What several tests of this page begin from. */

import type { AdapterDetails, AdapterEntry, ModelEntry } from "@/api";

import { apply, begin, finish } from "./comparison";
import type { Asked, Comparison } from "./comparison";

export const ASKED: Asked = {
  max_tokens: 64,
  temperature: 0.7,
  top_p: 0.9,
  min_p: 0.05,
  top_k: 40,
  repetition_penalty: 1,
  seed: 7,
  prompt: "A flat white, please.",
  model_name: "tiny",
  adapters: [null, "orders@best"],
  system_prompt: null,
  use_chat_template: true,
  chat_template_kwargs: null,
  template_date: null,
  allow_mismatch: false,
};

export const BASE: AdapterDetails = {
  name: null,
  type: "none",
  chat_template_used: true,
  rank: null,
  alpha: null,
  scale: null,
  dropout: null,
  keys: null,
  num_layers: null,
  expected_layers: 30,
  model_recorded: null,
  max_logit_change: null,
  warnings: [],
};

export const ORDERS: AdapterDetails = {
  ...BASE,
  name: "orders",
  type: "best",
  rank: 32,
  alpha: 32,
  scale: 1,
  dropout: 0,
  keys: ["self_attn.q_proj"],
  num_layers: 16,
  model_recorded: "/models/tiny",
  max_logit_change: 11.3,
  warnings: [{ code: "layers", message: "adapts 16 of the model's 30 blocks" }],
};

export const MODEL: ModelEntry = {
  ref: "tiny",
  source: "home",
  installed: true,
  model_type: "llama",
  bytes: 1000,
  quantization: "",
  problem: "",
  note: "",
  thinking: false,
};

export const ADAPTER: AdapterEntry = {
  name: "orders",
  problem: "",
  fine_tune_type: "lora",
  method: "sft",
  rank: 32,
  alpha: 32,
  scale: 1,
  modules: ["self_attn.q_proj"],
  blocks: 16,
  parameters: 1000,
  base: "/home/models/tiny",
  run: null,
  weights: ["latest", "best", "20"],
  bytes: 4000,
};

/** A comparison whose sides have all answered. */
export function answered(change: Partial<Asked> = {}, options: Partial<Comparison> = {}): Comparison {
  const request = { ...ASKED, ...change };
  let comparison = begin(request, { id: options.id ?? "c1", at: options.at ?? 1000, blind: options.blind ?? false });
  request.adapters.forEach((adapter, side) => {
    const details = adapter === null ? BASE : ORDERS;
    comparison = apply(comparison, { type: "start", side, adapter_details: details, seed: request.seed });
    comparison = apply(comparison, { type: "text", side, text: adapter === null ? "Sorry." : '{"item":' });
    comparison = apply(comparison, { type: "text", side, text: adapter === null ? "" : '"flat white"}' });
    comparison = apply(comparison, {
      type: "end",
      side,
      finish_reason: adapter === null ? "length" : "stop",
      prompt_tokens: 12,
      tokens: 5,
      tokens_per_second: 30,
    });
  });
  return { ...finish(comparison, { kind: "ended" }), ...options };
}
