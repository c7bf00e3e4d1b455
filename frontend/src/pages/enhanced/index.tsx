import { useCallback, useMemo } from "react";

import { useGetMethodsQuery, useGetRewardsQuery, useGetSettingsQuery } from "@/api";
import type { Methods, SettingView } from "@/api";
import { ErrorNote } from "@/components/ui";
import { AdvancedCard } from "@/features/form/AdvancedCard";
import { forMethod, textOf, toConfig } from "@/features/form/draft";
import type { Draft } from "@/features/form/draft";
import { useForm } from "@/features/form/form";
import type { Form } from "@/features/form/form";
import { FormPage, FormSkeleton, Part } from "@/features/form/FormPage";
import { PLACED } from "@/features/form/labels";
import { useClone } from "@/features/form/useClone";
import { useByName, useReadiness } from "@/features/form/useReadiness";
import { ModelCard } from "@/features/model/ModelCard";
import { readRewards, rewardsIn } from "@/features/rewards/draft";
import { familyOf } from "@/lib/methods";

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
  const { draft } = form;
  const offered = methods.filter(({ family }) => family !== "answers");
  const asked = textOf(draft, "method") || FIRST_METHOD;
  const method = offered.find(({ name }) => name === asked) ?? offered[0];
  const name = method?.name ?? asked;
  const family = familyOf(name) === "preferences" ? "preferences" : "rewards";
  const settings = useMemo(() => {
    const useless = new Set(method?.without_effect);
    return forMethod(all, name).filter((setting) => !useless.has(setting.name));
  }, [all, method, name]);
  const byName = useByName(settings);
  const { data: known } = useGetRewardsQuery();

  const rewarded = family === "rewards";
  const drafted = rewarded ? rewardsIn(draft["rewards"]) : [];
  const read = readRewards(drafted, known?.kinds ?? []);
  const { config: fields, problems: typed } = toConfig(draft, settings);
  const config: Record<string, unknown> = { ...fields, method: name };
  if (rewarded && known) config["rewards"] = read.rewards;
  const defaults = Object.fromEntries(settings.map((setting) => [setting.name, setting.default]));
  const full = { ...defaults, ...config };
  const faulty = Object.keys(read.problems).length;
  const most = typeof full["max_completion_length"] === "number" ? full["max_completion_length"] : 0;
  const ready = useReadiness({
    config,
    full,
    typed,
    own: faulty > 0 ? { ...typed, rewards: "Some of their parameters are missing or wrong." } : typed,
    longestOf: (tokens) => tokens.train.lengths["max"] ?? tokens.max_seq_length,
    lengthOf: (longest) => (rewarded ? (longest ?? 256) + most : longest),
  });
  const { data, longest, targets, judged, preset } = ready;
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
  const refused = judged.report?.problems.filter(({ field }) => field === "rewards") ?? [];
  return (
    <MethodContext value={method}>
      <FormPage
        page="/enhanced"
        title="Enhanced Setup"
        description="Train from rewards or from preferences, beside Setup’s training on answers."
        form={form}
        settings={byName}
        ready={ready}
      >
        <MethodCard methods={offered} value={name} onMethod={(next) => form.set("method", next)} />
        <Part setting="model_path">
          <ModelCard targets={targets} />
        </Part>
        <Part setting="train_data_path">
          <DataCard state={data} family={family} />
        </Part>
        {rewarded && (
          <Part setting="rewards">
            <RewardsCard
              config={config}
              problems={read.problems}
              refused={faulty > 0 ? [] : refused.map(({ message }) => message)}
              hindrance={hindrance}
            />
          </Part>
        )}
        <ParametersCard method={method} />
        <Part setting="lora_targets">
          <LoraCard targets={targets} scale={judged.report?.scale} />
        </Part>
        <TrainingCard report={judged.report} />
        <CostCard
          family={family}
          plan={judged.report?.plan ?? null}
          longest={longest}
          report={targets.report}
          memory={preset?.memory ?? null}
        />
        {form.mode === "advanced" && <AdvancedCard placed={placed} />}
      </FormPage>
    </MethodContext>
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
  if (!settings.data || !methods.data) return <FormSkeleton />;
  return <Loaded methods={methods.data.methods} settings={settings.data.settings} form={form} />;
}
