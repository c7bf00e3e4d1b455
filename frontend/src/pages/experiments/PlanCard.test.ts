import { expect, it } from "vitest";

import { arm, fixed, setting } from "@/test/experiments";

import { sharedSettings } from "./PlanCard";

const SETTINGS = [
  setting("batch_size", 1),
  setting("learning_rate", 1e-4),
  setting("lora_rank", 32),
  setting("seed", 0),
];

it("tells the given settings, then defaults that matter; what an arm has of its own is marked", () => {
  const plan = fixed({
    arms: [arm("a", { lora_targets: "mlp" }), arm("b", { lora_targets: "all", lora_rank: 170 })],
  });
  expect(sharedSettings(plan, SETTINGS)).toEqual([
    { name: "mask_prompt", value: true, byDefault: false, varies: false },
    { name: "epochs", value: 2, byDefault: false, varies: false },
    { name: "batch_size", value: 1, byDefault: true, varies: false },
    { name: "learning_rate", value: 1e-4, byDefault: true, varies: false },
    { name: "lora_rank", value: 32, byDefault: true, varies: true },
  ]);
});

it("tells defaults as they were when the plan was fixed", () => {
  const plan = fixed({ arms: [{ ...arm("a", {}), config: { batch_size: 7 } }, arm("b", {})] });
  expect(sharedSettings(plan, SETTINGS).find(({ name }) => name === "batch_size")?.value).toBe(7);
});

it("leaves out what every arm has of its own, and the learning rate where several are tried", () => {
  const plan = fixed({ arms: [arm("s01", { lora_rank: 8 }), arm("s02", { lora_rank: 16 })] });
  plan.plan.learning_rates = [1e-4, 1e-3];
  expect(sharedSettings(plan, SETTINGS).map(({ name }) => name)).toEqual(["mask_prompt", "epochs", "batch_size"]);
});
