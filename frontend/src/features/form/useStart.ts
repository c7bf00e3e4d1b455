import { nanoid } from "@reduxjs/toolkit";
import { useRef } from "react";
import { useNavigate } from "react-router";

import { errorOf, useCreateRunMutation } from "@/api";
import type { ApiError } from "@/api";

import { isConfig } from "./draft";

/** Start the run of a configuration. The same form sent twice, for want of an answer, makes one run. */
export function useStart() {
  const navigate = useNavigate();
  const [create, { isLoading, error, originalArgs }] = useCreateRunMutation();
  const sent = useRef({ body: "", key: "" });
  const start = async (config: Record<string, unknown>) => {
    if (!isConfig(config)) return;
    const body = JSON.stringify(config);
    if (sent.current.body !== body) sent.current = { body, key: nanoid() };
    const { data, error: failure } = await create({ trainingConfig: config, "Idempotency-Key": sent.current.key });
    // An answer settles the matter; only silence leaves open whether there is a run.
    const silence = failure !== undefined && "status" in failure && failure.status === 0;
    if (!silence) sent.current = { body: "", key: "" };
    if (data) await navigate(`/training/${data.id}`);
  };
  return {
    start,
    isLoading,
    /** Why the configuration was refused; once it changes, the server judges again. */
    refusalOf: (config: Record<string, unknown>): ApiError | undefined =>
      JSON.stringify(originalArgs?.trainingConfig) === JSON.stringify(config) ? errorOf(error) : undefined,
  };
}
