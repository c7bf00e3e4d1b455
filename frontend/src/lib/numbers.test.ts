import { describe, expect, it } from "vitest";

import { parseNumber, typed } from "./numbers";

describe("parseNumber", () => {
  it.each([
    ["1e-4", 1e-4],
    [" 0.05 ", 0.05],
    ["-1", -1],
    [".5", 0.5],
    ["3.", 3],
    ["5E-4", 5e-4],
    ["0", 0],
  ])("reads %j", (text, value) => expect(parseNumber(text)).toEqual({ kind: "number", value }));

  it.each(["", "1e", "1e-", "-", "abc", "0x10", "1 000", "1,5", "Infinity", "NaN", "1e999"])("refuses %j", (text) =>
    expect(parseNumber(text).kind).toBe("bad"),
  );

  it("takes nothing for an answer only where it is one", () => {
    expect(parseNumber("  ", { optional: true })).toEqual({ kind: "empty" });
    expect(parseNumber("  ").kind).toBe("bad");
  });

  it("holds to limits, open and closed", () => {
    expect(parseNumber("1", { max: 1, below: true })).toEqual({ kind: "bad", message: "Must be below 1." });
    expect(parseNumber("1", { max: 1 }).kind).toBe("number");
    expect(parseNumber("0", { min: 0, above: true })).toEqual({ kind: "bad", message: "Must be above 0." });
    expect(parseNumber("1.5", { integer: true })).toEqual({ kind: "bad", message: "A whole number is needed." });
    expect(parseNumber("1e2", { integer: true })).toEqual({ kind: "number", value: 100 });
  });
});

it.each([
  [1e-4, "1e-4"],
  [0.01, "0.01"],
  [32, "32"],
  [0, "0"],
  [-1, "-1"],
])("types %s as %s", (value, text) => {
  expect(typed(value)).toBe(text);
  expect(parseNumber(text)).toEqual({ kind: "number", value });
});
