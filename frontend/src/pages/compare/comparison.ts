/** One comparison: what was asked, and what each side has said so far. Plain data, kept in the history as it is. */

import type { AdapterDetails, CompareRequest, ErrorBody, StreamEnd, StreamEvent } from "@/api";

import { isBoolean, isNumber, isString, listOf, nullable, oneOf, shape } from "./guards";
import type { Guard } from "./guards";
import { BROKEN, isDetails, isErrorBody } from "./stream";
import type { Outcome } from "./stream";

export interface End {
  reason: StreamEnd["finish_reason"];
  promptTokens: number;
  tokens: number;
  speed: number;
}

export interface Side {
  /** `name@which`; null is the base alone. */
  adapter: string | null;
  text: string;
  details: AdapterDetails | null;
  end: End | null;
  error: ErrorBody | null;
}

/** What a vote says: the number of the side that was preferred, or that none was. */
export type Vote = number | "tie" | "bad";

export type State = "running" | "done" | "stopped" | "failed";

/** Request with everything spelled out, so that it can be sent again. */
export type Asked = Required<CompareRequest> & { seed: number };

export interface Comparison {
  id: string;
  /** Milliseconds since the epoch. */
  at: number;
  request: Asked;
  /** In the order of the request, which in blind mode is drawn by lot. */
  sides: Side[];
  state: State;
  /** What is being done before the first word. */
  phase: string | null;
  /** What kept all sides from answering. */
  error: ErrorBody | null;
  /** Sides are named A, B … until `revealed`. */
  blind: boolean;
  revealed: boolean;
  vote: Vote | null;
}

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

const isSide: Guard<Side> = shape<Side>({
  adapter: nullable(isString),
  text: isString,
  details: nullable(isDetails),
  end: nullable(
    shape<End>({ reason: oneOf("stop", "length"), promptTokens: isNumber, tokens: isNumber, speed: isNumber }),
  ),
  error: nullable(isErrorBody),
});

const isAsked: Guard<Asked> = shape<Asked>({
  max_tokens: isNumber,
  temperature: isNumber,
  top_p: isNumber,
  min_p: isNumber,
  top_k: isNumber,
  repetition_penalty: isNumber,
  seed: isNumber,
  prompt: isString,
  model_name: isString,
  adapters: listOf(nullable(isString)),
  system_prompt: nullable(isString),
  use_chat_template: isBoolean,
});

const isVote: Guard<Vote> = (value): value is Vote => isNumber(value) || value === "tie" || value === "bad";

/** For what was kept in this browser. */
export const isComparison: Guard<Comparison> = shape<Comparison>({
  id: isString,
  at: isNumber,
  request: isAsked,
  sides: listOf(isSide),
  state: oneOf("running", "done", "stopped", "failed"),
  phase: nullable(isString),
  error: nullable(isErrorBody),
  blind: isBoolean,
  revealed: isBoolean,
  vote: nullable(isVote),
});
