/** A new experiment: the question, model and data, what all arms share, how it is measured. */

import { FlaskConical, Plus, Trash2 } from "lucide-react";
import { useEffect, useEffectEvent, useMemo } from "react";
import { useNavigate, useSearchParams } from "react-router";

import { asApiError, useCreateExperimentMutation, useLazyGetExperimentQuery, useListModelsQuery } from "@/api";
import type { SettingView } from "@/api";
import {
  Button,
  Card,
  ErrorNote,
  IconButton,
  Note,
  NumberField,
  PageHeader,
  RadioCards,
  Segmented,
  Select,
  Skeleton,
  Switch,
  TextArea,
  TextField,
} from "@/components/ui";
import { useDataCheck } from "@/features/data/useDataCheck";
import { AdvancedCard } from "@/features/form/AdvancedCard";
import { fromConfig, toConfig } from "@/features/form/draft";
import type { Draft } from "@/features/form/draft";
import { FormProvider, MODES, useForm } from "@/features/form/form";
import type { Form } from "@/features/form/form";
import { PLACED } from "@/features/form/labels";
import { useSupervisedSettings, useTargets } from "@/features/form/queries";
import { SettingField } from "@/features/form/SettingField";
import { ModelCard } from "@/features/model/ModelCard";
import { sentence } from "@/lib/format";
import { useStored } from "@/lib/stored";
import { useToast } from "@/state/hooks";

import { DataCard } from "./DataCard";
import { draftFrom, draftStore, planOf, seedsOf, withoutArm } from "./draft";
import type { ArmDraft, CheckKind, ExperimentDraft, Faults, QuestionKind } from "./draft";

/** Settings that belong to the experiment itself. */
const OWN: ReadonlySet<string> = new Set(["seed", "train_fraction", "adapter_name", "resume", "test_fraction"]);

export default function NewPage() {
  const { settings: all, error, refetch } = useSupervisedSettings();
  const form = useForm("/experiments");
  const settings = useMemo(() => all?.filter(({ name }) => !OWN.has(name)), [all]);
  if (error) return <ErrorNote error={error} onRetry={refetch} />;
  if (!settings) return <Skeleton className="h-64" />;
  return <Loaded settings={settings} form={form} />;
}

function Loaded({ settings, form }: { settings: readonly SettingView[]; form: Form }) {
  const draft = useStored(draftStore);
  useAgain(settings, form.replace);
  const change = (changes: Partial<ExperimentDraft>) =>
    void draftStore.update((before) => ({ ...before, ...changes }));
  const { config, problems: own } = useMemo(() => toConfig(form.draft, settings), [form.draft, settings]);
  const { data: models } = useListModelsQuery();
  // Experiments split so, unless the plan says otherwise.
  const split = useMemo(() => ({ split_by: "conversation", ...config }), [config]);
  const check = useDataCheck(split, models === undefined && config["model_path"] !== undefined);
  const targets = useTargets(config, own, check.check?.tokens?.max_seq_length ?? null);
  const [create, { isLoading, error }] = useCreateExperimentMutation();
  const navigate = useNavigate();
  const { plan, faults } = planOf(draft, config);
  const byName = useMemo(() => new Map(settings.map((setting) => [setting.name, setting])), [settings]);
  const missing = config["model_path"] === undefined || config["train_data_path"] === undefined;
  const faulty = Object.keys(faults).length > 0 || Object.keys(own).length > 0;
  const submit = async () => {
    const { data } = await create({ planRequest: { plan, start: false } });
    if (data) void navigate(`/experiments/${data.id}`);
  };
  const parts = { draft, change, faults };
  return (
    <FormProvider value={{ ...form, page: "/experiments", settings: byName, problems: own }}>
      <PageHeader
        title="New experiment"
        description="Decide what is compared, and how, before any result is known."
        actions={<Segmented label="How much to show" value={form.mode} options={MODES} onValue={form.setMode} />}
      />
      <div className="max-w-4xl space-y-5">
        <QuestionCard {...parts} />
        <ModelCard targets={targets} />
        <DataCard state={check} draft={draft} change={change} fault={faults.testShare} />
        <SharedCard />
        <ProofCard {...parts} />
        <AnswersCard {...parts} />
        {form.mode === "advanced" && <AdvancedCard placed={PLACED} />}
        <Card>
          <div className="space-y-3">
            {error && <ErrorNote error={error} />}
            <p className="text-[0.8125rem] text-muted">
              Planning reads the data, matches ranks and times a few steps of each arm. Nothing is trained before you
              have seen the cost.
            </p>
            <Button
              variant="primary"
              icon={FlaskConical}
              busy={isLoading}
              disabled={missing || faulty}
              onClick={() => void submit()}
            >
              Plan the experiment
            </Button>
            {missing && <p className="text-xs text-muted">Choose a model and data first.</p>}
            {!missing && faulty && <p className="text-xs text-bad">Fix the fields marked above first.</p>}
          </div>
        </Card>
      </div>
    </FormProvider>
  );
}

