import { useCallback, useMemo } from "react";

import { useGetMethodsQuery, useGetRewardsQuery, useGetSettingsQuery, useListModelsQuery } from "@/api";
import type { Methods, SettingView } from "@/api";
import { ErrorNote, PageHeader, Segmented, Skeleton } from "@/components/ui";
import { useDataCheck } from "@/features/data/useDataCheck";
import { AdvancedCard } from "@/features/form/AdvancedCard";
import { forMethod, textOf, toConfig } from "@/features/form/draft";
import type { Draft } from "@/features/form/draft";
import { FormProvider, MODES, useForm, useStart } from "@/features/form/form";
import type { Form } from "@/features/form/form";
import { PLACED } from "@/features/form/labels";
import { PreviewCard, StartBar } from "@/features/form/PreviewCard";
import { useDraftReport, useTargets } from "@/features/form/queries";
import { memoryWarning, merge, reasons } from "@/features/form/readiness";
import { useClone } from "@/features/form/useClone";
import { ModelCard } from "@/features/model/ModelCard";
import { readRewards, rewardsIn } from "@/features/rewards/draft";
import { familyOf } from "@/lib/methods";
import { useConnection } from "@/state/hooks";

import { CostCard } from "./CostCard";
import { DataCard } from "./DataCard";
import { LoraCard } from "./LoraCard";
import { MethodCard, MethodContext, ParametersCard, TrainingCard } from "./MethodCards";
import { RewardsCard } from "./RewardsCard";

const FIRST_METHOD = "grpo";
const HERE = ["fine_tune_type", "lora_scaling", "lora_routers", "prompt_column", "messages_column", "system_prompt"];

interface Props {
  methods: Methods["methods"];
  settings: readonly SettingView[];
  form: Form;
}

