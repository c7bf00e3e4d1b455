import { beforeEach, describe, expect, it, vi } from "vitest";

import { bounded, forget, historyStore, keep, MOST_ENTRIES, search } from "./history";
import { answered } from "./testing";

beforeEach(() => {
  historyStore.set([]);
});

describe("the history", () => {
  it("has the newest first, and one entry of each comparison", () => {
    keep(answered({}, { id: "a" }));
    keep(answered({}, { id: "b" }));
    keep(answered({}, { id: "a", vote: "tie" }));
    expect(historyStore.get().map(({ id, vote }) => [id, vote])).toEqual([
      ["b", null],
      ["a", "tie"],
    ]);
    forget("b");
    expect(historyStore.get().map(({ id }) => id)).toEqual(["a"]);
  });

  it("is bounded in number and length", () => {
    const many = Array.from({ length: MOST_ENTRIES + 5 }, (_, index) => answered({}, { id: String(index) }));
    expect(bounded(many)).toHaveLength(MOST_ENTRIES);
    const size = JSON.stringify(answered()).length;
    expect(bounded([answered(), answered(), answered()], size * 2)).toHaveLength(2);
  });

  it("drops the oldest when the browser has no room, and says so when nothing fits", () => {
    const old = answered({ prompt: "x".repeat(50_000) }, { id: "old" });
    const kept = new Map([["droidft.compare.history", JSON.stringify([old])]]);
    vi.stubGlobal("localStorage", {
      getItem: (key: string) => kept.get(key) ?? null,
      setItem: (key: string, value: string) => {
        if (value.length > 10_000) throw new DOMException("full", "QuotaExceededError");
        kept.set(key, value);
      },
    });
    expect(keep(answered({}, { id: "new" }))).toBe(true);
    expect(historyStore.get().map(({ id }) => id)).toEqual(["new"]);
    expect(keep(answered({ prompt: "y".repeat(50_000) }, { id: "huge" }))).toBe(false);
    vi.unstubAllGlobals();
  });

  it("is searched by every word, in prompts, answers and names", () => {
    const entries = [answered({ prompt: "Tea?" }, { id: "a" }), answered({ prompt: "Coffee?" }, { id: "b" })];
    expect(search(entries, "").length).toBe(2);
    expect(search(entries, "TEA orders").map(({ id }) => id)).toEqual(["a"]);
    expect(search(entries, "sorry coffee").map(({ id }) => id)).toEqual(["b"]);
    expect(search(entries, "tea coffee")).toEqual([]);
  });

  it("leaves out what is damaged, and follows other tabs", () => {
    localStorage.setItem("droidft.compare.history", JSON.stringify([answered({}, { id: "ok" }), { id: "bad" }]));
    expect(historyStore.get().map(({ id }) => id)).toEqual(["ok"]);
    localStorage.setItem("droidft.compare.history", "{");
    expect(historyStore.get()).toEqual([]);
  });
});
