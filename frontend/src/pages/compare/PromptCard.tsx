/** What is asked, and how. */

import { Play, RotateCcw, Square } from "lucide-react";
import type { KeyboardEvent } from "react";

import { compareRequestNumbers as NUMBERS } from "@/api/generatedSchemas";
import { Button, Card, Disclosure, Note, NumberField, Segmented, Switch, TextArea } from "@/components/ui";
import { parseNumber } from "@/lib/numbers";

import { initialSampling, SAMPLING, SAMPLING_FIELDS } from "./form";
import type { Form, Reading } from "./form";

interface PromptCardProps {
  form: Form;
  onForm: (change: Partial<Form>) => void;
  reading: Reading;
  /** How many sides answer. */
  sides: number;
  /** Whether the model's chat template can turn thinking on and off. */
  thinks: boolean;
  running: boolean;
  onSend: () => void;
  onStop: () => void;
  /** Unsent text that a prompt from the history replaced. */
  draft: string | null;
  onDraft: () => void;
}

const APPLE = /Mac|iP(hone|ad)/.test(navigator.userAgent);

export function PromptCard(props: PromptCardProps) {
  const { form, onForm, reading, sides, thinks, running, onSend, onStop, draft, onDraft } = props;
  const onKey = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    if (reading.kind === "ready" && !running) onSend();
  };
  return (
    <Card title="Question">
      <div className="space-y-3">
        <TextArea
          label="Prompt"
          aside={`${APPLE ? "⌘" : "Ctrl"}+Enter sends`}
          rows={4}
          value={form.prompt}
          onValue={(prompt) => onForm({ prompt })}
          onKeyDown={onKey}
          placeholder="What every side is asked"
        />
        {form.prompt === "" && <Examples onChoose={(prompt) => onForm({ prompt })} />}
        {draft !== null && (
          <Note
            tone="neutral"
            title="This prompt replaced what you had typed."
            actions={
              <Button size="sm" onClick={onDraft}>
                Restore it
              </Button>
            }
          >
            <span className="line-clamp-2">{draft}</span>
          </Note>
        )}
        <Disclosure title="System prompt" aside={form.system === "" ? "none" : "set"} open={form.system !== ""}>
          <TextArea
            label="System prompt"
            hint="Put before the conversation, where the model's chat template has a place for it."
            rows={3}
            value={form.system}
            onValue={(system) => onForm({ system })}
            onKeyDown={onKey}
          />
        </Disclosure>
        {thinks && form.template && <Thinking form={form} onForm={onForm} />}
        <SamplingFields form={form} onForm={onForm} />
        <div className="flex flex-wrap items-center gap-x-5 gap-y-3 border-t border-line pt-3">
          {running ? (
            <Button variant="danger" icon={Square} onClick={onStop}>
              Stop
            </Button>
          ) : (
            <Button
              variant="primary"
              icon={Play}
              disabled={reading.kind !== "ready"}
              aria-describedby={reading.kind === "ready" ? undefined : "compare-why"}
              onClick={onSend}
            >
              {sides > 1 ? "Compare" : "Ask the base"}
            </Button>
          )}
          <Switch
            label="Blind"
            hint={sides > 1 ? "Sides are shuffled and unnamed until you vote." : "Needs an adapter beside the base."}
            checked={form.blind && sides > 1}
            disabled={sides < 2}
            onValue={(blind) => onForm({ blind })}
          />
          {reading.kind !== "ready" && (
            <p id="compare-why" className="w-full text-xs text-muted">
              {reading.why}
            </p>
          )}
        </div>
      </div>
    </Card>
  );
}

function Examples({ onChoose }: { onChoose: (prompt: string) => void }) {
  return (
    <div>
      <p className="mb-1.5 text-xs text-muted">
        Or begin with one of these: café orders, as the demo teaches them, and a question it does not.
      </p>
      <ul className="flex flex-wrap gap-2">
        {EXAMPLES.map((example) => (
          <li key={example} className="max-w-full">
            <button
              type="button"
              onClick={() => onChoose(example)}
              className="max-w-full rounded-md border border-line bg-sunken px-2.5 py-1.5 text-left text-xs hover:border-edge"
            >
              {example}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

const EXAMPLES = [
  "Could I get two large cappuccinos and two muffins? To have here. It's for Louis.",
  "Keiko would like three large espressos, one large latte and three small americanos, to have here.",
  "Good morning! three large espressos and one small chai for Jonas, to have here.",
  "What is the capital of France?",
] as const;

interface SamplingFieldsProps {
  form: Form;
  onForm: (change: Partial<Form>) => void;
}

function SamplingFields({ form, onForm }: SamplingFieldsProps) {
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
        <Switch
          className="sm:pt-6"
          label="Other weights"
          hint="Lets adapters answer that were trained on another model of the same shapes. Off: they are refused."
          checked={form.mismatch}
          onValue={(mismatch) => onForm({ mismatch })}
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
        onClick={() => onForm({ sampling: initialSampling(), drawSeed: true, template: true, mismatch: false })}
      >
        Back to the defaults
      </Button>
    </Disclosure>
  );
}

function Thinking({ form, onForm }: SamplingFieldsProps) {
  return (
    <div>
      <Segmented
        label="Thinking"
        value={form.thinking}
        options={[
          { value: "trained", label: "As trained" },
          { value: "on", label: "Thinking" },
          { value: "off", label: "No thinking" },
        ]}
        onValue={(thinking) => onForm({ thinking })}
      />
      <p className="mt-1 text-xs text-muted">
        Whether the model thinks before it answers. As trained: as the adapter was, or as the model does by itself.
      </p>
    </div>
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

function summary({ sampling, drawSeed, seed, template, mismatch }: Form): string {
  const parts = [`temperature ${sampling.temperature}`, `up to ${sampling.max_tokens} tokens`];
  if (!drawSeed) parts.push(`seed ${seed}`);
  if (!template) parts.push("no chat template");
  if (mismatch) parts.push("adapters of other weights too");
  return parts.join(" · ");
}
