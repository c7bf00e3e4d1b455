import { expect, it } from "vitest";

import type { Record as RunRecord } from "@/api";
import { evaluation, report, started, warning } from "@/test/records";

import { describe as said } from "./describe";

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
