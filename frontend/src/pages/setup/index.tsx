import { useMemo } from "react";

import { useListModelsQuery } from "@/api";
import type { SettingView } from "@/api";
import { ErrorNote, PageHeader, Segmented, Skeleton } from "@/components/ui";
import { useDataCheck } from "@/features/data/useDataCheck";
import { AdvancedCard } from "@/features/form/AdvancedCard";
import { toConfig } from "@/features/form/draft";
import { FormProvider, MODES, useForm, useStart } from "@/features/form/form";
import type { Form } from "@/features/form/form";
import { PreviewCard, StartBar } from "@/features/form/PreviewCard";
import { useDraftReport, useSupervisedSettings, useTargets } from "@/features/form/queries";
import { memoryWarning, merge, reasons } from "@/features/form/readiness";
import { useClone } from "@/features/form/useClone";
import { ModelCard } from "@/features/model/ModelCard";
import { useConnection } from "@/state/hooks";

import { DataCard } from "./DataCard";
import { LoraCard } from "./LoraCard";
import { TrainingCard } from "./TrainingCard";

function Loaded({ settings, form }: { settings: readonly SettingView[]; form: Form }) {
  const { draft, mode, setMode } = form;
  const connection = useConnection();
  const { data: models } = useListModelsQuery();
  const { config, problems: own } = useMemo(() => toConfig(draft, settings), [draft, settings]);
  const { start, isLoading, refusalOf } = useStart();

  const data = useDataCheck(config, models === undefined && config["model_path"] !== undefined);
  const known = data.check ?? data.previous;
  const rows = known?.ok ? (known.tokens?.train.rows ?? known.structure?.train.rows ?? null) : null;
  const longest = known?.tokens?.max_seq_length ?? null;

  const targets = useTargets(config, own, longest);
  const judged = useDraftReport(config, rows);
  const refusal = refusalOf(config);
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
    <FormProvider value={{ ...form, page: "/setup", settings: byName, problems }}>
      <PageHeader
        title="Setup"
        description="Choose a model and data, check what will happen, and start."
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
            <LoraCard targets={targets} scale={judged.report?.scale} />
          </div>
          <TrainingCard rows={rows} hint={targets.report?.learning_rate} report={judged.report} longest={longest} />
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
  const { settings, error, refetch } = useSupervisedSettings();
  const form = useForm("/setup");
  useClone("/setup", settings, form.replace);
  if (error) return <ErrorNote error={error} onRetry={refetch} />;
  if (!settings) {
    return (
      <div className="space-y-5">
        <Skeleton className="h-9 w-48" />
        <Skeleton className="h-40" />
        <Skeleton className="h-64" />
      </div>
    );
  }
  return <Loaded settings={settings} form={form} />;
}
