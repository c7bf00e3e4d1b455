/** The answers as the server streams them: one JSON object a line, cut into chunks wherever the network likes. */

import type { CompareRequest, StreamEvent } from "@/api";
import { fromAnswer, OFFLINE } from "@/api/errors";
import type { ApiError } from "@/api/errors";
import { streamEvent } from "@/api/generatedSchemas";

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
export type Outcome = { kind: "ended" } | { kind: "stopped" } | { kind: "failed"; error: ApiError };

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
    const response = await fetch("/api/models/inference/stream", {
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
