/** Whatever the connection does, what a page has in the end is what one undisturbed reading gives. */

import { afterEach, beforeEach, expect, it, vi } from "vitest";

import type { Record as RunRecord } from "@/api";
import { RunFollower, RunHistory } from "@/api/history";
import { FakeSocket } from "@/test/FakeSocket";
import { evaluation, records, report, rewinds, started, warning } from "@/test/records";

import { factsOf } from "./Details";
import { EventIndex, EVERYTHING } from "./events";

/** Numbers that look random and are the same every time. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A run that was started, crashed, started from nothing, crashed, resumed twice, and finished. */
function story(): RunRecord[] {
  const steps = (from: number, to: number, salt: number) =>
    Array.from({ length: to - from + 1 }, (_, at) => report(from + at, salt + 1 / (from + at)));
  return records([
    started(),
    evaluation(0, 3),
    ...steps(1, 7, 0),
    started(null),
    warning("careful"),
    evaluation(0, 3.5),
    ...steps(1, 30, 1),
    evaluation(30, 1.2),
    ...steps(31, 44, 2),
    evaluation(40, 0.9),
    started(30),
    warning("careful"),
    ...steps(31, 55, 3),
    evaluation(50, 1.1, [30, 1.2]),
    started(20),
    ...steps(21, 60, 4),
    evaluation(60, 0.7),
    { type: "finished", step: 60, best_step: 60, best_loss: 0.7, final_loss: 0.7, seconds: 9 },
  ]);
}

/** All that a page shows of a history. */
function shown(history: RunHistory) {
  const index = new EventIndex(history);
  return {
    train: Object.fromEntries(Object.entries(history.train).map(([name, column]) => [name, [...column.view()]])),
    evals: Object.fromEntries(Object.entries(history.evals).map(([name, column]) => [name, [...column.view()]])),
    best: [history.bestStep, history.bestLoss],
    last: [history.last, history.lastTime],
    log: index.select(EVERYTHING).rows.map((row) => index.row(row)),
    facts: factsOf(history.events),
  };
}

function once(): RunHistory {
  const history = new RunHistory();
  history.append(story(), rewinds(story()));
  return history;
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", FakeSocket);
  FakeSocket.made = [];
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("drops what was done again, as the server does", () => {
  const history = once();
  expect([...history.train.step.view()]).toEqual(Array.from({ length: 60 }, (_, at) => at + 1));
  const [, early, late] = [history.train.loss.at(0), history.train.loss.at(19), history.train.loss.at(20)];
  expect([early, late]).toEqual([1 + 1 / 20, 4 + 1 / 21]);
  expect([...history.evals.step.view()]).toEqual([0, 60]);
  expect([...history.evals.loss.view()]).toEqual([3.5, 0.7]);
});

it("forgets a best that a resumed run has yet to reach again", () => {
  const history = new RunHistory();
  const said = records([started(), evaluation(0, 3), evaluation(20, 1), started(10)]);
  history.append(said, rewinds(said));
  expect([history.bestStep, history.bestLoss]).toEqual([0, 3]);
  history.append(records([started(null)], 5), [{ seq: 5, step: -1 }]);
  expect([history.bestStep, history.bestLoss]).toEqual([null, null]);
});

it.each(Array.from({ length: 20 }, (_, seed) => seed))("loses nothing and doubles nothing, seed %i", async (seed) => {
  const random = generator(seed + 1);
  const all = story();
  const follower = new RunFollower("r");
  let written = 0;
  let turns = 0;
  while (follower.history.last < all.length && turns++ < 5000) {
    await vi.advanceTimersByTimeAsync(0);
    const socket = FakeSocket.latest;
    socket.open();
    let position = Number(/after=(\d+)$/.exec(socket.url)?.[1]);
    while (FakeSocket.latest === socket) {
      written = Math.min(all.length, written + Math.floor(random() * 9));
      if (random() < 0.02) {
        // A server that was started again with another history says so.
        socket.send({ type: "reset" });
        break;
      }
      const size = 1 + Math.floor(random() * 12);
      // Now and then a server sends what was had before.
      const from = random() < 0.2 ? Math.max(0, position - 3) : position;
      const sent = all.slice(from, Math.min(written, from + size));
      position = Math.max(position, from + sent.length);
      if (sent.length > 0)
        socket.send({
          type: "records",
          records: sent,
          rewinds: rewinds(sent),
          last: position,
          caught_up: position === written,
        });
      await vi.advanceTimersByTimeAsync(20);
      if (position === all.length) break;
      if (random() < 0.3) {
        socket.drop();
        await vi.advanceTimersByTimeAsync(20_000);
      }
    }
  }
  expect(shown(follower.history)).toEqual(shown(once()));
  follower.close();
});
