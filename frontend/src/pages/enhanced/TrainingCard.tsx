import { Gauge } from "lucide-react";

import type { DraftReport } from "@/api";
import { Card } from "@/components/ui";
import { useRunForm } from "@/features/form/form";
import { RunLength, RunLengthField } from "@/features/form/RunLength";
import { ScheduleChart } from "@/features/form/ScheduleChart";

import { MethodField } from "./MethodField";

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
