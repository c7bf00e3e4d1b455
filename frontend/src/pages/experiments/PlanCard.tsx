/** The plan as it is fixed, with what it will cost. */

import { ClipboardList } from "lucide-react";

import { useGetSettingsQuery } from "@/api";
import type { FixedPlan, SettingView } from "@/api";
import { Card, Disclosure, Note, Stat, Stats, Table, Td, Th } from "@/components/ui";
import { settingText } from "@/features/form/settingText";
import { bytes, count, duration, integer, moment, percent, rate, sentence, shortName } from "@/lib/format";

import { Breakable, SettingsLine } from "./names";

/** More settings than this are folded away. */
const MOST_SHOWN = 12;

export function PlanCard({ plan: fixed }: { plan: FixedPlan }) {
  const { plan, estimate } = fixed;
  const costs = new Map(fixed.costs?.map((cost) => [cost.arm, cost]));
  return (
    <Card
      title="The plan, fixed before the first step"
      icon={ClipboardList}
      description={`Recorded ${moment(fixed.created)}; nothing in it changes any more.`}
    >
      <div className="space-y-5">
        {estimate && (
          <div className="space-y-2">
            <Stats>
              <Stat label="Runs" value={integer(estimate.runs)} note="the base model included" />
              <Stat label="Time" value={duration(estimate.seconds)} note="from measured steps" />
              <Stat label="Memory" value={bytes(estimate.peak_bytes)} note="as MLX counts it" />
              <Stat label="Disk" value={bytes(estimate.disk_bytes)} note="for the adapters" />
            </Stats>
            <p className="text-xs text-muted">
              A few steps of each arm were rehearsed, the one with its longest batch among them. Memory is the most
              that MLX had in use; the whole process takes more.
            </p>
          </div>
        )}
        <Material fixed={fixed} />
        <Table label="Arms">
          <thead>
            <tr>
              <Th>Arm</Th>
              <Th right>Rank</Th>
              <Th right>Scale</Th>
              <Th right>Trained</Th>
              <Th right>Steps</Th>
              <Th right>A token</Th>
              <Th right>A run</Th>
            </tr>
          </thead>
          <tbody>
            {fixed.arms.map((arm) => {
              const cost = costs.get(arm.name);
              return (
                <tr key={arm.name}>
                  <Td className="min-w-48">
                    <span className="font-medium">{arm.name}</span>
                    <span className="block text-xs text-muted">
                      <SettingsLine settings={arm.differs} />
                      {arm.matched !== null && <span className="block">as many parameters as {arm.matched}</span>}
                    </span>
                  </Td>
                  <Td right>{integer(arm.rank)}</Td>
                  <Td right>{arm.scale}</Td>
                  <Td right>
                    {integer(arm.trainable)} ({percent(arm.trainable / arm.total)})
                  </Td>
                  <Td right>{integer(arm.steps["1"])}</Td>
                  <Td right>{cost ? `${(1000 * cost.seconds_per_token).toFixed(2)} ms` : "–"}</Td>
                  <Td right>{cost ? duration(cost.seconds_per_run) : "–"}</Td>
                </tr>
              );
            })}
          </tbody>
        </Table>
        <Shared fixed={fixed} />
        <Facts>
          <Fact name="Contrasts">
            {fixed.contrasts.length > 0
              ? fixed.contrasts.map(([first, second]) => `${first} − ${second}`).join(", ")
              : "the best combination with the first"}
          </Fact>
          <Fact name="Seeds">{plan.seeds?.join(", ")}</Fact>
          {plan.learning_rates && (
            <Fact name="Learning rates">{plan.learning_rates.map(rate).join(", ")}, chosen by validation loss</Fact>
          )}
          {plan.shares && plan.shares.length > 1 && (
            <Fact name="Shares">{plan.shares.map((share) => percent(share)).join(", ")} of the training data</Fact>
          )}
          <Fact name="Margin">
            {plan.equivalence_margin} nats per token: a smaller difference does not matter (
            {percent(Math.exp(plan.equivalence_margin ?? 0) - 1, 1)} of perplexity)
          </Fact>
        </Facts>
        {fixed.warnings?.map((warning) => (
          <Note key={warning} tone="warn">
            {sentence(warning)}
          </Note>
        ))}
      </div>
    </Card>
  );
}

