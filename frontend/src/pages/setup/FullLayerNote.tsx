import type { TargetsReport } from "@/api";
import { Disclosure, Note } from "@/components/ui";
import { integer, percent, significant } from "@/lib/format";

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
export function FullLayerNote({ report }: { report: TargetsReport | undefined }) {
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