interface Parts {
  draft: ExperimentDraft;
  change: (changes: Partial<ExperimentDraft>) => void;
  faults: Faults;
}

function QuestionCard({ draft, change, faults }: Parts) {
  return (
    <Card title="The question" icon={FlaskConical}>
      <div className="space-y-4">
        <TextField
          label="Title"
          value={draft.title}
          onValue={(title) => change({ title })}
          placeholder="Is full-layer LoRA better on my data?"
          maxLength={200}
        />
        <RadioCards<QuestionKind>
          label="What is compared"
          value={draft.question}
          onValue={(question) => change({ question })}
          className="sm:grid-cols-3"
          options={[
            {
              value: "template",
              title: "Full-layer against attention-only",
              text: "Three arms: full-layer; Q and V at the same rank; Q and V with as many trained parameters.",
            },
            { value: "arms", title: "Arms of your own", text: "Two or more that differ in the settings you name." },
            {
              value: "sweep",
              title: "A sweep",
              text: "Every combination of some values, the best found by validation.",
            },
          ]}
        />
        {draft.question === "arms" && <Arms draft={draft} change={change} faults={faults} />}
        {draft.question === "sweep" && (
          <TextArea
            label="Values to try"
            mono
            rows={3}
            value={draft.sweep}
            onValue={(sweep) => change({ sweep })}
            error={faults.sweep ?? null}
            hint="One setting a line, such as lora_rank: 8, 16, 32. Names as in the list of settings."
          />
        )}
      </div>
    </Card>
  );
}

function Arms({ draft, change, faults }: Parts) {
  const set = (index: number, changes: Partial<ArmDraft>) =>
    change({ arms: draft.arms.map((arm, at) => (at === index ? { ...arm, ...changes } : arm)) });
  return (
    <div className="space-y-3">
      {draft.arms.map((arm, index) => (
        <fieldset
          key={index}
          className="grid gap-3 rounded-md border border-line p-3 sm:grid-cols-[10rem_1fr_12rem_auto]"
        >
          <legend className="sr-only">Arm {index + 1}</legend>
          <TextField label="Name" value={arm.name} onValue={(name) => set(index, { name })} mono />
          <TextArea
            label="Its own settings"
            mono
            rows={2}
            value={arm.settings}
            onValue={(settings) => set(index, { settings })}
            placeholder="lora_targets: mlp"
          />
          <Select
            label="Trained parameters"
            value={arm.match === null ? "" : String(arm.match)}
            onValue={(match) => set(index, { match: match === "" ? null : Number(match) })}
            options={[
              { value: "", label: "by its rank" },
              ...draft.arms
                .map((other, at) => ({ value: String(at), label: `as many as ${other.name || `arm ${at + 1}`}` }))
                .filter((_, at) => at !== index),
            ]}
          />
          {draft.arms.length > 2 && (
            <IconButton
              icon={Trash2}
              label={`Remove arm ${arm.name}`}
              className="self-end"
              onClick={() => change({ arms: withoutArm(draft.arms, index) })}
            />
          )}
        </fieldset>
      ))}
      {faults.arms !== undefined && <p className="text-xs text-bad">{faults.arms}</p>}
      <div className="flex flex-wrap items-center gap-3">
        <Button
          size="sm"
          icon={Plus}
          onClick={() =>
            change({ arms: [...draft.arms, { name: `arm-${draft.arms.length + 1}`, settings: "", match: null }] })
          }
        >
          Add an arm
        </Button>
        <p className="text-xs text-muted">The first arm is compared with each of the others.</p>
      </div>
    </div>
  );
}

