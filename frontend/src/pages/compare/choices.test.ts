import { describe, expect, it } from "vitest";

import { guessAdapters, guessModel, isTrainedOn, ordered, settled, sideName, splitRef } from "./choices";
import { ADAPTER, MODEL } from "./testing";

describe("an adapter's base", () => {
  it.each([
    ["tiny", "tiny", true],
    ["/home/me/.droidft/models/tiny", "tiny", true],
    ["/home/me/.droidft/models/tiny/", "tiny", true],
    ["/root/.cache/huggingface/hub/models--org--small/snapshots/abc", "org/small", true],
    ["org/small", "org/small", true],
    ["org/small", "other/small", false],
    ["/models/tiny2", "tiny", false],
    [null, "tiny", false],
  ])("%s is %s: %s", (base, model, same) => expect(isTrainedOn({ ...ADAPTER, base }, model)).toBe(same));
});

describe("choices", () => {
  const older = { ...ADAPTER, name: "2025-a" };
  const newer = { ...ADAPTER, name: "2026-a", weights: ["latest", "20"] };
  const foreign = { ...ADAPTER, name: "2027-b", base: "other" };
  const broken = { ...ADAPTER, name: "2028-c", problem: "damaged" };
  const all = [broken, older, foreign, newer];

  it("list those of the model first, newest first, the unusable last", () => {
    expect(ordered(all, "tiny").map(({ name }) => name)).toEqual(["2026-a", "2025-a", "2027-b", "2028-c"]);
  });

  it("begin with the newest adapter of the model, with its best weights where it has any", () => {
    expect(guessAdapters(all, "tiny")).toEqual([{ name: "2026-a", which: "latest" }]);
    expect(guessAdapters([older], "tiny")).toEqual([{ name: "2025-a", which: "best" }]);
    expect(guessAdapters([foreign, broken], "tiny")).toEqual([]);
  });

  it("take the model of the adapter that is asked for", () => {
    const models = [{ ...MODEL, ref: "other" }, MODEL, { ...MODEL, ref: "gone", installed: false }];
    expect(guessModel(models, all)).toBe("other");
    expect(guessModel(models, all, ["2025-a"])).toBe("tiny");
    expect(guessModel(models, [])).toBe("other");
    expect(guessModel([], all)).toBe("");
  });

  it("read references", () => {
    expect(splitRef("a@200")).toEqual({ name: "a", which: "200" });
    expect(settled(splitRef("2026-a"), all)).toEqual({ name: "2026-a", which: "latest" });
    expect(settled(splitRef("2025-a"), all)).toEqual({ name: "2025-a", which: "best" });
    expect([null, "a@best", "a@20"].map(sideName)).toEqual(["Base", "a · best", "a · step 20"]);
  });
});
