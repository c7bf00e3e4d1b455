import { describe, expect, it } from "vitest";

import type { DataPrepared } from "@/api";
import { evaluation, run } from "@/test/runs";

import { capital, fall, targetsAndRank } from "./facts";
import { verdictOf } from "./verdict";

const nothing = { evaluations: [], data: null, early: null };

function rows(count: number): DataPrepared {
  return {
    type: "data_prepared",
    train_rows: 360,
    val_rows: count,
    train_tokens: 11302,
    val_tokens: 1236,
    train_supervised_tokens: 2231,
    val_supervised_tokens: 238,
    truncated_rows: 0,
    dropped_rows: 0,
    max_seq_length: 37,
    format: "chat",
    split: "held out",
    data_hash: "b856",
  };
}

describe("the sentence", () => {
  it("says by how much the loss fell, and where", () => {
    const verdict = verdictOf(run("a", { first_loss: 2.6365, best_loss: 0.0277 }), nothing);
    expect(verdict.title).toBe("Validation loss fell from 2.6365 to 0.0277 at step 80 (−98.9 %).");
    expect(verdict.tone).toBe("good");
    expect(verdict.notes[0]).toBe(
      "It took 2 min 28 s and 80 steps, training 9,768,960 of 134,515,008 parameters (7.262 %).",
    );
  });

  it("says that nothing was gained, with the best that came after the start", () => {
    const evaluations = [evaluation(0, 2, true), evaluation(40, 2.5), evaluation(80, 2.25)];
    const verdict = verdictOf(run("a", { first_loss: 2, best_loss: 2, best_step: 0 }), { ...nothing, evaluations });
    expect(verdict.title).toBe(
      "Validation loss did not improve: 2.0000 before training, at best 2.2500 after it (step 80).",
    );
    expect(verdict.tone).toBe("warn");
  });

  it("does not judge what was not measured", () => {
    const unknown = { first_loss: null, best_loss: null, best_step: null };
    expect(verdictOf(run("a", unknown), nothing).title).toBe("No validation loss has been measured.");
    expect(verdictOf(run("a", { ...unknown, state: "running" }), nothing).title).toMatch(/yet\.$/);
    const before = { ...nothing, evaluations: [evaluation(0, 2, true)] };
    expect(verdictOf(run("a", { first_loss: 2, best_loss: 2, best_step: 0 }), before).title).toMatch(
      /has not been measured since/,
    );
  });

  it("calls a tiny fall neither good nor certain", () => {
    const verdict = verdictOf(run("a", { first_loss: 2, best_loss: 1.999 }), { ...nothing, data: rows(500) });
    expect(verdict.tone).toBe("neutral");
    expect(verdict.notes.join(" ")).toContain("may be noise");
  });
});

describe("the notes", () => {
  it("tell that the loss rose again after the best", () => {
    const evaluations = [evaluation(0, 2.5), evaluation(40, 0.5, true), evaluation(80, 0.9)];
    const { notes } = verdictOf(run("a", { best_step: 40 }), { evaluations, data: null, early: 3 });
    expect(notes).toContain("By step 80 it had risen again to 0.9000; the best weights are those of step 40.");
    expect(notes).toContain("Stopped early after 3 evaluations without improvement.");
  });

  it("warn of few validation rows", () => {
    expect(verdictOf(run("a"), { ...nothing, data: rows(40) }).notes.join(" ")).toContain("40 validation rows only");
    expect(verdictOf(run("a"), { ...nothing, data: rows(500) }).notes.join(" ")).toContain(
      "not how good answers are",
    );
  });
});

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
