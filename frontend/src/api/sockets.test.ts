import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { FakeSocket } from "@/test/FakeSocket";

import { ReconnectingSocket } from "./sockets";

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

/** Let what is due within `ms` happen. */
const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

describe("ReconnectingSocket", () => {
  async function start() {
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
    await pass();
    return { socket, log };
  }

  it("comes back after a loss and goes on where it was", async () => {
    const { log } = await start();
    FakeSocket.latest.open();
    FakeSocket.latest.send({ n: 1 });
    FakeSocket.latest.send({ n: 2 });
    FakeSocket.latest.drop();
    expect(FakeSocket.made).toHaveLength(1);
    await pass(499);
    expect(FakeSocket.made).toHaveLength(1);
    await pass(1);
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

  it("waits longer after each failure, even if it opens only to close", async () => {
    const { log } = await start();
    for (const delay of [500, 1000, 2000, 4000, 8000, 15_000, 15_000]) {
      FakeSocket.latest.open();
      FakeSocket.latest.drop();
      const before = FakeSocket.made.length;
      await pass(delay - 1);
      expect(FakeSocket.made).toHaveLength(before);
      await pass(1);
      expect(FakeSocket.made).toHaveLength(before + 1);
    }
    FakeSocket.latest.drop();
    expect(log.refused).toBe(1);
    FakeSocket.latest.drop();
  });

  it("waits between half and the whole of it", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    await start();
    FakeSocket.latest.drop();
    await pass(249);
    expect(FakeSocket.made).toHaveLength(1);
    await pass(1);
    expect(FakeSocket.made).toHaveLength(2);
  });

  it("a connection that held makes the next wait short again", async () => {
    await start();
    FakeSocket.latest.drop();
    await pass(500);
    FakeSocket.latest.open();
    FakeSocket.latest.send({});
    await pass(1000);
    FakeSocket.latest.drop();
    await pass(500);
    expect(FakeSocket.made).toHaveLength(3);
  });

  it("tries at once when the machine is back online", async () => {
    await start();
    FakeSocket.latest.drop();
    window.dispatchEvent(new Event("online"));
    await pass();
    expect(FakeSocket.made).toHaveLength(2);
  });

  it("stays closed once closed", async () => {
    const { socket } = await start();
    FakeSocket.latest.open();
    socket.close();
    expect(FakeSocket.latest.closed).toBe(true);
    await pass(60_000);
    window.dispatchEvent(new Event("online"));
    expect(FakeSocket.made).toHaveLength(1);
  });
});
