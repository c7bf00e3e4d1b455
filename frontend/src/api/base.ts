/** How every request is made; `generated.ts` adds the endpoints. */

import { createApi, fetchBaseQuery } from "@reduxjs/toolkit/query/react";
import type { BaseQueryFn, FetchArgs, FetchBaseQueryError } from "@reduxjs/toolkit/query/react";

import { ROOT } from "@/lib/root";

import { fromAnswer, OFFLINE } from "./errors";
import type { ApiError } from "./errors";

/** Lists as repeated names (`run=a&run=b`), and nothing for what is not given. */
function serializeParams(params: Record<string, unknown>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== undefined && item !== null) search.append(name, String(item));
    }
  }
  return search.toString();
}

const request = fetchBaseQuery({
  baseUrl: window.location.origin + ROOT,
  credentials: "same-origin",
  paramsSerializer: serializeParams,
  responseHandler: "content-type",
  timeout: 120_000,
});

function normalise(error: FetchBaseQueryError): ApiError {
  switch (error.status) {
    case "FETCH_ERROR":
      return OFFLINE;
    case "TIMEOUT_ERROR":
      return { ...OFFLINE, code: "timeout", message: "The server took too long to respond.", hint: "Try again." };
    case "PARSING_ERROR":
      return fromAnswer(error.originalStatus, null);
    case "CUSTOM_ERROR":
      return { ...OFFLINE, code: "unexpected", message: error.error, hint: "" };
    default:
      return fromAnswer(error.status, error.data);
  }
}

const baseQuery: BaseQueryFn<string | FetchArgs, unknown, ApiError> = async (args, api, extra) => {
  const { error, data } = await request(args, api, extra);
  return error ? { error: normalise(error) } : { data };
};

export const baseApi = createApi({
  baseQuery,
  endpoints: () => ({}),
  refetchOnReconnect: true,
  keepUnusedDataFor: 120,
});