function SharedCard() {
  return (
    <Card title="What all arms share" description="Everything else is under Advanced.">
      <div className="grid items-start gap-4 sm:grid-cols-3">
        <SettingField name="epochs" hint="Passes over the data." />
        <SettingField name="batch_size" />
        <SettingField name="learning_rate" hint="Of every arm, unless several are tried below." />
        <SettingField name="lora_rank" hint="A matched arm gets another one." />
        <SettingField name="lora_alpha" hint="Usually equal to the rank." />
        <SettingField name="lr_schedule" />
      </div>
    </Card>
  );
}

function ProofCard({ draft, change, faults }: Parts) {
  const seeds = seedsOf(draft.seeds)?.length ?? 0;
  const margin = Number(draft.margin);
  return (
    <Card title="How sure it has to be">
      <div className="space-y-4">
        <div className="grid items-start gap-4 sm:grid-cols-3">
          <TextField
            label="Seeds"
            value={draft.seeds}
            onValue={(text) => change({ seeds: text })}
            error={faults.seeds ?? null}
            hint="How many, or which: 0, 1, 2. Each arm is trained with each."
          />
          <NumberField
            label="Margin"
            unit="nats"
            text={draft.margin}
            onText={(text) => change({ margin: text })}
            error={faults.margin ?? null}
            hint={
              margin > 0
                ? `A smaller difference in loss does not matter: ${(100 * (Math.exp(margin) - 1)).toFixed(1)} % of perplexity.`
                : "A smaller difference in loss does not matter."
            }
          />
          <TextField
            label="Learning rates to try"
            value={draft.rates}
            onValue={(rates) => change({ rates })}
            error={faults.rates ?? null}
            placeholder="1e-4, 3e-4, 1e-3"
            hint="Chosen for each arm by validation loss; empty is one for all. Each multiplies the runs."
          />
        </div>
        <Switch
          label="Data-efficiency curve"
          hint="Each arm also with 10, 25 and 50 % of the data: with how much does one reach the other’s loss?"
          checked={draft.shares}
          onValue={(shares) => change({ shares })}
        />
        {seeds > 0 && seeds < 3 && (
          <Note tone="warn" title="Exploratory.">
            A verdict takes three seeds; with fewer, what differs may be the seed.
          </Note>
        )}
      </div>
    </Card>
  );
}

function AnswersCard({ draft, change, faults }: Parts) {
  return (
    <Card
      title="Answers"
      description="Test questions answered by each model, where they can be marked right or wrong."
    >
      <div className="grid items-start gap-4 sm:grid-cols-3">
        <Select<CheckKind>
          label="How answers are judged"
          value={draft.check}
          onValue={(check) => change({ check })}
          options={[
            { value: "none", label: "not at all: losses only" },
            { value: "numeric_answer", label: "by the final number" },
            { value: "exact_answer", label: "by the exact text" },
          ]}
        />
        {draft.check !== "none" && (
          <>
            <NumberField
              label="Questions"
              text={draft.questions}
              onText={(questions) => change({ questions })}
              rules={{ integer: true, min: 1 }}
              error={faults.questions ?? null}
              hint="Always the same ones of the test set."
            />
            <TextField
              label="Column with the answer"
              value={draft.answerColumn}
              onValue={(answerColumn) => change({ answerColumn })}
              mono
            />
          </>
        )}
      </div>
    </Card>
  );
}

function useAgain(settings: readonly SettingView[], replace: (shared: Draft) => void): void {
  const [params, setParams] = useSearchParams();
  const [get] = useLazyGetExperimentQuery();
  const toast = useToast();
  const experiment = params.get("from");

  const take = useEffectEvent(async (id: string) => {
    try {
      const { request } = await get({ experiment: id }).unwrap();
      replace(fromConfig(request.settings, settings).draft);
      draftStore.set(draftFrom(request));
      toast({ tone: "info", title: `The plan of ${id} loaded`, text: "Change what you like, then plan again." });
    } catch (error) {
      const { message, hint } = asApiError(error);
      toast({ tone: "bad", title: sentence(message), text: hint });
    }
    setParams({}, { replace: true });
  });

  useEffect(() => {
    if (experiment !== null) void take(experiment);
  }, [experiment]);
}
