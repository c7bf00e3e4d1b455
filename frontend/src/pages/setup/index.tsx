import { useMemo } from "react";

import type { SettingView } from "@/api";
import { ErrorNote } from "@/components/ui";
import { AdvancedCard } from "@/features/form/AdvancedCard";
import { toConfig } from "@/features/form/draft";
import { useForm } from "@/features/form/form";
import type { Form } from "@/features/form/form";
import { FormPage, FormSkeleton, Part } from "@/features/form/FormPage";
import { useSupervisedSettings } from "@/features/form/queries";
import { useClone } from "@/features/form/useClone";
import { useByName, useReadiness } from "@/features/form/useReadiness";
import { ModelCard } from "@/features/model/ModelCard";

import { DataCard } from "./DataCard";
import { LoraCard } from "./LoraCard";
import { TrainingCard } from "./TrainingCard";

function Loaded({ settings, form }: { settings: readonly SettingView[]; form: Form }) {
  const { draft } = form;
  const { config, problems: typed } = useMemo(() => toConfig(draft, settings), [draft, settings]);
  const ready = useReadiness({ config, typed, longestOf: (tokens) => tokens.max_seq_length });
  const { data, rows, longest, targets, judged } = ready;
  return (
    <FormPage
      page="/setup"
      title="Setup"
      description="Choose a model and data, check what will happen, and start."
      form={form}
      settings={useByName(settings)}
      ready={ready}
    >
      <Part setting="model_path">
        <ModelCard targets={targets} />
      </Part>
      <Part setting="train_data_path">
        <DataCard state={data} />
      </Part>
      <Part setting="lora_targets">
        <LoraCard targets={targets} scale={judged.report?.scale} />
      </Part>
      <TrainingCard rows={rows} hint={targets.report?.learning_rate} report={judged.report} longest={longest} />
      {form.mode === "advanced" && <AdvancedCard />}
    </FormPage>
  );
}

/** Everything a run needs, from choosing a model to starting it. */
export default function SetupPage() {
  const { settings, error, refetch } = useSupervisedSettings();
  const form = useForm("/setup");
  useClone("/setup", settings, form.replace);
  if (error) return <ErrorNote error={error} onRetry={refetch} />;
  return settings ? <Loaded settings={settings} form={form} /> : <FormSkeleton />;
}
