/** What the server thinks of the run that a form describes: data, targets, settings; and what keeps it from starting. */

import { useMemo } from "react";

import { useListModelsQuery } from "@/api";
import type { ApiError, PresetReport, SettingView } from "@/api";
import { useDataCheck } from "@/features/data/useDataCheck";
import { useConnection } from "@/state/hooks";

import type { Problems } from "./draft";
import { useStart } from "./form";
import { useDraftReport, useTargets } from "./queries";
import { merge, reasons } from "./readiness";

type DataState = ReturnType<typeof useDataCheck>;
type Check = NonNullable<DataState["check"]>;

interface Asked {
  /** What is sent when the run is started. */
  config: Record<string, unknown>;
  /** The same with the defaults of its method, where they differ from those of the server. */
  full?: Record<string, unknown>;
  /** What cannot be read of the fields, by setting. */
  typed: Problems;
  /** The same and what else the page finds wrong. */
  own?: Problems;
  /** Tokens of the longest row, as the data check counted them. */
  longestOf: (tokens: NonNullable<Check["tokens"]>) => number;
  /** Tokens to estimate the memory for, where they are more than those of the longest row. */
  lengthOf?: (longest: number | null) => number | null;
}

export interface Readiness {
  config: Record<string, unknown>;
  data: DataState;
  /** Rows to train on, and tokens of the longest; null until they are counted. */
  rows: number | null;
  longest: number | null;
  targets: ReturnType<typeof useTargets>;
  /** What the chosen targets train. */
  preset: PresetReport | undefined;
  judged: ReturnType<typeof useDraftReport>;
  problems: Problems;
  why: ReturnType<typeof reasons>;
  refusal: ApiError | undefined;
  busy: boolean;
  start: () => void;
}

export function useReadiness({ config, full = config, typed, own = typed, longestOf, lengthOf }: Asked): Readiness {
  const connection = useConnection();
  const { data: models } = useListModelsQuery();
  const { start, isLoading, refusalOf } = useStart();

  const data = useDataCheck(config, models === undefined && config["model_path"] !== undefined);
  const known = data.check ?? data.previous;
  const rows = known?.ok ? (known.tokens?.train.rows ?? known.structure?.train.rows ?? null) : null;
  const longest = known?.tokens ? longestOf(known.tokens) : null;

  const targets = useTargets(full, typed, lengthOf ? lengthOf(longest) : longest);
  const judged = useDraftReport(config, rows);
  const refusal = refusalOf(config);
  const found = judged.report?.problems ?? [];
  const problems = merge(own, found, [refusal, targets.error]);
  const preset = targets.report?.presets.find((one) => one.preset === (full["lora_targets"] ?? "full-layer"));
  const why = reasons({
    config,
    problems,
    general: found.filter(({ field }) => field === null),
    report: judged.report,
    check: data.check,
    checkFailed: data.error?.message ?? null,
    targetsFailed: targets.error?.field == null ? (targets.error?.message ?? null) : null,
    presetProblem: preset?.problem ?? null,
    model: models?.find((model) => model.ref === config["model_path"]),
    connection,
  });
  return {
    config,
    data,
    rows,
    longest,
    targets,
    preset,
    judged,
    problems,
    why,
    refusal,
    busy: isLoading,
    start: () => void start(config),
  };
}

/** Settings by name, as the cards look them up. */
export function useByName(settings: readonly SettingView[]): ReadonlyMap<string, SettingView> {
  return useMemo(() => new Map(settings.map((setting) => [setting.name, setting])), [settings]);
}
