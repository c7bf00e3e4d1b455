import { act, renderHook } from "@testing-library/react";
import { beforeEach, expect, test } from "vitest";

import { leaveFor, useForm } from "./form";

beforeEach(() => {
  localStorage.clear();
});

/** What another tab would do: it writes the whole form, and this tab hears of it. */
function otherTab(draft: Record<string, string>, { heard = true } = {}) {
  const before = localStorage.getItem("droidft.setup");
  const mode = before?.includes("advanced") ? "advanced" : "simple";
  localStorage.setItem("droidft.setup", JSON.stringify({ draft, mode }));
  if (heard) act(() => void window.dispatchEvent(new StorageEvent("storage", { key: "droidft.setup" })));
}

function kept(): unknown {
  return JSON.parse(localStorage.getItem("droidft.setup") ?? "null");
}

test("what a newer tab has typed is shown in the older one", () => {
  const { result } = renderHook(() => useForm("/setup"));
  act(() => result.current.set("lora_rank", "8"));
  otherTab({ lora_rank: "64", seed: "3" });
  expect(result.current.draft).toEqual({ lora_rank: "64", seed: "3" });
});

test.each([true, false])("typing in the older tab does not undo the newer one (heard of it: %s)", (heard) => {
  const { result } = renderHook(() => useForm("/setup"));
  act(() => result.current.set("lora_rank", "8"));
  otherTab({ lora_rank: "64" }, { heard });
  act(() => result.current.set("seed", "5"));
  expect(kept()).toEqual({ draft: { lora_rank: "64", seed: "5" }, mode: "simple" });
  expect(result.current.draft).toEqual({ lora_rank: "64", seed: "5" });
  otherTab({ seed: "5" }, { heard });
  act(() => result.current.setMode("advanced"));
  expect(kept()).toEqual({ draft: { seed: "5" }, mode: "advanced" });
  act(() => result.current.unset("seed"));
  expect(kept()).toEqual({ draft: {}, mode: "advanced" });
});

test("a form is left for its page as it is filled in", () => {
  leaveFor("/setup", { lora_rank: "16" });
  const { result } = renderHook(() => useForm("/setup"));
  expect(result.current.draft).toEqual({ lora_rank: "16" });
});