/** The model, and the rows of each set with where they come from. */
function Material({ fixed: { plan, sizes, model } }: { fixed: FixedPlan }) {
  const { settings, measurement } = plan;
  return (
    <Facts>
      <Fact name="Model">
        <Source path={settings["model_path"]} place={model} />
      </Fact>
      <Fact name="Training">
        <Source path={settings["train_data_path"]} />
        {count(sizes.train_rows, "row")}, {integer(sizes.train_tokens)} tokens; {sizes.split}
      </Fact>
      <Fact name="Validation">
        <Source path={settings["val_data_path"]} />
        {count(sizes.validation_rows, "row")}, {integer(sizes.validation_tokens)} tokens
      </Fact>
      <Fact name="Test">
        <Source path={measurement?.test_data_path} />
        {testRows(sizes)}, {integer(sizes.test_tokens)} tokens
        {sizes.questions > 0 && `; ${count(sizes.questions, "question")} to be answered`}
      </Fact>
      <Fact name="General text">
        <Source path={measurement?.general_data_path} />
        {count(sizes.general_rows, "text")}, {integer(sizes.general_tokens)} tokens
      </Fact>
    </Facts>
  );
}

function testRows({ test_rows: rows, clusters }: FixedPlan["sizes"]): string {
  if (rows === clusters) return `${count(rows, "row")}, each counted as independent`;
  return `${count(rows, "row")} in ${count(clusters, "group")}, such as conversations; only groups count as independent`;
}

/** A file or model by its short name, with its whole path below where that says more. */
function Source({ path, place = path }: { path: unknown; place?: unknown }) {
  if (typeof path !== "string") return null;
  const name = shortName(path);
  return (
    <span className="block">
      <span className="font-medium">
        <Breakable text={name} />
      </span>
      {typeof place === "string" && place !== name && (
        <span className="block text-xs text-muted">
          <Breakable text={place} />
        </span>
      )}
    </span>
  );
}

function Shared({ fixed }: { fixed: FixedPlan }) {
  const { data } = useGetSettingsQuery();
  const shared = sharedSettings(fixed, data?.settings ?? []);
  return (
    <Disclosure title="Settings that all arms share" open={shared.length <= MOST_SHOWN}>
      <dl className="grid gap-x-8 gap-y-1.5 pl-5.5 text-[0.8125rem] sm:grid-cols-2 lg:grid-cols-3">
        {shared.map(({ name, value, byDefault, varies }) => (
          <div key={name} className="min-w-0">
            <dt className="mr-1 inline font-mono text-xs text-muted">
              <Breakable text={name} />:
            </dt>
            <dd className="inline">
              <Breakable text={settingText(value)} />
              {(byDefault || varies) && (
                <span className="text-xs text-muted">
                  {byDefault && " (default)"}
                  {varies && ", unless an arm has its own"}
                </span>
              )}
            </dd>
          </div>
        ))}
      </dl>
      <p className="mt-2 pl-5.5 text-xs text-muted">
        Settings that are not named have their defaults
        {"steps_per_eval" in fixed.plan.settings ? "." : "; steps_per_eval follows from the steps of a run."}
      </p>
    </Disclosure>
  );
}

function Facts({ children }: { children: React.ReactNode }) {
  return <dl className="grid gap-x-6 gap-y-2 text-[0.8125rem] sm:grid-cols-[8rem_minmax(0,1fr)]">{children}</dl>;
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <div className="min-w-0 sm:contents">
      <dt className="text-muted">{name}</dt>
      <dd className="min-w-0 wrap-break-word">{children}</dd>
    </div>
  );
}

interface SharedSetting {
  name: string;
  value: unknown;
  /** Whether the plan leaves it at its default. */
  byDefault: boolean;
  /** Whether an arm has a value of its own. */
  varies: boolean;
}

/** They stand by themselves. */
const APART: ReadonlySet<string> = new Set(["model_path", "train_data_path", "val_data_path"]);
/** Told even where they have their defaults. */
const TOLD = ["batch_size", "learning_rate", "lora_rank", "lora_alpha", "lora_targets", "lr_schedule", "optimizer"];

/** The settings of `fixed` that hold for all arms, or for those without one of their own; the given ones first. */
export function sharedSettings(fixed: FixedPlan, settings: readonly SettingView[]): SharedSetting[] {
  const { plan, arms } = fixed;
  const given = Object.entries(plan.settings).map(([name, value]) => ({ name, value, byDefault: false }));
  const left = settings
    .filter((setting) => TOLD.includes(setting.name) && !(setting.name in plan.settings))
    // The default of the day on which the plan was fixed, where it was kept.
    .map(({ name, ...setting }) => ({ name, value: arms[0]?.config?.[name] ?? setting.default, byDefault: true }));
  return [...given, ...left]
    .filter(({ name }) => !APART.has(name) && !(name === "learning_rate" && plan.learning_rates))
    .map((shared) => ({ ...shared, own: arms.filter(({ differs }) => shared.name in differs).length }))
    .filter(({ own }) => own < arms.length)
    .map(({ own, ...shared }) => ({ ...shared, varies: own > 0 }));
}
