/** The one shape in which errors reach a component, whatever went wrong. */

import * as z from "zod/mini";

import { errorBody } from "./generatedSchemas";

export interface ApiError extends z.infer<typeof errorBody> {
  /** HTTP status; 0 when no answer came. */
  status: number;
}

export const OFFLINE: ApiError = {
  status: 0,
  code: "offline",
  message: "The server is not responding.",
  hint: "Is `droidft serve` still running? This page reconnects by itself.",
  field: null,
};

const ANSWER = z.object({ error: errorBody });
const KNOWN = z.extend(z.partial(errorBody), {
  status: z.optional(z.number()),
  code: z.string(),
  message: z.string(),
});
const THROWN = z.object({ message: z.string() });

/** An error from an answer's status and body, which is ours (`{error: …}`) or anything at all. */
export function fromAnswer(status: number, body: unknown): ApiError {
  const ours = ANSWER.safeParse(body).data?.error;
  return {
    status,
    ...(ours ?? { code: `http_${status}`, message: `The server answered ${status}.`, hint: "", field: null }),
  };
}

/** Any caught value as an `ApiError`, so that it can be shown. */
export function asApiError(value: unknown): ApiError {
  const known = KNOWN.safeParse(value).data;
  if (known) {
    const { status = 0, code, message, hint = "", field = null } = known;
    return { status, code, message, hint, field };
  }
  const message = THROWN.safeParse(value).data?.message;
  return {
    status: 0,
    code: "unexpected",
    message: message || "Something unexpected happened.",
    hint: "",
    field: null,
  };
}

/** The same of what a query or mutation calls its error, which is undefined while there is none. */
export function errorOf(error: unknown): ApiError | undefined {
  return error === undefined ? undefined : asApiError(error);
}
