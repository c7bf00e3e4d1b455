import { describe, expect, it } from "vitest";

import { run } from "@/test/runs";

import { changed, clicked, filtered, NEWEST_FIRST, readFilter, readSort, sorted, sortText } from "./filter";
import type { Filter } from "./filter";

const NO_FILTER: Filter = { text: "", state: "", model: "", targets: "", method: "" };

const runs = [
  run("a", { created: 3, best_loss: 0.5, model_name: "qwen", train_data: "/data/orders.jsonl" }),
  run("b", { created: 2, best_loss: null, first_loss: null, state: "failed", targets: "mlp" }),
  run("c", { created: 1, best_loss: 0.1, state: "running", rank: 8, seconds: null }),
];
const problem = { code: "data", message: "2 faults in the training data", hint: "" };
const ids = (list: readonly { id: string }[]) => list.map(({ id }) => id).join("");

describe("filtered", () => {
  it("needs every word, anywhere", () => {
    expect(ids(filtered(runs, { ...NO_FILTER, text: "QWEN orders" }))).toBe("a");
    expect(ids(filtered(runs, { ...NO_FILTER, text: "qwen mlp" }))).toBe("");
    expect(ids(filtered(runs, { ...NO_FILTER, text: "rank 8" }))).toBe("c");
  });

  it("finds runs by what went wrong", () => {
    const failed = run("d", { state: "failed", problem });
    expect(ids(filtered([...runs, failed], { ...NO_FILTER, text: "faults" }))).toBe("d");
    expect(ids(filtered([...runs, failed], { ...NO_FILTER, state: "problem" }))).toBe("d");
  });

  it("knows states, those at work together", () => {
    expect(ids(filtered(runs, { ...NO_FILTER, state: "failed" }))).toBe("b");
    expect(ids(filtered([...runs, run("q", { state: "queued" })], { ...NO_FILTER, state: "active" }))).toBe("cq");
  });

  it("knows model and targets", () => {
    expect(ids(filtered(runs, { ...NO_FILTER, model: "qwen" }))).toBe("a");
    expect(ids(filtered(runs, { ...NO_FILTER, targets: "mlp" }))).toBe("b");
  });
});

describe("sorted", () => {
  it.each([
    ["loss", true, "cab"],
    ["loss", false, "acb"],
    ["gain", false, "cab"],
    ["created", false, "abc"],
    ["name", false, "cba"],
  ] as const)("by %s, up %s: %s; what is unknown comes last", (key, up, order) =>
    expect(ids(sorted(runs, { key, up }))).toBe(order),
  );

  it("reads numbers in names as numbers", () => {
    const named = ["run-10", "run-9"].map((id) => run(id));
    expect(sorted(named, { key: "name", up: true }).map(({ id }) => id)).toEqual(["run-9", "run-10"]);
  });
});

describe("the address", () => {
  it("holds filter and order, and nothing that is as usual", () => {
    const params = changed(new URLSearchParams("model=x"), { q: "a b", state: "failed", model: "", sort: "-loss" });
    expect(params.toString()).toBe("q=a+b&state=failed&sort=-loss");
    expect(readFilter(params)).toEqual({ text: "a b", state: "failed", model: "", targets: "", method: "" });
    expect(readSort(params)).toEqual({ key: "loss", up: false });
    expect(sortText(NEWEST_FIRST)).toBe("");
  });

  it("is not trusted", () => {
    const params = new URLSearchParams("state=nonsense&sort=__proto__");
    expect(readFilter(params)).toEqual(NO_FILTER);
    expect(readSort(params)).toEqual(NEWEST_FIRST);
  });
});

it("turns the order round when a column is clicked again", () => {
  expect(clicked(NEWEST_FIRST, "created")).toEqual({ key: "created", up: true });
  expect(clicked(NEWEST_FIRST, "loss")).toEqual({ key: "loss", up: true });
  expect(clicked({ key: "loss", up: true }, "seconds")).toEqual({ key: "seconds", up: false });
});
