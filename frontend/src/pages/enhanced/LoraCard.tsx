import { Layers } from "lucide-react";

import { Button, Card, Disclosure, Note, useConfirm } from "@/components/ui";
import { useRunForm, useSetting } from "@/features/form/form";
import { PRESETS } from "@/features/form/labels";
import type { Targets } from "@/features/form/queries";
import { SettingField } from "@/features/form/SettingField";
import { RankAndAlpha, Scale } from "@/features/lora/Scale";
import { ChosenPreset, ModuleChoice, TargetChoice } from "@/features/lora/targets";

/** Attention only, keys written out; anything else only on purpose. */
export function LoraCard({ targets, scale }: { targets: Targets; scale: number | null | undefined }) {
  const { report } = targets;
  const { draft, unset } = useRunForm();
  const preset = useSetting("lora_targets");
  const [ask, dialog] = useConfirm();
  if (!preset) return null;
  const own = draft["lora_targets"] !== undefined;
  const keys = report?.presets.find((one) => one.preset === preset.text)?.keys ?? [];
  const change = async () => {
    const sure = await ask({
      title: "Change what is adapted?",
      text: "Runs with these methods adapt Q and V alone, so that they can be compared with one another and with full-layer runs of Setup. A run with other targets differs from them in more than the method.",
      confirm: "Choose other targets",
    });
    if (sure) preset.set(preset.text);
  };
  return (
    <Card
      title="LoRA"
      icon={Layers}
      description="Small matrices added to the model’s own are trained; the model itself is unchanged."
    >
      <div className="space-y-5">
        <div className="grid items-start gap-4 sm:grid-cols-2 lg:grid-cols-4">
          <RankAndAlpha />
          <SettingField name="lora_dropout" hint="Share of inputs dropped while training." />
          <SettingField name="lora_num_layers" hint="How many blocks, from the last; -1 is all." />
        </div>
        <div className="rounded-md bg-sunken px-3 py-2">
          <Scale scale={scale} />
        </div>
        <div className="rounded-md border border-line p-3 text-[0.8125rem]">
          <div className="flex flex-wrap items-start justify-between gap-x-4 gap-y-2">
            <div className="min-w-0 flex-1 basis-60">
              <p className="font-medium">{PRESETS[preset.text]?.title ?? preset.text}</p>
              <p className="text-xs text-muted">
                {keys.length > 0 ? (
                  <>
                    Keys:{" "}
                    {keys.map(({ key }, at) => (
                      <span key={key}>
                        {at > 0 && ", "}
                        <code className="font-mono text-ink wrap-anywhere">{key}</code>
                      </span>
                    ))}
                  </>
                ) : (
                  "The keys are written out here once a model is chosen."
                )}
              </p>
              {!own && (
                <p className="mt-1 text-xs text-muted">
                  Policy gradients carry little information a step, so Q and V suffice; and Setup’s full-layer runs
                  stay comparable.
                </p>
              )}
            </div>
            {own ? (
              <Button size="sm" onClick={() => unset("lora_targets", "lora_keys")}>
                Back to Q and V
              </Button>
            ) : (
              <Button size="sm" onClick={() => void change()}>
                Change targets…
              </Button>
            )}
          </div>
        </div>
        {dialog}
        {own && (
          <>
            {preset.text !== "attention-qv" && (
              <Note tone="info">Other targets than Q and V: compare this run with ones of the same targets.</Note>
            )}
            <TargetChoice report={report} />
            {preset.text === "custom" && report && <ModuleChoice report={report} />}
          </>
        )}
        <ChosenPreset targets={targets} />
        <Disclosure title="Scaling and kind of adapter">
          <div className="grid items-start gap-4 sm:grid-cols-2">
            <SettingField name="fine_tune_type" label="Kind" />
            <SettingField name="lora_scaling" />
            <SettingField name="lora_routers" />
          </div>
        </Disclosure>
      </div>
    </Card>
  );
}
