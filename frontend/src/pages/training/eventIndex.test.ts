import { expect, it } from "vitest";

import { RunHistory } from "@/api/history";
import { evaluation, records, report, started, warning } from "@/test/records";

import { EventIndex, EVERYTHING } from "./eventIndex";

function indexed(...events: Parameters<typeof records>[0]): [EventIndex, RunHistory] {
  const history = new RunHistory();
  history.append(records(events));
  return [new EventIndex(history), history];
}

function titles(index: EventIndex, filter = EVERYTHING): string[] {
  return index.select(filter).rows.map((row) => index.row(row)?.title ?? "?");
}

it("puts reports and other events in the order they were written", () => {
  const [index] = indexed(started(), evaluation(0, 3), report(5), report(1000), evaluation(1000, 2), report(1005));
  expect(titles(index)).toEqual([
    "Started",
    "Evaluation at step 0",
    "Step 5",
    "Step 1,000",
    "Evaluation at step 1,000",
    "Step 1,005",
  ]);
});

it("goes on where it was when the log grows, filtered too", () => {
  const [index, history] = indexed(started(), report(1));
  const filter = { query: "step 2", kinds: EVERYTHING.kinds };
  expect(titles(index, filter)).toEqual([]);
  const { rows } = index.select(filter);
  history.append(records([report(2), warning("careful"), report(3), report(20)], 3));
  expect(titles(index, filter)).toEqual(["Step 2", "Step 20"]);
  expect(index.select(filter).rows).toBe(rows);
  expect(index.length).toBe(6);
});

it("finds numbers with and without their marks", () => {
  const [index] = indexed(report(1000), report(9999), report(99_990));
  for (const query of ["step 9999", "Step 9,999", "STEP 9,999"]) {
    expect(titles(index, { query, kinds: EVERYTHING.kinds })).toEqual(["Step 9,999", "Step 99,990"]);
  }
});

it("leaves out kinds", () => {
  const [index] = indexed(started(), report(1), evaluation(1, 2), warning("careful"));
  expect(titles(index, { query: "", kinds: new Set(["warning", "evaluation"]) })).toEqual([
    "Evaluation at step 1",
    "Warning",
  ]);
  expect(titles(index, { query: "careful", kinds: new Set(["evaluation"]) })).toEqual([]);
});

it("keeps what a resumed run did again, while the curves drop it", () => {
  const [index, history] = indexed(started(), report(1), report(2), report(3), started(1), report(2, 7));
  expect(titles(index)).toEqual(["Started", "Step 1", "Step 2", "Step 3", "Resumed", "Step 2"]);
  expect(Array.from(history.train.step.view())).toEqual([1, 2]);
  expect(history.train.loss.at(-1)).toBe(7);
});

it("begins again with a history that does", () => {
  const [index, history] = indexed(started(), report(1), report(2));
  expect(index.length).toBe(3);
  history.clear();
  history.append(records([started(), report(9)]));
  expect(titles(index)).toEqual(["Started", "Step 9"]);
});

it("searches a long log in slices", () => {
  const history = new RunHistory();
  history.append(records(Array.from({ length: 20_000 }, (_, at) => report(at + 1))));
  const index = new EventIndex(history);
  const filter = { query: "step 1999", kinds: EVERYTHING.kinds };
  let turns = 1;
  while (!index.select(filter, 1).complete) turns++;
  expect(turns).toBeGreaterThan(1);
  expect(titles(index, filter)).toEqual(["Step 1,999", ...Array.from({ length: 10 }, (_, at) => `Step 19,99${at}`)]);
});