function Loaded({ methods, settings: all, form }: Props) {
  const { draft, mode, setMode } = form;
  const offered = methods.filter(({ family }) => family !== "answers");
  const asked = textOf(draft, "method") || FIRST_METHOD;
  const method = offered.find(({ name }) => name === asked) ?? offered[0];
  const name = method?.name ?? asked;
  const family = familyOf(name) === "preferences" ? "preferences" : "rewards";
  const settings = useMemo(() => {
    const useless = new Set(method?.without_effect);
    return forMethod(all, name).filter((setting) => !useless.has(setting.name));
  }, [all, method, name]);
  const byName = useMemo(() => new Map(settings.map((setting) => [setting.name, setting])), [settings]);
  const connection = useConnection();
  const { data: models } = useListModelsQuery();
  const { data: known } = useGetRewardsQuery();
  const { start, isLoading, refusalOf } = useStart();

  const rewarded = family === "rewards";
  const drafted = rewarded ? rewardsIn(draft["rewards"]) : [];
  const read = readRewards(drafted, known?.kinds ?? []);
  const typed = toConfig(draft, settings);
  const config: Record<string, unknown> = { ...typed.config, method: name };
  if (rewarded && known) config["rewards"] = read.rewards;
  const defaults = Object.fromEntries(settings.map((setting) => [setting.name, setting.default]));
  const full = { ...defaults, ...config };

  const data = useDataCheck(config, models === undefined && config["model_path"] !== undefined);
  const latest = data.check ?? data.previous;
  const rows = latest?.ok ? (latest.tokens?.train.rows ?? latest.structure?.train.rows ?? null) : null;
  const longest = latest?.tokens ? (latest.tokens.train.lengths["max"] ?? latest.tokens.max_seq_length) : null;

  const most = typeof full["max_completion_length"] === "number" ? full["max_completion_length"] : 0;
  const targets = useTargets(full, typed.problems, rewarded ? (longest ?? 256) + most : longest);
  const judged = useDraftReport(config, rows);
  const refusal = refusalOf(config);
  const found = judged.report?.problems ?? [];
  const faulty = Object.keys(read.problems).length;
  const own =
    faulty > 0 ? { ...typed.problems, rewards: "Some of their parameters are missing or wrong." } : typed.problems;
  const problems = merge(own, found, [refusal, targets.error]);
  const preset = targets.report?.presets.find((one) => one.preset === full["lora_targets"]);
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
  const placed = useMemo(
    () => new Set([...PLACED, ...HERE, "method", "rewards", ...(method?.settings ?? [])]),
    [method],
  );
  if (!method) return null;
  const hindrance =
    config["model_path"] === undefined || config["train_data_path"] === undefined
      ? "Choose a model and data first."
      : drafted.length === 0
        ? "Add a reward first."
        : faulty > 0
          ? "Fix the rewards first."
          : null;
  const common = { reasons: why, fresh: judged.fresh, busy: isLoading, onStart: () => void start(config) };
  return (
    <FormProvider value={{ ...form, page: "/enhanced", settings: byName, problems }}>
      <MethodContext value={method}>
        <PageHeader
          title="Enhanced Setup"
          description="Train from rewards or from preferences, beside Setup’s training on answers."
          actions={<Segmented label="How much to show" value={mode} options={MODES} onValue={setMode} />}
        />
        <div className="grid items-start gap-5 lg:grid-cols-[minmax(0,1fr)_21rem]">
          <div className="min-w-0 space-y-5">
            <MethodCard methods={offered} value={name} onMethod={(next) => form.set("method", next)} />
            <div id="part-model_path" tabIndex={-1}>
              <ModelCard targets={targets} />
            </div>
            <div id="part-train_data_path" tabIndex={-1}>
              <DataCard state={data} family={family} />
            </div>
            {rewarded && (
              <div id="part-rewards" tabIndex={-1}>
                <RewardsCard
                  config={config}
                  problems={read.problems}
                  refused={
                    faulty > 0 ? [] : found.filter(({ field }) => field === "rewards").map(({ message }) => message)
                  }
                  hindrance={hindrance}
                />
              </div>
            )}
            <ParametersCard method={method} />
            <div id="part-lora_targets" tabIndex={-1}>
              <LoraCard targets={targets} scale={judged.report?.scale} />
            </div>
            <TrainingCard report={judged.report} />
            <CostCard
              family={family}
              plan={judged.report?.plan ?? null}
              longest={longest}
              report={targets.report}
              memory={preset?.memory ?? null}
            />
            {mode === "advanced" && <AdvancedCard placed={placed} />}
          </div>
          <div className="min-w-0 lg:sticky lg:top-[4.5rem] lg:max-h-[calc(100dvh-5.5rem)] lg:overflow-y-auto">
            <PreviewCard
              {...common}
              report={judged.report}
              checking={data.running}
              memory={memoryWarning(preset)}
              error={refusal ?? judged.error}
            />
          </div>
        </div>
        <StartBar {...common} />
      </MethodContext>
    </FormProvider>
  );
}

/** Everything that a run with rewards or preferences needs. Setup, for answers, is a page of its own. */
export default function EnhancedPage() {
  const settings = useGetSettingsQuery();
  const methods = useGetMethodsQuery();
  const form = useForm("/enhanced");
  const { replace } = form;
  const take = useCallback((draft: Draft) => replace(draft), [replace]);
  useClone("/enhanced", settings.data?.settings, take);
  const error = settings.error ?? methods.error;
  if (error)
    return (
      <ErrorNote
        error={error}
        onRetry={() => {
          void settings.refetch();
          void methods.refetch();
        }}
      />
    );
  if (!settings.data || !methods.data) {
    return (
      <div className="space-y-5">
        <span role="status" className="sr-only">
          Loading the form…
        </span>
        <Skeleton className="h-9 w-48" />
        <Skeleton className="h-40" />
        <Skeleton className="h-64" />
      </div>
    );
  }
  return <Loaded methods={methods.data.methods} settings={settings.data.settings} form={form} />;
}
