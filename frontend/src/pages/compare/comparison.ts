/** One comparison: what was asked, and what each side has said so far. Plain data, kept in the history as it is. */

import * as z from "zod/mini";

import type { CompareRequest, ErrorBody, StreamEvent } from "@/api";
import { fromAnswer, OFFLINE } from "@/api/errors";
import type { ApiError } from "@/api/errors";
import { adapterDetails, compareRequest, errorBody, streamEnd, streamEvent } from "@/api/generatedSchemas";
import { addressOf } from "@/lib/root";

/** A line's event; null for an empty line and for what a newer server may say and we do not know. */
export function parseEvent(line: string): StreamEvent | null {
  return line.trim() === "" ? null : (streamEvent.safeParse(JSON.parse(line)).data ?? null);
}

/** Whole lines of a stream of bytes; a last line without its end is a line too. */
export async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      const lines = rest.split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
      if (done) break;
    }
    if (rest !== "") yield rest;
  } finally {
    // Whoever stops listening ends the answers on the server too.
    await reader.cancel().catch(() => undefined);
  }
}

/** How a stream came to its end. */
type Outcome = { kind: "ended" } | { kind: "stopped" } | { kind: "failed"; error: ApiError };

export const BROKEN: ApiError = {
  status: 0,
  code: "interrupted",
  message: "The answer broke off: the connection to the server was lost.",
  hint: "Ask again when the server is back.",
  field: null,
};

/** Ask, and hand on every event as it comes; `signal` stops it here and on the server. */
export async function ask(
  request: CompareRequest,
  signal: AbortSignal,
  onEvent: (event: StreamEvent) => void,
): Promise<Outcome> {
  let answered = false;
  try {
    const response = await fetch(addressOf("/api/models/inference/stream"), {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json", Accept: "application/x-ndjson" },
      body: JSON.stringify(request),
      signal,
    });
    if (!response.ok || response.body === null) {
      const body: unknown = await response.json().catch(() => null);
      return { kind: "failed", error: fromAnswer(response.status, body) };
    }
    answered = true;
    for await (const line of linesOf(response.body)) {
      const event = parseEvent(line);
      if (event !== null) onEvent(event);
    }
    return signal.aborted ? { kind: "stopped" } : { kind: "ended" };
  } catch {
    if (signal.aborted) return { kind: "stopped" };
    return { kind: "failed", error: answered ? BROKEN : OFFLINE };
  }
}

const END = z.object({
  reason: streamEnd.shape.finish_reason,
  promptTokens: z.number(),
  tokens: z.number(),
  speed: z.number(),
});

const SIDE = z.object({
  /** `name@which`; null is the base alone. */
  adapter: z.nullable(z.string()),
  text: z.string(),
  details: z.nullable(adapterDetails),
  end: z.nullable(END),
  error: z.nullable(errorBody),
});
export type Side = z.infer<typeof SIDE>;

/** What a vote says: the number of the side that was preferred, or that none was. */
const VOTE = z.union([z.number(), z.literal("tie"), z.literal("bad")]);
export type Vote = z.infer<typeof VOTE>;

/** Request with everything spelled out, so that it can be sent again. */
// What was kept by an earlier version lacks what it did not know.
const ASKED = z.extend(z.required(compareRequest), {
  seed: z.number(),
  allow_mismatch: z._default(z.boolean(), false),
  chat_template_kwargs: z._default(z.nullable(z.record(z.string(), z.unknown())), null),
  template_date: z._default(z.nullable(z.string()), null),
});
export type Asked = z.infer<typeof ASKED>;

export const COMPARISON = z.object({
  id: z.string(),
  /** Milliseconds since the epoch. */
  at: z.number(),
  request: ASKED,
  /** In the order of the request, which in blind mode is drawn by lot. */
  sides: z.array(SIDE),
  state: z.enum(["running", "done", "stopped", "failed"]),
  /** What is being done before the first word. */
  phase: z.nullable(z.string()),
  /** What kept all sides from answering. */
  error: z.nullable(errorBody),
  /** Sides are named A, B … until `revealed`. */
  blind: z.boolean(),
  revealed: z.boolean(),
  vote: z.nullable(VOTE),
});
export type Comparison = z.infer<typeof COMPARISON>;

export function begin(request: Asked, options: { id: string; at: number; blind: boolean }): Comparison {
  return {
    ...options,
    request,
    sides: request.adapters.map((adapter) => ({ adapter, text: "", details: null, end: null, error: null })),
    state: "running",
    phase: null,
    error: null,
    revealed: false,
    vote: null,
  };
}

/** With one more event. */
export function apply(comparison: Comparison, event: StreamEvent): Comparison {
  switch (event.type) {
    case "phase":
      return { ...comparison, phase: event.text };
    case "start":
      return withSide({ ...comparison, phase: null }, event.side, { details: event.adapter_details });
    case "text": {
      const before = comparison.sides[event.side]?.text ?? "";
      return withSide({ ...comparison, phase: null }, event.side, { text: before + event.text });
    }
    case "end": {
      const { finish_reason: reason, prompt_tokens: promptTokens, tokens, tokens_per_second: speed } = event;
      return withSide(comparison, event.side, { end: { reason, promptTokens, tokens, speed } });
    }
    case "error":
      if (event.side === null) return { ...comparison, phase: null, error: event.error };
      return withSide(comparison, event.side, { error: event.error });
    default:
      return event satisfies never;
  }
}

/** When no more events come. */
export function finish(comparison: Comparison, outcome: Outcome): Comparison {
  const ended = { ...comparison, phase: null };
  switch (outcome.kind) {
    case "stopped":
      return { ...ended, state: "stopped" };
    case "failed":
      return { ...ended, state: "failed", error: body(outcome.error) };
    case "ended": {
      if (comparison.error !== null) return { ...ended, state: "failed" };
      const open = comparison.sides.some((side) => side.end === null && side.error === null);
      return open ? { ...ended, state: "failed", error: body(BROKEN) } : { ...ended, state: "done" };
    }
    default:
      return outcome satisfies never;
  }
}

function body({ code, message, hint, field }: ErrorBody): ErrorBody {
  return { code, message, hint, field };
}

function withSide(comparison: Comparison, number: number, change: Partial<Side>): Comparison {
  const sides = comparison.sides.map((side, index) => (index === number ? { ...side, ...change } : side));
  return { ...comparison, sides };
}

/** Whether who is who is still hidden. */
export function isHidden(comparison: Comparison): boolean {
  return comparison.blind && !comparison.revealed;
}

/** Whether a vote can be given: every side has answered to its end. */
export function canVote(comparison: Comparison): boolean {
  return isHidden(comparison) && comparison.state === "done" && comparison.sides.every((side) => side.end !== null);
}

export function isAnswering(comparison: Comparison, side: Side): boolean {
  return comparison.state === "running" && side.end === null && side.error === null;
}

/** `A`, `B` … */
export function letter(index: number): string {
  return String.fromCharCode(65 + index);
}

/** A fair shuffle (Fisher-Yates); `random` gives a number from 0 to below 1. */
export function shuffled<T>(items: readonly T[], random: () => number = Math.random): T[] {
  const rest = [...items];
  const drawn: T[] = [];
  while (rest.length > 0) drawn.push(...rest.splice(Math.floor(random() * rest.length), 1));
  return drawn;
}
