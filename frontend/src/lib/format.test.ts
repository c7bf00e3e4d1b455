import { describe, expect, it } from "vitest";

import {
  bytes,
  compact,
  count,
  duration,
  integer,
  loss,
  moment,
  percent,
  rate,
  relative,
  sentence,
  speed,
} from "./format";

describe("numbers", () => {
  it.each([
    [2.6365, "2.6365"],
    [0.02768, "0.0277"],
    [12.345, "12.35"],
    [0, "0.0000"],
    [null, "–"],
    [NaN, "–"],
  ])("loss %s is %s", (value, text) => expect(loss(value)).toBe(text));

  it.each([
    [0, "0"],
    [950, "950"],
    [999.4, "999"],
    [1234, "1.23 k"],
    [999_600, "1 M"],
    [9_768_960, "9.77 M"],
    [134_515_008, "135 M"],
    [7_620_000_000, "7.62 G"],
  ])("compact %s is %s", (value, text) => expect(compact(value)).toBe(text));

  it("writes whole numbers in groups", () => expect(integer(17_596_416)).toBe("17,596,416"));
  it("writes speed", () => expect([speed(449.6), speed(1203)]).toEqual(["450 tok/s", "1.2 k tok/s"]));

  it.each([
    [12, "12 B"],
    [4300, "4.3 kB"],
    [117_000_000, "117 MB"],
    [1_600_000_000, "1.6 GB"],
    [999_700_000, "1.0 GB"],
    [9_960_000_000, "10 GB"],
    [2.5e15, "2500 TB"],
  ])("bytes %s are %s", (value, text) => expect(bytes(value)).toBe(text));

  it("writes shares", () =>
    expect([percent(0.07262), percent(0), percent(0.0044), percent(1)]).toEqual([
      "7.26 %",
      "0 %",
      "0.44 %",
      "100 %",
    ]));

  it.each([
    [1e-4, "1e-4"],
    [5.3e-4, "5.3e-4"],
    [0.01, "0.01"],
    [0.0033, "3.3e-3"],
    [1, "1"],
    [0, "0"],
    [123456, "1.23e5"],
  ])("rate %s is %s", (value, text) => expect(rate(value)).toBe(text));

  it("counts things", () =>
    expect([count(1, "row"), count(1024, "row"), count(0, "entry", "entries")]).toEqual([
      "1 row",
      "1,024 rows",
      "0 entries",
    ]));
});

it.each([
  ["upload the file, or use another", "Upload the file, or use another."],
  ["'x' lies outside", "'x' lies outside."],
  ["lora_num_layers 99 is more", "lora_num_layers 99 is more."],
  ["`droidft config` lists every setting", "`droidft config` lists every setting."],
  ["Done.", "Done."],
  ["", ""],
])("sentence %j is %j", (text, written) => expect(sentence(text)).toBe(written));

describe("times", () => {
  it.each([
    [0, "0 s"],
    [0.42, "0.4 s"],
    [42, "42 s"],
    [59.7, "1 min"],
    [148, "2 min 28 s"],
    [3600, "1 h"],
    [11_100, "3 h 5 min"],
    [187_200, "2 d 4 h"],
    [null, "–"],
  ])("duration %s is %s", (value, text) => expect(duration(value)).toBe(text));

  it.each([
    [1000, "just now"],
    [960, "40 s ago"],
    [700, "5 min ago"],
    [1000 - 7200, "2 h ago"],
    [1000 - 86_400, "1 day ago"],
    [1090, "in 2 min"],
  ])("relative %s is %s", (value, text) => expect(relative(value, 1000)).toBe(text));

  it("writes moments with date and time", () => expect(moment(1_764_000_000)).toMatch(/^2\d Nov 2025, \d\d:\d\d$/));
});
