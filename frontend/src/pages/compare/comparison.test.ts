import { afterEach, describe, expect, it, vi } from "vitest";

import { OFFLINE } from "@/api/errors";

import {
  apply,
  ask,
  begin,
  BROKEN,
  canVote,
  COMPARISON,
  finish,
  isAnswering,
  isHidden,
  linesOf,
  parseEvent,
  shuffled,
} from "./comparison";
import { answered, ASKED, BASE } from "./testing";

const bytes = (text: string) => new TextEncoder().encode(text);

function streamOf(chunks: Uint8Array[], onCancel?: () => void): ReadableStream<Uint8Array> {
  const rest = [...chunks];
  return new ReadableStream({
    pull(controller) {
      const next = rest.shift();
      if (next) controller.enqueue(next);
      else controller.close();
    },
    cancel: () => onCancel?.(),
  });
}

async function collect(stream: ReadableStream<Uint8Array>): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of linesOf(stream)) lines.push(line);
  return lines;
}

describe("lines", () => {
  const text = '{"text":"naïve 🍏 é"}\n{"text":"日本語"}\n\n{"text":"end"}';
  const whole = text.split("\n");

  it("are the same wherever the chunks are cut, inside a character and a line", async () => {
    const all = bytes(text);
    for (let cut = 0; cut <= all.length; cut += 1) {
      expect(await collect(streamOf([all.slice(0, cut), all.slice(cut)]))).toEqual(whole);
    }
  });

  it("are the same byte by byte", async () => {
    const all = bytes(text);
    expect(await collect(streamOf([...all].map((byte) => Uint8Array.of(byte))))).toEqual(whole);
  });

  it("of one chunk may be many, and of none none", async () => {
    expect(await collect(streamOf([bytes("a\nb\nc\n")]))).toEqual(["a", "b", "c"]);
    expect(await collect(streamOf([]))).toEqual([]);
  });

  it("that nobody reads any more end the stream", async () => {
    const cancelled = vi.fn();
    for await (const line of linesOf(streamOf([bytes("a\n"), bytes("b\n"), bytes("c\n")], cancelled))) {
      if (line === "a") break;
    }
    expect(cancelled).toHaveBeenCalledOnce();
  });
});

describe("events", () => {
  it("are checked", () => {
    const start = { type: "start", side: 0, adapter_details: BASE, seed: 7 };
    expect(parseEvent(JSON.stringify(start))).toEqual(start);
    expect(parseEvent('{"type":"text","side":1,"text":"<b>hi</b>"}')).toEqual({
      type: "text",
      side: 1,
      text: "<b>hi</b>",
    });
  });

  it.each(["", "  ", '{"type":"text","side":"0","text":"x"}', '{"type":"new in a later version"}', "[]", "null"])(
    "%j is none",
    (line) => expect(parseEvent(line)).toBeNull(),
  );
});

describe("ask", () => {
  afterEach(() => vi.unstubAllGlobals());
  const answerWith = (answer: () => Promise<Response>) => vi.stubGlobal("fetch", vi.fn(answer));
  const run = async (signal = new AbortController().signal) => {
    const texts: string[] = [];
    const outcome = await ask(ASKED, signal, (event) => {
      if (event.type === "text") texts.push(event.text);
    });
    return { outcome, texts };
  };

  it("hands on what comes", async () => {
    const lines = ["a", "b"].map((text) => `${JSON.stringify({ type: "text", side: 0, text })}\n`);
    answerWith(() => Promise.resolve(new Response(lines.join(""))));
    expect(await run()).toEqual({ outcome: { kind: "ended" }, texts: ["a", "b"] });
  });

  it("gives the server's error", async () => {
    const error = { code: "not_found", message: "there is no model 'x'", hint: "fetch it", field: "model_path" };
    answerWith(() => Promise.resolve(new Response(JSON.stringify({ error }), { status: 404 })));
    expect((await run()).outcome).toEqual({ kind: "failed", error: { ...error, status: 404 } });
  });

  it("tells a server that is not there from one that went away", async () => {
    answerWith(() => Promise.reject(new TypeError("Failed to fetch")));
    expect((await run()).outcome).toEqual({ kind: "failed", error: OFFLINE });
    const broken = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(bytes('{"type":"text","side":0,"text":"a"}\n'));
      },
      pull(controller) {
        controller.error(new TypeError("network error"));
      },
    });
    answerWith(() => Promise.resolve(new Response(broken)));
    expect(await run()).toEqual({ outcome: { kind: "failed", error: BROKEN }, texts: ["a"] });
  });

  it("that was called off is stopped, not failed", async () => {
    const controller = new AbortController();
    answerWith(() => {
      controller.abort();
      return Promise.reject(new DOMException("aborted", "AbortError"));
    });
    expect((await run(controller.signal)).outcome).toEqual({ kind: "stopped" });
  });
});

