import { expect, it } from "vitest";

import { moved, placeAt } from "./Queue";

it.each([
  ["a", 2, "bca"],
  ["c", 0, "cab"],
  ["b", 1, "abc"],
  ["b", 99, "acb"],
  ["b", -1, "bac"],
])("moves %s to %s", (item, to, order) => expect(moved(["a", "b", "c"], item, to).join("")).toBe(order));

it.each([
  [0, 5, 0],
  [0, 25, 0],
  [0, 35, 1],
  [0, 55, 2],
  [2, 5, 0],
  [2, 20, 1],
  [2, 500, 2],
  [1, 30, 1],
])("row %s held at %s belongs at %s", (from, y, place) => expect(placeAt([10, 30, 50], from, y)).toBe(place));
