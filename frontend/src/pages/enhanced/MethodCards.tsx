/** The method, and the settings whose defaults come from it. */

import { Gauge, SlidersHorizontal, Target } from "lucide-react";
import { createContext, use } from "react";

import type { DraftReport, MethodView } from "@/api";
import { Card, Prose, RadioCards } from "@/components/ui";
import { useRunForm, useSetting } from "@/features/form/form";
import { RunLength, RunLengthField } from "@/features/form/RunLength";
import { ScheduleChart } from "@/features/form/ScheduleChart";
import { SettingField } from "@/features/form/SettingField";
import { sentence } from "@/lib/format";
import { methodTitle } from "@/lib/methods";
import { typed } from "@/lib/numbers";

/** The chosen method, for the fields of the page. */
export const MethodContext = createContext<MethodView | null>(null);

function written(value: unknown): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  if (typeof value === "number") return typed(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

interface Props {
  name: string;
  unit?: string | undefined;
  placeholder?: string | undefined;
  className?: string | undefined;
}

/** A setting with what it is and, where the method has a default of its own, why it is that. */
function MethodField({ name, ...rest }: Props) {
  const method = use(MethodContext);
  const bound = useSetting(name);
  const { unset } = useRunForm();
  if (!bound) return null;
  const own = method?.defaults.find((one) => one.name === name);
  const switched = bound.setting.kind === "boolean" && bound.value !== bound.setting.default;
  return (
    <SettingField
      name={name}
      {...rest}
      hint={
        <>
          <Prose text={bound.setting.help} />
          {own && method && (
            <span className="mt-0.5 block">
              <span className="text-ink">
                {methodTitle(method.name)}: {written(own.value)}.
              </span>{" "}
              {sentence(own.why)}
            </span>
          )}
          {switched && (
            <button
              type="button"
              className="mt-0.5 block rounded text-accent underline-offset-2 hover:underline"
              onClick={() => unset(name)}
            >
              Back to the default, {written(bound.setting.default)}
            </button>
          )}
        </>
      }
    />
  );
}

/** What each method learns from, is good for and costs. */
export function MethodCard({
  methods,
  value,
  onMethod,
}: {
  methods: readonly MethodView[];
  value: string;
  onMethod: (method: string) => void;
}) {
  const chosen = methods.find((one) => one.name === value);
  return (
    <Card
      title="Method"
      icon={Target}
      description="Rewards score what the model writes itself; preferences say which of two answers is better."
    >
      <RadioCards
        label="Method"
        value={value}
        onValue={onMethod}
        className="sm:grid-cols-2 xl:grid-cols-3"
        options={methods.map((method) => ({
          value: method.name,
          title: methodTitle(method.name),
          aside: method.family === "rewards" ? "rewards" : "preferences",
          text: (
            <>
              <span className="block">{method.good_for}</span>
              <span className="mt-1 block">Costs: {method.costs}</span>
            </>
          ),
        }))}
      />
      {chosen && (
        <p className="mt-3 text-xs text-muted">
          {chosen.title}. {chosen.paper}. What you changed stays when you change the method; everything else takes the
          new method’s defaults.
        </p>
      )}
    </Card>
  );
}

const UNITS: Readonly<Record<string, string>> = { max_prompt_length: "tokens", max_completion_length: "tokens" };

/** The settings that only methods of this family have, with the method's defaults and why they are these. */
export function ParametersCard({ method }: { method: MethodView }) {
  const { settings } = useRunForm();
  const names = method.settings.filter((name) => name !== "rewards" && settings.has(name));
  const groups = [...new Set(names.map((name) => settings.get(name)?.group ?? ""))];
  const titles: Readonly<Record<string, string>> = { "Rollouts and rewards": "Rollouts", "Model and data": "Length" };
  return (
    <Card
      title="Method parameters"
      icon={SlidersHorizontal}
      description={`Of ${methodTitle(method.name)}, with its defaults and the reason for each.`}
    >
      <div className="space-y-5">
        {groups.map((group) => (
          <section key={group}>
            <h3 className="mb-2 text-xs font-medium text-muted">{titles[group] ?? group}</h3>
            <div className="grid items-start gap-x-4 gap-y-4 sm:grid-cols-2 lg:grid-cols-3">
              {names
                .filter((name) => settings.get(name)?.group === group)
                .map((name) => (
                  <MethodField key={name} name={name} unit={UNITS[name]} />
                ))}
            </div>
          </section>
        ))}
      </div>
    </Card>
  );
}

/** How long and how fast, with the method's defaults. */
export function TrainingCard({ report }: { report: DraftReport | undefined }) {
  const { settings, problems } = useRunForm();
  const fields = ["batch_size", "grad_accumulation_steps", "learning_rate", "lr_schedule", "warmup_steps"];
  const switches = ["early_stop", "grad_checkpoint"];
  return (
    <Card title="Training" icon={Gauge} description="How long, how much at once, and how fast.">
      <div className="space-y-5">
        <div className="grid items-start gap-x-4 gap-y-4 sm:grid-cols-2 lg:grid-cols-3">
          <RunLength />
          <RunLengthField epochs="1" />
          {fields
            .filter((name) => settings.has(name))
            .map((name) => (
              <MethodField key={name} name={name} />
            ))}
        </div>
        {report && report.schedule.length > 1 && problems["learning_rate"] === undefined && (
          <ScheduleChart points={report.schedule} />
        )}
        <div className="grid items-start gap-4 sm:grid-cols-2">
          {switches.map((name) => (
            <MethodField key={name} name={name} />
          ))}
          <MethodField name="adapter_name" placeholder="made from date and model" />
        </div>
      </div>
    </Card>
  );
}
