import { expect, it } from "vitest";

import { pValue, signed, withInterval } from "./numbers";

it("writes differences with their sign and interval", () => {
  expect(signed(-0.01234)).toBe("−0.0123");
  expect(signed(0)).toBe("+0.0000");
  expect(withInterval({ value: -0.1, low: -0.2, high: 0.05 })).toBe("−0.1000 [−0.2000, +0.0500]");
  expect(withInterval({ value: 0.1, low: null, high: null })).toBe("+0.1000");
  expect(withInterval(null)).toBe("–");
});

it("writes p-values in two digits", () => {
  expect(pValue(0.0321)).toBe("0.032");
  expect(pValue(1e-9)).toBe("< 0.0001");
  expect(pValue(null)).toBe("–");
});
