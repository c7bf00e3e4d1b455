import { describe, expect, it } from "vitest";

import { drawSeed, formOf, formStore, initialForm, readForm } from "./form";
import type { Form } from "./form";
import { ASKED } from "./testing";

const CHOSEN = [{ name: "orders", which: "best" }];
const form = (change: Partial<Form> = {}): Form => ({ ...initialForm(), prompt: "Hi", ...change });
const why = (changed: Form, chosen = CHOSEN) => {
  const reading = readForm(changed, "tiny", chosen);
  return reading.kind === "ready" ? null : reading.why;
};

describe("a form", () => {
  it("turns thinking on and off where the model can", () => {
    const kwargs = (changes: Partial<Form>, thinks = true) => {
      const reading = readForm(form(changes), "tiny", CHOSEN, thinks);
      return reading.kind === "ready" ? reading.question.chat_template_kwargs : undefined;
    };
    expect(kwargs({})).toBeNull();
    expect(kwargs({ thinking: "off" })).toEqual({ enable_thinking: false });
    expect(kwargs({ thinking: "on" })).toEqual({ enable_thinking: true });
    expect(kwargs({ thinking: "off" }, false)).toBeNull();
    expect(kwargs({ thinking: "off", template: false })).toBeNull();
  });

  it("asks the base first, with the server's defaults spelled out", () => {
    expect(readForm(form(), "tiny", CHOSEN)).toEqual({
      kind: "ready",
      question: {
        max_tokens: 512,
        temperature: 0.7,
        top_p: 0.9,
        min_p: 0.05,
        top_k: 40,
        repetition_penalty: 1,
        seed: null,
        prompt: "Hi",
        model_name: "tiny",
        adapters: [null, "orders@best"],
        system_prompt: null,
        use_chat_template: true,
        chat_template_kwargs: null,
        template_date: null,
        allow_mismatch: false,
      },
    });
  });

  it("says what it lacks, and never fills it in", () => {
    expect(why(form({ prompt: "" }))).toMatch(/prompt/);
    expect(why(form({ sampling: { ...initialForm().sampling, temperature: "" } }))).toMatch(/Temperature/);
    expect(why(form({ sampling: { ...initialForm().sampling, top_p: "0" } }))).toMatch(/Top-p/);
    expect(why(form({ drawSeed: false, seed: "1.5" }))).toMatch(/seed/);
    expect(why(form({ drawSeed: false, seed: String(2 ** 53) }))).toMatch(/seed/);
    expect(why(form({ system: "Be brief.", template: false }))).toMatch(/chat template/);
    expect(why(form(), [...CHOSEN, ...CHOSEN])).toBe(
      "orders · best is chosen twice: choose other weights, or remove one.",
    );
    expect(why(form(), [])).toBeNull();
  });

  it("keeps a fixed seed, zero too", () => {
    const reading = readForm(form({ drawSeed: false, seed: "0" }), "tiny", CHOSEN);
    expect(reading.kind === "ready" && reading.question.seed).toBe(0);
  });

  it("comes back from what it asked", () => {
    const back = formOf({ ...ASKED, system_prompt: "Brief.", temperature: 0 }, initialForm());
    expect(readForm({ ...back, drawSeed: false }, back.model, back.adapters ?? [])).toEqual({
      kind: "ready",
      question: { ...ASKED, system_prompt: "Brief.", temperature: 0 },
    });
  });

  it("is kept, and what is damaged is begun again", () => {
    formStore.update((kept) => ({ ...kept, prompt: "kept" }));
    expect(localStorage.getItem("droidft.compare.form")).toContain("kept");
  });
});

it("draws seeds that the server takes", () => {
  const seeds = Array.from({ length: 50 }, drawSeed);
  expect(seeds.every((seed) => Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32)).toBe(true);
  expect(new Set(seeds).size).toBeGreaterThan(45);
});
