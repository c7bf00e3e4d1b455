import { Layers } from "lucide-react";

import type { TargetsReport } from "@/api";
import { Button, Card, Disclosure, Note } from "@/components/ui";
import { useSetting } from "@/features/form/form";
import type { Targets } from "@/features/form/queries";
import { SettingField } from "@/features/form/SettingField";
import { RankAndAlpha, Scale } from "@/features/lora/Scale";
import { ChosenPreset, ModuleChoice, TargetChoice } from "@/features/lora/targets";
import { integer, percent, significant } from "@/lib/format";

/** Rank, alpha, dropout, layers and targets, with what they come to for the chosen model. */
export function LoraCard({ targets, scale }: { targets: Targets; scale: number | null | undefined }) {
  const { report, error } = targets;
  const method = useSetting("fine_tune_type");
  const preset = useSetting("lora_targets");
  const dropout = useSetting("lora_dropout");
  const layers = useSetting("lora_num_layers");
  if (method?.text === "full") {
    return (
      <Card title="LoRA" icon={Layers}>
        <Note
          title="Every weight of the chosen layers is trained, so there is no adapter to set up."
          actions={
            <Button size="sm" onClick={() => method.set("lora")}>
              Use LoRA instead
            </Button>
          }
        >
          Full fine-tuning takes several times the memory, and its result is as large as the model.
        </Note>
        <div className="mt-4 grid gap-4 sm:grid-cols-2">
          <SettingField name="lora_num_layers" />
        </div>
      </Card>
    );
  }
  return (
    <Card
      title="LoRA"
      icon={Layers}
      description="Small matrices added to the model's own are trained; the model itself is unchanged."
    >
      <div className="space-y-5">
        <div>
          <div className="grid gap-4 sm:grid-cols-2 lg:grid-cols-4">
            <RankAndAlpha />
            <SettingField
              name="lora_dropout"
              hint={
                dropout?.text === "0"
                  ? "0 is off; 0.05 to 0.1 against overfitting."
                  : "Share of inputs dropped while training."
              }
            />
            <SettingField
              name="lora_num_layers"
              hint={
                layers?.text === "-1"
                  ? `-1 is all${report ? ` ${report.blocks}` : ""} blocks.`
                  : `The last ones${report ? ` of ${report.blocks}` : ""}; -1 is all.`
              }
            />
          </div>
          <div className="mt-3 rounded-md bg-sunken px-3 py-2">
            <Scale scale={scale} />
          </div>
        </div>
        <TargetChoice report={report} />
        {preset?.text === "custom" && report && <ModuleChoice report={report} />}
        <ChosenPreset targets={targets} />
        {error?.field === null && report && <p className="text-xs text-bad">{error.message}</p>}
        <FullLayerNote report={report} />
      </div>
    </Card>
  );
}

function Figures({ report }: { report: TargetsReport }) {
  const full = report.presets.find((one) => one.preset === "full-layer");
  const attention = report.presets.find((one) => one.preset === "attention-qv");
  if (!full || !attention || full.problem !== null || attention.problem !== null || attention.trainable === 0)
    return null;
  return (
    <p className="mb-2">
      In this model at rank {integer(report.rank)}, full-layer trains {integer(full.trainable)} parameters (
      {percent(full.share)}) and Q and V alone {integer(attention.trainable)} ({percent(attention.share)}):{" "}
      {significant(full.trainable / attention.trainable, 2)} times as many.
    </p>
  );
}

/** What is known about full-layer against attention-only, and what is not. */
function FullLayerNote({ report }: { report: TargetsReport | undefined }) {
  return (
    <Note tone="info">
      <Disclosure title="Full layer or attention only?">
        {report && <Figures report={report} />}
        <p className="mb-2">
          “LoRA Without Regret” (Schulman and Thinking Machines, 2025) found a lower loss when the MLP is adapted too,
          even at the same number of parameters. Published scores on tasks point both ways, and differ by a point or
          two. Which is better for you depends on your data, your model and the learning rate.
        </p>
        <p>
          So measure it: train once with each, with the same seed and data, and put the two validation losses side by
          side under Results. A difference as small as that between two seeds means nothing. At the same rank the
          larger adapter also costs more memory and time; raise the rank of the smaller one to compare at the same
          size.
        </p>
      </Disclosure>
    </Note>
  );
}
