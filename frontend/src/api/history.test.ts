import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { FakeSocket } from "@/test/FakeSocket";

import type { Record as RunRecord } from "./generated";
import { RunFollower, RunHistory } from "./history";

function report(seq: number, step: number, loss: number): RunRecord {
  return {
    seq,
    time: 1000 + seq,
    event: {
      type: "train_report",
      step,
      epoch: step / 10,
      loss,
      learning_rate: 1e-4,
      grad_norm: 1,
      tokens_per_second: 100,
      supervised_tokens_per_second: 50,
      tokens: step * 10,
      supervised_tokens: step * 5,
      peak_memory_bytes: 1,
      rss_bytes: 1,
      seconds_left: null,
    },
  };
}

function evaluation(seq: number, step: number, loss: number): RunRecord {
  const event = {
    type: "eval_report",
    step,
    loss,
    tokens: 1,
    best: true,
    best_loss: loss,
    best_step: step,
    seconds: 1,
  } as const;
  return { seq, time: 1000 + seq, event };
}

function started(seq: number, resumed: number | null): RunRecord {
  const event = { type: "run_started", config: {}, versions: {}, device: {}, resumed_from_step: resumed } as const;
  return { seq, time: 1000 + seq, event };
}

describe("RunHistory", () => {
  it("keeps reports in columns and the rest in a list", () => {
    const history = new RunHistory();
    history.append([started(1, null), evaluation(2, 0, 3), report(3, 5, 2.5), report(4, 10, 2)]);
    expect(Array.from(history.train.step.view())).toEqual([5, 10]);
    expect(Array.from(history.train.loss.view())).toEqual([2.5, 2]);
    expect(Array.from(history.train.time.view())).toEqual([1003, 1004]);
    expect(Array.from(history.evals.loss.view())).toEqual([3]);
    expect(history.events.map((record) => record.seq)).toEqual([1, 2]);
    expect([history.last, history.bestStep, history.bestLoss]).toEqual([4, 0, 3]);
  });

  it("takes nothing twice", () => {
    const history = new RunHistory();
    history.append([report(1, 5, 3), report(2, 10, 2)]);
    history.append([report(2, 10, 2), report(3, 15, 1)]);
    expect(Array.from(history.train.step.view())).toEqual([5, 10, 15]);
  });

  it("drops the points that a resumed run trains again", () => {
    const history = new RunHistory();
    history.append([evaluation(1, 0, 4), report(2, 5, 3), report(3, 10, 2), evaluation(4, 10, 2), report(5, 15, 1)]);
    history.append([started(6, 10), report(7, 15, 1.5)], [{ seq: 6, step: 10 }]);
    expect(Array.from(history.train.step.view())).toEqual([5, 10, 15]);
    expect(history.train.loss.at(-1)).toBe(1.5);
    expect(Array.from(history.evals.step.view())).toEqual([0, 10]);
  });

  it("grows to 100,000 reports", () => {
    const history = new RunHistory();
    history.append(Array.from({ length: 100_000 }, (_, i) => report(i + 1, i + 1, 1 / (i + 1))));
    expect(history.train.loss.length).toBe(100_000);
    expect(history.train.loss.at(99_999)).toBe(1e-5);
  });
});

describe("RunFollower", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal("WebSocket", FakeSocket);
    FakeSocket.made = [];
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("resumes from its last record and begins again on a reset", async () => {
    const follower = new RunFollower("a run");
    const seen = vi.fn();
    follower.subscribe(seen);
    await vi.advanceTimersByTimeAsync(0);
    expect(FakeSocket.latest.url).toBe("ws://localhost:3000/api/runs/a%20run/events?after=0");
    FakeSocket.latest.open();
    FakeSocket.latest.send({
      type: "records",
      records: [report(1, 5, 3), report(2, 10, 2)],
      rewinds: [],
      last: 2,
      caught_up: true,
    });
    vi.advanceTimersByTime(50);
    expect(seen).toHaveBeenCalled();
    expect(follower.history.caughtUp).toBe(true);
    FakeSocket.latest.drop();
    await vi.advanceTimersByTimeAsync(600);
    expect(FakeSocket.latest.url).toMatch(/after=2$/);
    FakeSocket.latest.open();
    FakeSocket.latest.send({ type: "reset" });
    await vi.advanceTimersByTimeAsync(0);
    expect(FakeSocket.latest.url).toMatch(/after=0$/);
    expect(follower.history.train.step.length).toBe(0);
    follower.close();
  });
});
