import { describe, expect, it } from "vitest";

import { logLines, visible } from "./format";

describe("visible", () => {
  it.each([
    ["plain", "plain"],
    ["\u001b[31mred\u001b[0m", "red"],
    ["\u001b[1;38;5;200mbold\u001b[K", "bold"],
    ["\u009b31mred", "red"],
    ["\u001b]0;title\u0007text", "text"],
    ["\u001b]8;;http://evil.example\u001b\\link\u001b]8;;\u001b\\", "link"],
    ["\u001b(Bset", "set"],
    ["bell\u0007", "bell\\x07"],
    ["nul\u0000", "nul\\x00"],
    ["lone \u001b", "lone \\x1b"],
    ["\u202egpj.exe", "\\u202egpj.exe"],
    ["zero\u200bwidth", "zero\\u200bwidth"],
    ["tab\tand\nnewline", "tab\tand\nnewline"],
    ["日本語 🦙 é", "日本語 🦙 é"],
    ["<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"],
  ])("%j becomes %j", (text, shown) => expect(visible(text)).toBe(shown));

  it("takes 100,000 unfinished escapes in its stride", () => {
    const started = performance.now();
    visible("\u001b]".repeat(100_000));
    visible("\u001b[".repeat(100_000));
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

describe("logLines", () => {
  it("keeps the last state of a progress bar", () =>
    expect(logLines("a\n 1%\r 50%\r100%\r\nb\n")).toEqual(["a", "100%", "b"]));
  it("has no line for nothing", () => expect(logLines("")).toEqual([]));
  it("keeps empty lines", () => expect(logLines("a\n\nb")).toEqual(["a", "", "b"]));
  it("widens tabs", () => expect(logLines("\tx")).toEqual(["    x"]));
});
