import { Gauge } from "lucide-react";

import type { DraftReport, RateHint } from "@/api";
import { Button, Card, Disclosure } from "@/components/ui";
import { useNumber, useRunForm, useSetting } from "@/features/form/form";
import { RunLength, RunLengthField } from "@/features/form/RunLength";
import { ScheduleChart } from "@/features/form/ScheduleChart";
import { SettingField } from "@/features/form/SettingField";
import { count, epochs, integer, rate, significant } from "@/lib/format";
import { typed } from "@/lib/numbers";

function RateSuggestion({ hint }: { hint: RateHint }) {
  const bound = useSetting("learning_rate");
  const now = useNumber("learning_rate");
  if (!bound) return null;
  const used = now === hint.value;
  return (
    <div className="rounded-md bg-sunken px-3 py-2 text-[0.8125rem]">
      <div className="flex flex-wrap items-center justify-between gap-2">
        <span>
          Suggested for this model: <span className="font-semibold">{rate(hint.value)}</span>
          {used && <span className="text-muted"> (in use)</span>}
        </span>
        {!used && (
          <Button size="sm" onClick={() => bound.set(typed(hint.value))}>
            Use {rate(hint.value)}
          </Button>
        )}
      </div>
      <Disclosure title="Why this rate?">
        <p className="text-xs text-muted">{hint.why}.</p>
      </Disclosure>
    </div>
  );
}

function PlanLine({ report: { plan, steps }, rows }: { report: DraftReport; rows: number | null }) {
  if (steps === null) return null;
  return (
    <p className="rounded-md bg-sunken px-3 py-2 text-[0.8125rem]" aria-live="polite">
      <span className="font-semibold">{count(steps, "step")}</span>
      {plan &&
        ` over ${epochs(Number(significant(plan.epochs, 3)))}, ${count(plan.effective_batch, "row")} a step of ${integer(rows)}`}
    </p>
  );
}

interface Props {
  rows: number | null;
  hint: RateHint | undefined;
  report: DraftReport | undefined;
  /** What the longest row takes, where it is known. */
  longest: number | null;
}

/** How long and how fast. */
export function TrainingCard({ rows, hint, report, longest }: Props) {
  const schedule = useSetting("lr_schedule");
  const rateProblem = useRunForm().problems["learning_rate"];
  return (
    <Card title="Training" icon={Gauge} description="How long, how much at once, and how fast.">
      <div className="space-y-5">
        <div className="grid items-start gap-x-4 gap-y-3 sm:grid-cols-2 lg:grid-cols-4">
          <RunLength />
          <RunLengthField />
          <SettingField name="batch_size" unit="rows" hint="Rows processed at once: memory grows with it." />
          <SettingField name="grad_accumulation_steps" hint="Batches summed before a step: no more memory." />
          <SettingField
            name="max_seq_length"
            unit="tokens"
            placeholder={longest === null ? "as needed" : String(longest)}
            hint="Longer rows are cut. Leave empty to fit the longest row."
          />
        </div>
        {report && <PlanLine report={report} rows={rows} />}
        <div className="grid gap-4 sm:grid-cols-2">
          <div className="space-y-3">
            <SettingField
              name="learning_rate"
              hint="1e-4 at scale 1 is safe, and slow for a short run on a small model."
            />
            {hint && <RateSuggestion hint={hint} />}
          </div>
          <div className="space-y-3">
            <div className="grid grid-cols-2 gap-4">
              <SettingField name="lr_schedule" hint="After the warm-up." />
              <SettingField name="warmup_steps" hint="Rising from zero." />
            </div>
            {report && report.schedule.length > 1 && rateProblem === undefined ? (
              <ScheduleChart points={report.schedule} />
            ) : (
              <p className="text-xs text-muted">
                The schedule of the learning rate ({schedule?.text ?? "constant"}) is drawn here once the number of
                steps is known.
              </p>
            )}
          </div>
        </div>
        <div className="grid gap-4 sm:grid-cols-2">
          <SettingField
            name="early_stop"
            hint="When the validation loss has not improved for several evaluations. The best weights are kept either way."
          />
          <SettingField name="grad_checkpoint" hint="Less memory, about a third more time." />
          <SettingField
            name="adapter_name"
            placeholder="made from date and model"
            hint="What the result is called. Letters, digits, dots, dashes."
          />
        </div>
      </div>
    </Card>
  );
}
