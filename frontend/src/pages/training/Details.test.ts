import { expect, it } from "vitest";

import { evaluation, records, started, warning } from "@/test/records";

import { factsOf } from "./Details";

it("keeps the newest of what is said once per start, and the base model's loss", () => {
  const plan = { type: "plan", steps: 80, steps_per_epoch: 80, epochs: 1, effective_batch: 8 } as const;
  const facts = factsOf(records([started(), plan, evaluation(0, 2.6), evaluation(20, 1), started(20), plan]));
  expect(facts.start?.resumed_from_step).toBe(20);
  expect(facts.startTime).toBe(1005);
  expect(facts.plan?.steps).toBe(80);
  expect(facts.baseLoss).toBe(2.6);
  expect(facts.data).toBeNull();
});

it("lists a repeated warning once", () => {
  const facts = factsOf(records([warning("a"), warning("b"), started(5), warning("a")]));
  expect(facts.warnings).toEqual([
    { code: "w", message: "a", time: 1001, times: 2 },
    { code: "w", message: "b", time: 1002, times: 1 },
  ]);
});
