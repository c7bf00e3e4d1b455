import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { FakeSocket } from "@/test/FakeSocket";

import { backoff, ReconnectingSocket } from "./sockets";

let started: ReconnectingSocket[] = [];

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.spyOn(Math, "random").mockReturnValue(1);
  FakeSocket.made = [];
});

afterEach(() => {
  for (const socket of started) socket.close();
  started = [];
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe("backoff", () => {
  it("doubles up to a limit and is random between half and whole", () => {
    expect([0, 1, 2, 3, 10].map((n) => backoff(n, () => 1))).toEqual([500, 1000, 2000, 4000, 15_000]);
    expect(backoff(2, () => 0)).toBe(1000);
  });
});

describe("ReconnectingSocket", () => {
  function start() {
    let position = 0;
    const log: { frames: unknown[]; states: string[]; refused: number } = { frames: [], states: [], refused: 0 };
    const socket = new ReconnectingSocket({
      path: () => `/api/x?after=${position}`,
      onFrame: (frame, first) => {
        log.frames.push([frame, first]);
        position++;
      },
      onState: (state) => log.states.push(state),
      onRefused: () => log.refused++,
    });
    started.push(socket);
    return { socket, log };
  }

  it("comes back after a loss and goes on where it was", () => {
    const { log } = start();
    FakeSocket.latest.open();
    FakeSocket.latest.send({ n: 1 });
    FakeSocket.latest.send({ n: 2 });
    FakeSocket.latest.drop();
    expect(FakeSocket.made).toHaveLength(1);
    vi.advanceTimersByTime(499);
    expect(FakeSocket.made).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(FakeSocket.made).toHaveLength(2);
    expect(FakeSocket.latest.url).toBe("ws://localhost:3000/api/x?after=2");
    FakeSocket.latest.open();
    FakeSocket.latest.send({ n: 3 });
    expect(log.frames).toEqual([
      [{ n: 1 }, true],
      [{ n: 2 }, false],
      [{ n: 3 }, true],
    ]);
    expect(log.states).toEqual(["connecting", "open", "lost", "connecting", "open"]);
    expect(log.refused).toBe(0);
  });

  it("waits longer after each failure, even if it opens only to close", () => {
    const { log } = start();
    for (const delay of [500, 1000, 2000]) {
      FakeSocket.latest.open();
      FakeSocket.latest.drop();
      const before = FakeSocket.made.length;
      vi.advanceTimersByTime(delay - 1);
      expect(FakeSocket.made).toHaveLength(before);
      vi.advanceTimersByTime(1);
      expect(FakeSocket.made).toHaveLength(before + 1);
    }
    FakeSocket.latest.drop();
    expect(log.refused).toBe(1);
    FakeSocket.latest.drop();
  });

  it("a frame makes the next wait short again", () => {
    start();
    FakeSocket.latest.drop();
    vi.advanceTimersByTime(500);
    FakeSocket.latest.open();
    FakeSocket.latest.send({});
    FakeSocket.latest.drop();
    vi.advanceTimersByTime(500);
    expect(FakeSocket.made).toHaveLength(3);
  });

  it("tries at once when the machine is back online", () => {
    start();
    FakeSocket.latest.drop();
    window.dispatchEvent(new Event("online"));
    expect(FakeSocket.made).toHaveLength(2);
  });

  it("stays closed once closed", () => {
    const { socket } = start();
    FakeSocket.latest.open();
    socket.close();
    expect(FakeSocket.latest.closed).toBe(true);
    vi.advanceTimersByTime(60_000);
    window.dispatchEvent(new Event("online"));
    expect(FakeSocket.made).toHaveLength(1);
  });
});
