import { describe, expect, it } from "vitest";

import { comparisonJson, markdown, votesJson } from "./exports";
import { answered } from "./testing";
import { tally, voted } from "./votes";

describe("exports", () => {
  it("as Markdown hold prompt, settings and answers, whatever the answers contain", () => {
    const comparison = answered();
    const [base, adapter] = comparison.sides;
    if (!base || !adapter) throw new Error("two sides");
    const text = markdown({ ...comparison, sides: [{ ...base, text: "````\nx\n````" }, adapter] });
    expect(text).toContain("`````\n````\nx\n````\n`````");
    expect(text).toContain("seed 7");
    expect(text).toContain("## orders · best");
    expect(text).toContain("5 tokens, 30.0 tokens/s, cut off at the limit.");
  });

  it("as JSON hold everything, and nothing while the sides are hidden", () => {
    expect(comparisonJson(answered({}, { blind: true }))).toBeNull();
    const document: unknown = JSON.parse(comparisonJson(answered()) ?? "");
    expect(document).toMatchObject({
      request: { prompt: "A flat white, please.", seed: 7 },
      sides: [
        { side: "base", answer: "Sorry.", finish_reason: "length" },
        { side: "orders@best", adapter_details: { rank: 32, warnings: [{ code: "layers" }] } },
      ],
    });
  });

  it("of votes say how the interval was made", () => {
    const result = voted(answered({}, { blind: true }), 1, 1_700_000_000_000);
    if (result === null) throw new Error("a vote");
    const ballots = [result.ballot];
    const shares = [0, 1].map((share) => ({ share, low: 0, high: 1 }));
    const found = { shares, chance: 0.5, level: 0.95, preferred: null };
    const document: unknown = JSON.parse(votesJson("tiny", ballots, tally(ballots, result.ballot.shown), found));
    expect(document).toMatchObject({
      votes: 1,
      decisive: 1,
      interval: { method: "Wilson score, on decisive votes", level: 0.95 },
      sides: [
        { side: "base", wins: 0, share: 0 },
        { side: "orders@best", wins: 1, share: 1, high: 1 },
      ],
      ballots: [{ outcome: "orders@best", letter: "B", time: "2023-11-14T22:13:20.000Z" }],
    });
  });
});
