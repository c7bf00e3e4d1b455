import { nanoid } from "@reduxjs/toolkit";
import { useMemo, useRef } from "react";
import { useNavigate } from "react-router";

import { useCreateRunMutation, useGetSettingsQuery, useListModelsQuery } from "@/api";
import type { ApiError, FieldProblem, PresetReport, SettingView } from "@/api";
import { useConnection } from "@/app/hooks";
import { ErrorNote, PageHeader, Segmented, Skeleton } from "@/components/ui";

import { bytes } from "@/lib/format";

import { AdvancedCard } from "./AdvancedCard";
import { DataCard } from "./DataCard";
import { isConfig, stepsOf, toConfig } from "./draft";
import type { Problems } from "./draft";
import { FormProvider, useForm } from "./form";
import type { Form, Mode } from "./form";
import { LoraCard } from "./LoraCard";
import { ModelCard } from "./ModelCard";
import { PreviewCard, StartBar } from "./PreviewCard";
import { useDraftReport, useTargets } from "./queries";
import { reasons } from "./readiness";
import { TrainingCard } from "./TrainingCard";
import { useClone } from "./useClone";
import { useDataCheck } from "./useDataCheck";

const MODES = [
  { value: "simple", label: "Simple" },
  { value: "advanced", label: "Advanced" },
] as const satisfies readonly { value: Mode; label: string }[];

/** Model and data are asked for by the readiness, not by red fields that nobody has touched. */
const REQUIRED: ReadonlySet<string> = new Set(["model_path", "train_data_path"]);

/** The same trouble is told once: what was typed cannot be read, or the server refuses it, alone or with the model. */
function merge(own: Problems, found: readonly FieldProblem[], refusals: readonly (ApiError | undefined)[]): Problems {
  const all: Record<string, string> = {};
  for (const { field, message } of found) if (field !== null && !REQUIRED.has(field)) all[field] = message;
  for (const refusal of refusals) if (refusal?.field) all[refusal.field] ??= refusal.message;
  return { ...all, ...own };
}

/** Start the run of a configuration. The same form sent twice, for want of an answer, makes one run. */
function useStart() {
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
  return { start, isLoading, error, refused: JSON.stringify(originalArgs?.trainingConfig) };
}

/** A doubt and no refusal: the estimate is one, and what is free changes. */
function memoryWarning(preset: PresetReport | undefined): string | null {
  if (!preset?.memory || preset.verdict === null || preset.verdict === "fits") return null;
  const size = bytes(preset.memory.total);
  return preset.verdict === "tight"
    ? `Memory is tight: about ${size} at the peak.`
    : `It will hardly fit: about ${size} at the peak is more than is available. See LoRA for what helps.`;
}

function isApiError(error: unknown): error is ApiError {
  return typeof error === "object" && error !== null && "code" in error && "field" in error;
}

function Loaded({ settings, form }: { settings: readonly SettingView[]; form: Form }) {
  const { draft, mode, setMode } = form;
  const connection = useConnection();
  const { data: models } = useListModelsQuery();
  const { config, problems: own } = useMemo(() => toConfig(draft, settings), [draft, settings]);
  const { start, isLoading, error, refused } = useStart();

  const data = useDataCheck(config, models === undefined && config["model_path"] !== undefined);
  const known = data.check ?? data.previous;
  const rows = known?.ok ? (known.tokens?.train.rows ?? known.structure?.train.rows ?? null) : null;
  const longest = known?.tokens?.max_seq_length ?? null;
  const plan = stepsOf(config, rows);

  const targets = useTargets(config, own, longest);
  const judged = useDraftReport(config, plan?.total ?? null);
  // A refusal is about the form as it was sent; once it changes, the server judges anew.
  const refusal = isApiError(error) && refused === JSON.stringify(config) ? error : undefined;
  const found = judged.report?.problems ?? [];
  const problems = merge(own, found, [refusal, targets.error]);

  const preset = targets.report?.presets.find((one) => one.preset === (config["lora_targets"] ?? "full-layer"));
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
  const byName = useMemo(() => new Map(settings.map((setting) => [setting.name, setting])), [settings]);

  return (
    <FormProvider value={{ ...form, settings: byName, problems }}>
      <PageHeader
        title="Setup"
        description="Choose a model and data, look at what will happen, start."
        actions={<Segmented label="How much to show" value={mode} options={MODES} onValue={setMode} />}
      />
      <div className="grid items-start gap-5 lg:grid-cols-[minmax(0,1fr)_21rem]">
        <div className="min-w-0 space-y-5">
          <div id="part-model_path" tabIndex={-1}>
            <ModelCard targets={targets} />
          </div>
          <div id="part-train_data_path" tabIndex={-1}>
            <DataCard state={data} />
          </div>
          <div id="part-lora_targets" tabIndex={-1}>
            <LoraCard targets={targets} />
          </div>
          <TrainingCard
            plan={plan}
            rows={rows}
            hint={targets.report?.learning_rate}
            report={judged.report}
            longest={longest}
          />
          {mode === "advanced" && <AdvancedCard />}
        </div>
        <div className="min-w-0 lg:sticky lg:top-[4.5rem] lg:max-h-[calc(100dvh-5.5rem)] lg:overflow-y-auto">
          <PreviewCard
            reasons={why}
            report={judged.report}
            fresh={judged.fresh}
            checking={data.running}
            memory={memoryWarning(preset)}
            busy={isLoading}
            error={refusal ?? judged.error}
            onStart={() => void start(config)}
          />
        </div>
      </div>
      <StartBar reasons={why} fresh={judged.fresh} busy={isLoading} onStart={() => void start(config)} />
    </FormProvider>
  );
}

/** Everything a run needs, from choosing a model to starting it. */
export default function SetupPage() {
  const { data, error, refetch } = useGetSettingsQuery();
  const form = useForm();
  useClone(data?.settings, form.replace);
  if (error) return <ErrorNote error={error} onRetry={() => void refetch()} />;
  if (!data) {
    return (
      <div className="space-y-5">
        <Skeleton className="h-9 w-48" />
        <Skeleton className="h-40" />
        <Skeleton className="h-64" />
      </div>
    );
  }
  return <Loaded settings={data.settings} form={form} />;
}
