import { expect, it } from "vitest";

import type { Record as RunRecord } from "@/api";
import { RunHistory } from "@/api/history";
import { evaluation, records, report, rewinds, started, warning } from "@/test/records";

import { describe as said, EventIndex, EVERYTHING } from "./events";

type Event = RunRecord["event"];

const LINES: [Event, string, string, RegExp][] = [
  [started(), "progress", "Started", /^on A chip$/],
  [started(1200), "progress", "Resumed", /^from the checkpoint of step 1,200; on A chip$/],
  [{ type: "phase", name: "loading model", detail: "tiny" }, "progress", "Loading model", /^tiny$/],
  [
    {
      type: "data_prepared",
      train_rows: 640,
      val_rows: 1,
      train_tokens: 1000,
      val_tokens: 10,
      train_supervised_tokens: 460,
      val_supervised_tokens: 5,
      truncated_rows: 3,
      dropped_rows: 0,
      max_seq_length: 128,
      format: "chat",
      split: "held out",
      data_hash: "",
    },
    "progress",
    "Data ready",
    /^640 training rows, 1,000 tokens, 46 % trained on; 1 validation row; 3 cut \(held out\)$/,
  ],
  [
    {
      type: "lora_attached",
      targets: [],
      trainable: 9_768_960,
      total: 134_515_008,
      rank: 32,
      alpha: 32,
      scale: 1,
      dropout: 0,
      num_layers: -1,
      log_line: "LoRA Configuration: rank=32",
    },
    "progress",
    "Adapter attached",
    /^9,768,960 of 134,515,008 parameters trainable \(7.26 %\); LoRA Configuration: rank=32$/,
  ],
  [
    { type: "plan", steps: 80, steps_per_epoch: 80, epochs: 1, effective_batch: 8 },
    "progress",
    "Plan",
    /^80 steps, 1 epoch, effective batch 8$/,
  ],
  [
    { type: "plan", steps: 80, steps_per_epoch: 80, epochs: 1, effective_batch: 8, widths: [64, 96], padding: 0.125 },
    "progress",
    "Plan",
    /effective batch 8; batches of 2 widths, 12.5 % of them padding$/,
  ],
  [
    report(40, 0.0528),
    "report",
    "Step 40",
    /^loss 0.0528, 500 tok\/s, learning rate 1e-4, gradient norm 0.5, 2.0 GB$/,
  ],
  [evaluation(20, 0.11), "evaluation", "Evaluation at step 20", /0.1100, the best so far; took 1 s$/],
  [evaluation(40, 0.3, [20, 0.11]), "evaluation", "Evaluation at step 40", /0.3000; best 0.1100 at step 20/],
  [
    { type: "checkpoint_saved", step: 20, best: true, bytes: 117e6 },
    "checkpoint",
    "Checkpoint of step 20",
    /^117 MB, best adapter so far$/,
  ],
  [warning("\u001b[31mlook\u0007"), "warning", "Warning", /^look\\x07$/],
  [
    { type: "early_stopped", step: 60, best_step: 40, best_loss: 0.1, evaluations_without_improvement: 1 },
    "end",
    "Stopped early",
    /^at step 60: no better for 1 evaluation; best 0.1000 at step 40$/,
  ],
  [{ type: "stopped", step: 7 }, "end", "Stopped", /^at step 7/],
  [
    { type: "failed", code: "non_finite", message: "the loss is nan", hint: "lower it", step: 31 },
    "end",
    "Failed",
    /^at step 31: the loss is nan; lower it$/,
  ],
  [
    { type: "failed", code: "non_finite", message: "step 31: the loss is nan", step: 31 },
    "end",
    "Failed",
    /^step 31: the loss is nan$/,
  ],
  [{ type: "failed", code: "x", message: "no such model" }, "end", "Failed", /^no such model$/],
  [
    { type: "finished", step: 80, best_step: 60, best_loss: 0.03, final_loss: 0.04, seconds: 148 },
    "end",
    "Finished",
    /^80 steps in 2 min 28 s; best 0.0300 at step 60$/,
  ],
];

it.each(LINES)("says %o", (event, kind, title, text) => {
  const line = said(event);
  expect([line.kind, line.title]).toEqual([kind, title]);
  expect(line.text).toMatch(text);
});

/** What comes over the socket is taken for an event without a look at its type. */
function isEvent(value: unknown): value is Event {
  return typeof value === "object";
}

it("shows what a newer program wrote by its name", () => {
  const event: unknown = JSON.parse('{"type": "reward_report", "step": 3}');
  if (!isEvent(event)) throw new Error("unreachable");
  expect(said(event)).toMatchObject({ title: "Reward report", text: '{"type":"reward_report","step":3}' });
});

function indexed(...events: Parameters<typeof records>[0]): [EventIndex, RunHistory] {
  const history = new RunHistory();
  const all = records(events);
  history.append(all, rewinds(all));
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
