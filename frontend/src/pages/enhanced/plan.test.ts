import { expect, it } from "vitest";

import { samplingMemory } from "./CostCard";
import { planOf } from "./plan";

it("sampling holds the model, the adapter, and keys and values", () =>
  expect(samplingMemory({ cache_bytes_per_token: 10 }, { weights: 100, adapter: 5 }, 4, 20)).toEqual({
    cache: 800,
    total: 905,
  }));

it.each([
  ["grpo", { prompts_per_step: 4 }, 18, { total: 5, perEpoch: 5 }],
  ["grpo", { prompts_per_step: 4, num_iterations: 2, epochs: 2, batch_size: 8 }, 18, { total: 18, perEpoch: 9 }],
  ["grpo", { prompts_per_step: 1, iterations: 3 }, null, { total: 3, perEpoch: null }],
  ["dpo", { batch_size: 2, grad_accumulation_steps: 2 }, 10, { total: 3, perEpoch: 3 }],
  ["dpo", {}, null, null],
])("%s with %j over %j rows", (method, config, rows, plan) => expect(planOf(method, config, rows)).toEqual(plan));
