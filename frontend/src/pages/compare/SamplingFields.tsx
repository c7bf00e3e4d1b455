/** How the next token is chosen. */

import { RotateCcw } from "lucide-react";

import { compareRequestNumbers as NUMBERS } from "@/api/generatedSchemas";
import { Button, Disclosure, NumberField, Segmented, Switch } from "@/components/ui";
import { parseNumber } from "@/lib/numbers";

import { initialSampling, SAMPLING, SAMPLING_FIELDS } from "./form";
import type { Form } from "./form";

export interface SamplingFieldsProps {
  form: Form;
  onForm: (change: Partial<Form>) => void;
}

export function SamplingFields({ form, onForm }: SamplingFieldsProps) {
  const greedy = isZero(form.sampling.temperature);
  return (
    <Disclosure title="Sampling" aside={<span className="max-sm:hidden">{summary(form)}</span>}>
      <div className="grid gap-x-4 gap-y-3 sm:grid-cols-2 xl:grid-cols-4">
        {SAMPLING_FIELDS.map((field) => (
          <NumberField
            key={field}
            label={SAMPLING[field].label}
            hint={SAMPLING[field].hint}
            rules={NUMBERS[field].rules}
            text={form.sampling[field]}
            onText={(text) => onForm({ sampling: { ...form.sampling, [field]: text } })}
          />
        ))}
        <Seed form={form} onForm={onForm} />
        <Switch
          className="sm:pt-6"
          label="Chat template"
          hint="Sends the prompt as a chat message, as the model was taught. Off: the model continues the raw text."
          checked={form.template}
          onValue={(template) => onForm({ template })}
        />
      </div>
      <p className="mt-3 text-xs text-muted">
        {greedy
          ? "At temperature 0 nothing is drawn: seed, top-p, min-p and top-k have no effect."
          : "Top-p, min-p and top-k keep unlikely tokens out; they do not stop a model from repeating itself. The repetition penalty does."}
      </p>
      <Button
        size="sm"
        variant="ghost"
        icon={RotateCcw}
        className="mt-2 -ml-2.5"
        onClick={() => onForm({ sampling: initialSampling(), drawSeed: true, template: true })}
      >
        Back to the defaults
      </Button>
    </Disclosure>
  );
}

function Seed({ form, onForm }: SamplingFieldsProps) {
  return (
    <div className="min-w-0">
      <div className="mb-1 text-[0.8125rem] font-medium" aria-hidden>
        Seed
      </div>
      <Segmented
        label="Seed"
        value={form.drawSeed ? "draw" : "fixed"}
        options={[
          { value: "draw", label: "Random" },
          { value: "fixed", label: "Fixed" },
        ]}
        onValue={(value) => onForm({ drawSeed: value === "draw" })}
      />
      {form.drawSeed ? (
        <p className="mt-1 text-xs text-muted">Each comparison draws one; all sides get the same.</p>
      ) : (
        <NumberField
          className="mt-2"
          label="Fixed seed"
          hint="The same seed gives each side the same answer again."
          rules={NUMBERS.seed.rules}
          text={form.seed}
          onText={(seed) => onForm({ seed })}
        />
      )}
    </div>
  );
}

function isZero(text: string): boolean {
  const parsed = parseNumber(text);
  return parsed.kind === "number" && parsed.value === 0;
}

function summary({ sampling, drawSeed, seed, template }: Form): string {
  const parts = [`temperature ${sampling.temperature}`, `up to ${sampling.max_tokens} tokens`];
  if (!drawSeed) parts.push(`seed ${seed}`);
  if (!template) parts.push("no chat template");
  return parts.join(" · ");
}
