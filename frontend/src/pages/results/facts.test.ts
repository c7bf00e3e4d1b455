import { expect, it } from "vitest";

import { run } from "@/test/runs";

import { capital, fall, targetsAndRank } from "./facts";

it.each([
  [0.989, "−98.9 %"],
  [0.0123, "−1.23 %"],
  [-0.05, "+5.00 %"],
  [0.000001, "0 %"],
])("writes a fall of %s as %s", (share, text) => expect(fall(share)).toBe(text));

it("names what is trained", () => {
  expect(targetsAndRank(run("a"))).toBe("full-layer, rank 32");
  expect(targetsAndRank(run("a", { fine_tune_type: "dora" }))).toBe("DoRA full-layer, rank 32");
  expect(targetsAndRank(run("a", { fine_tune_type: "full" }))).toBe("every weight");
});

it("begins sentences large, but not the names of files", () => {
  expect(capital("its worker was ended")).toBe("Its worker was ended");
  expect(capital("adapters.safetensors is damaged")).toBe("adapters.safetensors is damaged");
});
