import type { MemoryParts, TargetsReport, Verdict } from "@/api";
import { Bar } from "@/components/chart/small";
import { Badge } from "@/components/ui";
import { useNumber, useSetting } from "@/features/form/form";
import { cx } from "@/lib/cx";
import { bytes, count, integer } from "@/lib/format";
import type { Tone } from "@/lib/tone";

const PARTS = [
  { name: "weights", label: "model", fill: "fill-s8", swatch: "bg-s8" },
  { name: "adapter", label: "adapter", fill: "fill-s1", swatch: "bg-s1" },
  { name: "gradients", label: "gradients", fill: "fill-s4", swatch: "bg-s4" },
  { name: "optimizer", label: "optimizer", fill: "fill-s3", swatch: "bg-s3" },
  { name: "activations", label: "activations", fill: "fill-s2", swatch: "bg-s2" },
  { name: "loss", label: "loss", fill: "fill-s5", swatch: "bg-s5" },
] as const;

const TONES: Record<Verdict, Tone> = { fits: "good", tight: "warn", "does not fit": "bad" };

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
export function MemoryEstimate({
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
