/** How long a run is, as the engine counts it. */

import { stepsOf } from "@/features/form/draft";
import { familyOf } from "@/lib/methods";

export interface Plan {
  total: number;
  perEpoch: number | null;
}

/** `config` with the method's defaults in it; `rows` are prompts or pairs to train on. */
export function planOf(method: string, config: Record<string, unknown>, rows: number | null): Plan | null {
  const once = config["epochs"] == null ? { ...config, epochs: 1 } : config;
  if (familyOf(method) !== "rewards") return stepsOf(once, rows);
  const number = (name: string, otherwise: number) => (typeof config[name] === "number" ? config[name] : otherwise);
  // A step takes `prompts_per_step` prompts, and a sampling is gone over `num_iterations` times.
  const seen = rows === null ? null : rows * number("num_iterations", 1);
  return stepsOf({ ...once, batch_size: number("prompts_per_step", 4), grad_accumulation_steps: 1 }, seen);
}
