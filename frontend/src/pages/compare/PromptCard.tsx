/** What is asked, and how. */

import { Play, Square } from "lucide-react";
import type { KeyboardEvent } from "react";

import { Button, Card, Disclosure, Note, Switch, TextArea } from "@/components/ui";

import { EXAMPLES } from "./examples";
import type { Form, Reading } from "./form";
import { SamplingFields } from "./SamplingFields";

export interface PromptCardProps {
  form: Form;
  onForm: (change: Partial<Form>) => void;
  reading: Reading;
  /** How many sides answer. */
  sides: number;
  running: boolean;
  onSend: () => void;
  onStop: () => void;
  /** Unsent text that a prompt from the history replaced. */
  draft: string | null;
  onDraft: () => void;
}

const APPLE = /Mac|iP(hone|ad)/.test(navigator.userAgent);

export function PromptCard(props: PromptCardProps) {
  const { form, onForm, reading, sides, running, onSend, onStop, draft, onDraft } = props;
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
