/** The one shape in which errors reach a component, whatever went wrong. */

import type { ErrorBody } from "./generated";

export interface ApiError extends ErrorBody {
  /** HTTP status; 0 when no answer came. */
  status: number;
}

export const OFFLINE: ApiError = {
  status: 0,
  code: "offline",
  message: "The server does not answer.",
  hint: "Is `droidft serve` still running? This page reconnects by itself.",
  field: null,
};

function isObject(value: unknown): value is { [key: string]: unknown } {
  return typeof value === "object" && value !== null;
}

function text(value: unknown, otherwise: string): string {
  return typeof value === "string" ? value : otherwise;
}

/** An error from an answer's status and body, which is ours (`{error: …}`) or anything at all. */
export function fromAnswer(status: number, body: unknown): ApiError {
  const error = isObject(body) && isObject(body["error"]) ? body["error"] : {};
  return {
    status,
    code: text(error["code"], `http_${status}`),
    message: text(error["message"], `The server answered ${status}.`),
    hint: text(error["hint"], ""),
    field: typeof error["field"] === "string" ? error["field"] : null,
  };
}

/** Any caught value as an `ApiError`, so that it can be shown. */
export function asApiError(value: unknown): ApiError {
  if (isObject(value) && typeof value["code"] === "string" && typeof value["message"] === "string") {
    return {
      status: typeof value["status"] === "number" ? value["status"] : 0,
      code: value["code"],
      message: value["message"],
      hint: text(value["hint"], ""),
      field: typeof value["field"] === "string" ? value["field"] : null,
    };
  }
  const message = value instanceof Error ? value.message : isObject(value) ? text(value["message"], "") : "";
  return {
    status: 0,
    code: "unexpected",
    message: message || "Something unexpected happened.",
    hint: "",
    field: null,
  };
}
