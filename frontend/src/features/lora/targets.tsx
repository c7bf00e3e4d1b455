/** Which modules are adapted, and what that comes to. */

import type { MemoryParts, PresetReport, TargetsReport, Verdict } from "@/api";
import { Bar } from "@/components/chart/small";
import { Badge, Checkbox, RadioCards, Skeleton } from "@/components/ui";
import { isText } from "@/features/form/draft";
import { useNumber, useRunForm, useSetting } from "@/features/form/form";
import { PRESETS } from "@/features/form/labels";
import type { Targets } from "@/features/form/queries";
import { cx } from "@/lib/cx";
import { bytes, count, integer, percent } from "@/lib/format";
import type { Tone } from "@/lib/tone";

const TONES: Record<Verdict, Tone> = { fits: "good", tight: "warn", "does not fit": "bad" };

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
        {preset.verdict && preset.verdict !== "fits" && <Badge tone={TONES[preset.verdict]}>{preset.verdict}</Badge>}
      </span>
    </>
  );
}

/** The presets side by side, with exact counts for the model. */
export function TargetChoice({ report }: { report: TargetsReport | undefined }) {
  const targets = useSetting("lora_targets");
  const keys = useSetting("lora_keys");
  const { mode } = useRunForm();
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
export function ModuleChoice({ report }: { report: TargetsReport }) {
  const keys = useSetting("lora_keys");
  if (!keys) return null;
  const chosen = Array.isArray(keys.value) ? keys.value.filter(isText) : [];
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
                  ? `${key.kind}, ${count(key.modules, "module")}, ${count(key.trainable, "parameter")}`
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

/** What the chosen preset trains and takes. */
export function ChosenPreset({ targets: { report, fetching, error } }: { targets: Targets }) {
  const targets = useSetting("lora_targets");
  if (!report && fetching) return <Skeleton className="h-16" />;
  if (!report)
    return (
      !error && <p className="text-muted">Choose a model to see the exact counts and how much memory it takes.</p>
    );
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

const PARTS = [
  { name: "weights", label: "model", fill: "fill-s8", swatch: "bg-s8" },
  { name: "adapter", label: "adapter", fill: "fill-s1", swatch: "bg-s1" },
  { name: "gradients", label: "gradients", fill: "fill-s4", swatch: "bg-s4" },
  { name: "optimizer", label: "optimizer", fill: "fill-s3", swatch: "bg-s3" },
  { name: "activations", label: "activations", fill: "fill-s2", swatch: "bg-s2" },
  { name: "loss", label: "loss", fill: "fill-s5", swatch: "bg-s5" },
] as const;

/** What to turn, in the order of what it costs. */
function advice(batch: number, checkpointing: boolean): string {
  const ways = [
    ...(batch > 1
      ? ["a smaller batch with more accumulated ones in its place (the same training, a little slower)"]
      : []),
    ...(checkpointing ? [] : ["gradient checkpointing (about a third more time)"]),
    "shorter rows",
    "a smaller model",
  ];
  return `What helps: ${ways.join(", ")}.`;
}

/** The estimate drawn, with a plain verdict. */
function MemoryEstimate({
  memory,
  verdict,
  report,
}: {
  memory: MemoryParts;
  verdict: Verdict;
  report: TargetsReport;
}) {
  const batch = useNumber("batch_size") ?? 1;
  const checkpointing = useSetting("grad_checkpoint")?.value === true;
  const parts = PARTS.filter(({ name }) => memory[name] > 0);
  return (
    <div className="rounded-md border border-line p-3">
      <p className="mb-2 flex flex-wrap items-center gap-x-2 gap-y-1 text-[0.8125rem]">
        <Badge tone={TONES[verdict]}>{verdict}</Badge>
        <span>
          about <span className="font-semibold">{bytes(memory.total)}</span> at the peak,{" "}
          {bytes(report.memory_available)} available
        </span>
        <span className="text-xs text-muted">
          {count(report.batch_size, "row")} × {integer(report.seq_length)} tokens
        </span>
      </p>
      <Bar
        parts={parts.map(({ name, label, fill }) => ({ label, value: memory[name], className: fill }))}
        limit={report.memory_available}
        label={`Estimated memory: ${parts.map(({ name, label }) => `${label} ${bytes(memory[name])}`).join(", ")}`}
      />
      <ul className="mt-2 flex flex-wrap gap-x-4 gap-y-1 text-xs text-muted" aria-hidden>
        {parts.map(({ name, label, swatch }) => (
          <li key={name} className="inline-flex items-center gap-1.5">
            <span className={cx("size-2 rounded-[2px]", swatch)} />
            {label} {bytes(memory[name])}
          </li>
        ))}
      </ul>
      {verdict !== "fits" && <p className="mt-2 text-xs">{advice(batch, checkpointing)}</p>}
    </div>
  );
}
