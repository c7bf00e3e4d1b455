import { describe, expect, it } from "vitest";

import type { Record as RunRecord } from "@/api";
import { RunHistory } from "@/api/history";
import { run } from "@/test/records";

import {
  lastOf,
  metricLabel,
  panelsOf,
  pointsOf,
  rewardMarks,
  rewardNames,
  rewardSeries,
  rewardSummary,
} from "./MetricChart";
import { scoreOf, scoreText } from "./score";

function report(seq: number, step: number, metrics: Record<string, number>): RunRecord {
  return {
    seq,
    time: seq,
    event: {
      type: "train_report",
      step,
      epoch: 0,
      loss: 0,
      learning_rate: 1e-5,
      grad_norm: 1,
      tokens_per_second: 1,
      supervised_tokens_per_second: 1,
      tokens: 1,
      supervised_tokens: 1,
      peak_memory_bytes: 1,
      rss_bytes: 1,
      seconds_left: null,
      metrics,
    },
  };
}

function evaluation(seq: number, step: number, reward: number): RunRecord {
  const loss = -reward;
  const rest = { tokens: 1, best: true, best_loss: loss, best_step: step, seconds: 1 };
  return { seq, time: seq, event: { type: "eval_report", step, loss, metrics: { reward }, ...rest } };
}

function sampled(seq: number, step: number): RunRecord {
  return { seq, time: seq, event: { type: "completions", step, rows: [] } };
}

function history(): RunHistory {
  const made = new RunHistory();
  made.append([
    evaluation(1, 0, 0.25),
    report(2, 1, { reward: 0.2, reward_std: 0.1 }),
    sampled(3, 1),
    report(4, 2, { reward: 0.4, reward_std: 0.1, kl: 0.01 }),
    sampled(5, 2),
    evaluation(6, 2, 0.5),
  ]);
  return made;
}

describe("the history of metrics", () => {
  it("has a column for each name, as long as the reports", () => {
    const { trainMetrics, evalMetrics, train } = history();
    expect(trainMetrics.names).toEqual(["reward", "reward_std", "kl"]);
    expect(Array.from(trainMetrics.view("kl"))).toEqual([NaN, 0.01]);
    expect(Array.from(evalMetrics.view("reward"))).toEqual([0.25, 0.5]);
    expect(pointsOf(train.step.view(), trainMetrics, "kl")).toEqual({ x: [2], y: [0.01] });
    expect(lastOf(trainMetrics, "nothing")).toBeNaN();
  });

  it("drops what a resumed run does again", () => {
    const made = history();
    const event = { type: "run_started", config: {}, versions: {}, device: {}, resumed_from_step: 1 } as const;
    made.append([{ seq: 7, time: 7, event }, report(8, 2, { reward: 0.9 }), sampled(9, 2)], [{ seq: 7, step: 1 }]);
    expect(Array.from(made.trainMetrics.view("reward"))).toEqual([0.2, 0.9]);
    expect(made.trainMetrics.row(1)).toEqual({ reward: 0.9 });
    expect(made.reportMetrics.length).toBe(3);
    expect(made.completions.map(({ step }) => step)).toEqual([1, 2]);
    expect(made.evals.step.length).toBe(1);
  });
});

it("the reward is drawn with its spread, and said in words", () => {
  const made = history();
  const [above, below] = rewardSeries(made, 0);
  expect(above?.bandTo).toBe(below?.label);
  expect(Array.from(above?.y ?? [])[1]).toBeCloseTo(0.5);
  expect(Array.from(below?.y ?? [])[1]).toBeCloseTo(0.3);
  expect(rewardMarks(made)).toMatchObject([{ x: 2, y: 0.5 }]);
  expect(rewardSummary(made)).toBe(
    "Mean reward went from 0.2 at step 1 to 0.4 at step 2. On validation prompts it went from 0.25 to 0.5. The best evaluation is 0.5 at step 2.",
  );
});

describe("panels", () => {
  const names = [
    "reward",
    "reward/tag_format",
    "reward_std/tag_format",
    "tied_groups",
    "clip_low",
    "clip_high",
    "novelty",
  ];
  it("are those that a run has measured", () =>
    expect(panelsOf("grpo", names).map(({ title }) => title)).toEqual([
      "Each reward",
      "Spread of each reward",
      "Tied groups",
      "Clipped",
      "novelty",
    ]));
  it("are others for preferences", () =>
    expect(panelsOf("dpo", ["accuracy", "margin"]).map(({ title }) => title)).toEqual(["Accuracy", "Margin"]));
  it("are none for supervised runs without metrics", () => expect(panelsOf("sft", [])).toEqual([]));
  it("name rewards", () => {
    expect(rewardNames(names)).toEqual(["tag_format"]);
    expect(metricLabel("reward/tag_format")).toBe("Reward: tag_format");
  });
});

describe("a run's score", () => {
  it("is its mean reward where rewards are learned from", () => {
    const score = scoreOf(run({ method: "grpo", first_loss: -0.25, best_loss: -0.5, last_eval_loss: 0.1 }));
    expect(score).toMatchObject({ kind: "reward", first: 0.25, best: 0.5, last: -0.1 });
    expect(scoreText(score.kind, score.last)).toBe("−0.1");
  });
  it("is its loss otherwise", () =>
    expect(scoreOf(run({ method: "dpo" }))).toMatchObject({ kind: "loss", best: 0.55 }));
});