const fresh = () => begin(ASKED, { id: "c1", at: 1, blind: false });
const ERROR = { code: "adapter", message: "does not fit", hint: "", field: null };

describe("a comparison", () => {
  it("gathers each side's text", () => {
    const { sides, state } = answered();
    expect(state).toBe("done");
    expect(sides.map((side) => side.text)).toEqual(["Sorry.", '{"item":"flat white"}']);
    expect(sides[0]?.end).toEqual({ reason: "length", promptTokens: 12, tokens: 5, speed: 30 });
    expect(sides[1]?.details?.rank).toBe(32);
  });

  it("shows a phase until a side begins", () => {
    const loading = apply(fresh(), { type: "phase", text: "loading model tiny" });
    expect(loading.phase).toBe("loading model tiny");
    expect(apply(loading, { type: "text", side: 0, text: "a" }).phase).toBeNull();
  });

  it("goes on with the others when one side fails", () => {
    let comparison = apply(fresh(), { type: "error", side: 1, error: ERROR });
    const [base, adapter] = comparison.sides;
    if (!base || !adapter) throw new Error("two sides");
    expect([isAnswering(comparison, base), isAnswering(comparison, adapter)]).toEqual([true, false]);
    const end = { finish_reason: "stop", prompt_tokens: 1, tokens: 1, tokens_per_second: 1 } as const;
    comparison = finish(apply(comparison, { type: "end", side: 0, ...end }), { kind: "ended" });
    expect([comparison.state, comparison.error, comparison.sides[1]?.error]).toEqual(["done", null, ERROR]);
  });

  it("fails as a whole by an error of no side, or by a stream that ends too early", () => {
    const failed = finish(apply(fresh(), { type: "error", side: null, error: ERROR }), { kind: "ended" });
    expect([failed.state, failed.error]).toEqual(["failed", ERROR]);
    const early = finish(fresh(), { kind: "ended" });
    expect([early.state, early.error?.code]).toEqual(["failed", "interrupted"]);
  });

  it("ignores a side that does not exist", () => {
    expect(apply(fresh(), { type: "text", side: 9, text: "a" }).sides).toEqual(fresh().sides);
  });

  it("survives being written down", () => {
    const kept: unknown = JSON.parse(JSON.stringify(answered()));
    expect(COMPARISON.safeParse(kept).success).toBe(true);
    expect(COMPARISON.safeParse({ ...answered(), sides: [{ text: 1 }] }).success).toBe(false);
  });
});

describe("a blind comparison", () => {
  it("can be voted on once every side has answered", () => {
    const blind = answered({}, { blind: true });
    expect([isHidden(blind), canVote(blind)]).toEqual([true, true]);
    expect(canVote({ ...blind, revealed: true })).toBe(false);
    expect(canVote({ ...blind, state: "stopped" })).toBe(false);
    const [first, ...rest] = blind.sides;
    if (!first) throw new Error("a side");
    expect(canVote({ ...blind, sides: [{ ...first, end: null, error: ERROR }, ...rest] })).toBe(false);
  });

  it("is shuffled fairly: every order equally often", () => {
    const counts = new Map<string, number>();
    let state = 1;
    const random = () => {
      state = (state * 48271) % 2147483647;
      return state / 2147483647;
    };
    for (let round = 0; round < 6000; round += 1) {
      const order = shuffled(["a", "b", "c"], random).join("");
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(6);
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(130);
  });
});
