import { Layers } from "lucide-react";

import type { PresetReport, TargetsReport } from "@/api";
import type { Tone } from "@/app/toasts";
import { Badge, Button, Card, Checkbox, Note, RadioCards, Skeleton } from "@/components/ui";
import { cx } from "@/lib/cx";
import { bytes, integer, percent, significant } from "@/lib/format";

import { useNumber, useSetting, useSetup } from "./form";
import { FullLayerNote } from "./FullLayerNote";
import { PRESETS } from "./labels";
import { MemoryEstimate } from "./MemoryEstimate";
import type { Targets } from "./queries";
import { SettingField } from "./SettingField";

const RANKS = [8, 16, 32, 64] as const;

/** How alpha and rank become the factor on the update, for each kind of scaling. */
export function scaleOf(scaling: string, alpha: number, rank: number): { formula: string; scale: number } {
  switch (scaling) {
    case "rslora":
      return { formula: `alpha ${significant(alpha, 4)} / √rank ${rank}`, scale: alpha / Math.sqrt(rank) };
    case "raw":
      return { formula: `alpha ${significant(alpha, 4)} as it is`, scale: alpha };
    default:
      return { formula: `alpha ${significant(alpha, 4)} / rank ${rank}`, scale: alpha / rank };
  }
}

/** A scale with at least one decimal: `1.0`, `0.5`, `2.83`. */
export function scaleText(scale: number): string {
  const text = significant(scale, 3);
  return /^\d+$/.test(text) ? `${text}.0` : text;
}

function Scale() {
  const rank = useNumber("lora_rank");
  const alpha = useNumber("lora_alpha");
  const scaling = useSetting("lora_scaling");
  if (rank === null || alpha === null) return <p className="text-muted">Rank and alpha give the scale.</p>;
  const { formula, scale } = scaleOf(scaling?.text ?? "standard", alpha, rank);
  const tone: Tone = scale > 4 ? "warn" : "neutral";
  return (
    <p className="flex flex-wrap items-center gap-x-2 text-[0.8125rem]" aria-live="polite">
      <span className="text-muted">{formula}</span>
      <span aria-hidden className="text-muted">
        →
      </span>
      <span className={cx("font-semibold", tone === "warn" && "text-warn")}>scale {scaleText(scale)}</span>
      <span className="text-xs text-muted">
        {scale === 1 ? "the update counts as it is" : `the update is multiplied by ${scaleText(scale)}`}
      </span>
    </p>
  );
}

function RankChoices() {
  const rank = useSetting("lora_rank");
  if (!rank) return null;
  return (
    <span className="inline-flex gap-1">
      {RANKS.map((value) => (
        <button
          key={value}
          type="button"
          aria-label={`Rank ${value}`}
          aria-pressed={rank.text === String(value)}
          onClick={() => rank.set(String(value))}
          className="rounded border border-line px-1.5 text-xs text-ink hover:border-edge aria-pressed:border-accent aria-pressed:bg-accent-soft"
        >
          {value}
        </button>
      ))}
    </span>
  );
}

const VERDICTS: Record<string, Tone> = { fits: "good", tight: "warn", "does not fit": "bad" };

function PresetFigures({ preset, best }: { preset: PresetReport | undefined; best: boolean }) {
  if (!preset || preset.problem !== null) return null;
  return (
    <span className="whitespace-nowrap">
      <span className={cx(best && "font-semibold text-ink")}>{integer(preset.trainable)}</span> ·{" "}
      {percent(preset.share)}
    </span>
  );
}

function presetText(name: string, preset: PresetReport | undefined) {
  const words = PRESETS[name]?.text ?? "";
  if (!preset) return words;
  if (preset.problem !== null) return <span className="text-bad">{preset.problem}</span>;
  return (
    <>
      {words}
      <span className="mt-1 flex flex-wrap items-center gap-x-2">
        {`adapter ${bytes(preset.adapter_bytes)}`}
        {preset.memory && ` · ${bytes(preset.memory.total)} at the peak`}
        {preset.verdict && preset.verdict !== "fits" && (
          <Badge tone={VERDICTS[preset.verdict]}>{preset.verdict}</Badge>
        )}
      </span>
    </>
  );
}

