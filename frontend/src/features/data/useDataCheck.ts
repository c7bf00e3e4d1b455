/** The live check of the chosen data: begun again whenever something changes that it depends on. */

import { useEffect, useMemo, useState } from "react";

import { asApiError, useCancelJobMutation, useCheckDataMutation } from "@/api";
import type { ApiError, DataCheck, DataSettings, Job } from "@/api";
import { useDebounced } from "@/lib/hooks";
import { useJob } from "@/state/hooks";

import { DATA_SETTINGS } from "./settings";

const TYPING_MS = 500;

/** What to check for a configuration; null without data. */
export function checkRequest(config: Record<string, unknown>): DataSettings | null {
  const { train_data_path: train, val_data_path: validation, model_path: model } = config;
  if (typeof train !== "string" || train === "") return null;
  return {
    train_data_path: train,
    val_data_path: typeof validation === "string" ? validation : null,
    model_path: typeof model === "string" ? model : null,
    settings: Object.fromEntries(
      DATA_SETTINGS.filter((name) => config[name] !== undefined).map((name) => [name, config[name]]),
    ),
  };
}

export interface CheckState {
  /** What is checked; null without data. */
  request: DataSettings | null;
  /** The check of exactly this request, once done. */
  check: DataCheck | undefined;
  /** What is known of it before it is done: rows and formats, while tokens are being counted. */
  partial: DataCheck | undefined;
  /** The last one that was done, to show while a new one runs. */
  previous: DataCheck | undefined;
  job: Job | undefined;
  running: boolean;
  error: ApiError | null;
  again: () => void;
}

interface Started {
  key: string;
  job: string | null;
  error: ApiError | null;
}

/** `paused`: wait, for example until the model is known to be usable. */
export function useDataCheck(config: Record<string, unknown>, paused: boolean): CheckState {
  const [round, setRound] = useState(0);
  const [started, setStarted] = useState<Started | null>(null);
  const [last, setLast] = useState<{ source: string; check: DataCheck } | null>(null);
  const [begin] = useCheckDataMutation();
  const [cancel] = useCancelJobMutation();

  const request = checkRequest(config);
  const wanted = JSON.stringify([request, round]);
  const settled = useDebounced(wanted, TYPING_MS);
  const asked = useMemo(() => (paused ? null : checkRequest(config)), [settled, paused]); // eslint-disable-line react-hooks/exhaustive-deps -- `settled` stands for `config`

  useEffect(() => {
    if (!asked) return undefined;
    let current = true;
    let id: string | null = null;
    begin({ dataSettings: asked })
      .unwrap()
      .then(
        (job) => {
          id = job.id;
          if (current) setStarted({ key: settled, job: job.id, error: null });
          else void cancel({ job: job.id });
        },
        (error: unknown) => {
          if (current) setStarted({ key: settled, job: null, error: asApiError(error) });
        },
      );
    return () => {
      current = false;
      // Nobody waits for it any more; one that has ended stays as it is.
      if (id !== null) void cancel({ job: id });
    };
  }, [asked, settled, begin, cancel]);

  const current = started?.key === wanted ? started : null;
  const job = useJob(current?.job ?? null);
  const check = job?.state === "done" ? (job.check ?? undefined) : undefined;
  const source = request?.train_data_path ?? "";
  if (check && last?.check !== check) setLast({ source, check });
  const failure = job?.error ? { status: 0, ...job.error } : null;
  const error = current?.error ?? failure;
  return {
    request,
    check,
    partial: job?.state === "running" ? (job.check ?? undefined) : undefined,
    previous: last?.source === source ? last.check : undefined,
    job,
    running: request !== null && !paused && !error && !check && job?.state !== "cancelled",
    error,
    again: () => setRound((count) => count + 1),
  };
}
