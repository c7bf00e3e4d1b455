/** What the page asks the server while the form changes; the last answer stays until the next one is there. */

import { skipToken } from "@reduxjs/toolkit/query";
import { useMemo, useState } from "react";

import { errorOf, useCheckDraftQuery, useGetMethodsQuery, useGetSettingsQuery, useGetTargetsQuery } from "@/api";
import type { ApiError, DraftReport, GetTargetsApiArg, TargetsReport } from "@/api";
import { useDebounced } from "@/lib/hooks";

import type { Problems } from "./draft";

const TYPING_MS = 250;

/** The settings that matter to supervised training; undefined until they are known. */
export function useSupervisedSettings() {
  const settings = useGetSettingsQuery();
  const methods = useGetMethodsQuery();
  const useless = methods.data?.methods.find(({ name }) => name === "sft")?.without_effect;
  const known = useMemo(
    () => useless && settings.data?.settings.filter(({ name }) => name !== "method" && !useless.includes(name)),
    [settings.data, useless],
  );
  const refetch = () => {
    void settings.refetch();
    void methods.refetch();
  };
  return { settings: known, error: settings.error ?? methods.error, refetch };
}

export interface Targets {
  /** Of the chosen model; the last one while a new one is asked for. */
  report: TargetsReport | undefined;
  fetching: boolean;
  error: ApiError | undefined;
  refetch: () => void;
}

function numberOf(config: Record<string, unknown>, name: string): number | undefined {
  const value = config[name];
  return typeof value === "number" ? value : undefined;
}

const COUNTED = ["lora_rank", "batch_size", "max_seq_length", "lora_num_layers"];
const OPTIMIZERS = ["adamw", "adam", "sgd", "lion"] as const;
const ROUTERS = ["auto", "on", "off"] as const;

/** The question about a model that a configuration asks; null without a model. */
export function targetsQuestion(config: Record<string, unknown>, seqLength: number | null): GetTargetsApiArg | null {
  const model = config["model_path"];
  if (typeof model !== "string" || model.trim() === "") return null;
  const keys = config["lora_keys"];
  const question: GetTargetsApiArg = {
    model,
    rank: numberOf(config, "lora_rank") ?? 32,
    batchSize: numberOf(config, "batch_size") ?? 1,
    seqLength: Math.max(8, numberOf(config, "max_seq_length") ?? seqLength ?? 512),
    numLayers: numberOf(config, "lora_num_layers") ?? -1,
    routers: ROUTERS.find((one) => one === config["lora_routers"]) ?? "auto",
    optimizer: OPTIMIZERS.find((one) => one === config["optimizer"]) ?? "adamw",
    gradCheckpoint: config["grad_checkpoint"] === true,
    dora: config["fine_tune_type"] === "dora",
  };
  return Array.isArray(keys) && config["lora_targets"] === "custom"
    ? { ...question, keys: keys.map(String) }
    : question;
}

/** Exact counts and the memory estimate for the model and the settings of the form. */
export function useTargets(config: Record<string, unknown>, problems: Problems, seqLength: number | null): Targets {
  // While a number cannot be read, its default would be counted with: better the last answer than a wrong one.
  const halted = COUNTED.some((name) => problems[name] !== undefined);
  const wanted = halted ? "null" : JSON.stringify(targetsQuestion(config, seqLength));
  const settled = useDebounced(wanted, TYPING_MS);
  const question = useMemo(() => (halted ? null : targetsQuestion(config, seqLength)), [settled]); // eslint-disable-line react-hooks/exhaustive-deps -- `settled` stands for both
  const { currentData, isFetching, error, refetch } = useGetTargetsQuery(question ?? skipToken);
  const [last, setLast] = useState<{ model: string; report: TargetsReport } | null>(null);
  if (currentData && question && last?.report !== currentData)
    setLast({ model: question.model, report: currentData });
  const model = config["model_path"];
  return {
    report: last?.model === model ? last?.report : undefined,
    fetching: halted || (question !== null && (isFetching || settled !== wanted)),
    error: isFetching || settled !== wanted ? undefined : errorOf(error),
    refetch: () => void refetch(),
  };
}

export interface Judged {
  report: DraftReport | undefined;
  /** Whether the report is about the form as it is now. */
  fresh: boolean;
  error: ApiError | undefined;
}

/** What the server thinks of the form, of a run on `rows` rows where they are counted. */
export function useDraftReport(config: Record<string, unknown>, rows: number | null): Judged {
  const wanted = JSON.stringify({ values: config, rows });
  const settled = useDebounced(wanted, TYPING_MS);
  const draft = useMemo(() => ({ values: config, rows }), [settled]); // eslint-disable-line react-hooks/exhaustive-deps -- `settled` stands for both
  const { data, currentData, error } = useCheckDraftQuery({ draft });
  return { report: data, fresh: currentData !== undefined && settled === wanted, error: errorOf(error) };
}