function TargetChoice({ report }: { report: TargetsReport | undefined }) {
  const targets = useSetting("lora_targets");
  const keys = useSetting("lora_keys");
  const { mode } = useSetup();
  if (!targets) return null;
  const names = targets.setting.choices.filter(
    (name) => name !== "custom" || mode === "advanced" || targets.text === "custom",
  );
  return (
    <div>
      <p className="mb-1.5 flex flex-wrap justify-between gap-2 text-[0.8125rem] font-medium">
        Targets
        <span className="text-xs font-normal text-muted">trainable parameters · share of all</span>
      </p>
      <RadioCards
        label="Targets"
        value={targets.text}
        className="sm:grid-cols-2"
        onValue={(name) => {
          targets.set(name);
          if (name !== "custom") keys?.set([]);
          // Ticking begins from what full-layer adapts, so that nothing is switched off by surprise.
          else
            keys?.set(report?.presets.find((one) => one.preset === "full-layer")?.keys.map((key) => key.key) ?? []);
        }}
        options={names.map((name) => {
          const preset = report?.presets.find((one) => one.preset === name);
          return {
            value: name,
            title: PRESETS[name]?.title ?? name,
            aside: <PresetFigures preset={preset} best={name === targets.text} />,
            text: presetText(name, preset),
          };
        })}
      />
      {targets.problem !== null && <p className="mt-1 text-xs text-bad">{targets.problem}</p>}
    </div>
  );
}

/** Every module of the model's blocks, with what it would cost. */
function ModuleChoice({ report }: { report: TargetsReport }) {
  const keys = useSetting("lora_keys");
  if (!keys) return null;
  const chosen = Array.isArray(keys.value) ? keys.value : [];
  const known = new Map(report.presets.flatMap((preset) => preset.keys).map((key) => [key.key, key]));
  const names = [...new Set([...known.keys(), ...chosen])];
  return (
    <fieldset>
      <legend className="mb-1.5 text-[0.8125rem] font-medium">Modules of each block</legend>
      <div className="grid gap-x-4 gap-y-1.5 sm:grid-cols-2">
        {names.map((name) => {
          const key = known.get(name);
          return (
            <Checkbox
              key={name}
              label={<code className="font-mono text-xs wrap-anywhere">{name}</code>}
              hint={
                key
                  ? `${key.kind}, ${integer(key.modules)} modules, ${integer(key.trainable)} parameters`
                  : "not in this model"
              }
              checked={chosen.includes(name)}
              onValue={(on) => keys.set(on ? [...chosen, name] : chosen.filter((other) => other !== name))}
            />
          );
        })}
      </div>
      {keys.problem !== null && <p className="mt-1 text-xs text-bad">{keys.problem}</p>}
    </fieldset>
  );
}

function ChosenPreset({ report, fetching }: { report: TargetsReport; fetching: boolean }) {
  const targets = useSetting("lora_targets");
  const preset = report.presets.find((one) => one.preset === targets?.text);
  if (!preset || preset.problem !== null) return null;
  return (
    <div className={cx("space-y-3 transition-opacity", fetching && "opacity-60")} aria-busy={fetching}>
      <p aria-live="polite">
        <span className="text-base font-semibold">{integer(preset.trainable)}</span> of {integer(report.parameters)}{" "}
        parameters are trained: <span className="font-semibold">{percent(preset.share, 3)}</span>, an adapter of{" "}
        {bytes(preset.adapter_bytes)}.
      </p>
      {preset.memory && preset.verdict && (
        <MemoryEstimate memory={preset.memory} verdict={preset.verdict} report={report} />
      )}
      {preset.notes.map((note) => (
        <p key={note} className="text-xs text-muted">
          {note}
        </p>
      ))}
    </div>
  );
}

/** Rank, alpha, dropout, layers and targets, with what they come to for the chosen model. */
export function LoraCard({ targets }: { targets: Targets }) {
  const { report, fetching, error } = targets;
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
      description="Small matrices beside the model's own are trained; the model itself stays as it is."
    >
      <div className="space-y-5">
        <div>
          <div className="grid gap-4 sm:grid-cols-2 lg:grid-cols-4">
            <SettingField
              name="lora_rank"
              hint={
                <span className="inline-flex flex-wrap gap-1.5">
                  Usual: <RankChoices />
                </span>
              }
            />
            <SettingField name="lora_alpha" hint="Strength of the update; usually equal to the rank." />
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
            <Scale />
          </div>
        </div>
        <TargetChoice report={report} />
        {preset?.text === "custom" && report && <ModuleChoice report={report} />}
        {report ? (
          <ChosenPreset report={report} fetching={fetching} />
        ) : fetching ? (
          <Skeleton className="h-16" />
        ) : (
          !error && <p className="text-muted">Choose a model to see the exact counts and how much memory it takes.</p>
        )}
        {error?.field === null && report && <p className="text-xs text-bad">{error.message}</p>}
        <FullLayerNote report={report} />
      </div>
    </Card>
  );
}
