import { ChevronLeft, ChevronRight, ChevronsRight, MessagesSquare } from "lucide-react";
import { useState } from "react";

import type { Completions } from "@/api";
import { Button, Card, IconButton } from "@/components/ui";
import { integer } from "@/lib/format";

import { CompletionGroups } from "./CompletionGroups";

interface Props {
  /** Oldest first; it grows while the run trains. */
  completions: readonly Completions[];
  /** What to say while there is none. */
  empty: string;
}

/** Which of the steps that showed completions is looked at; null is the newest, whichever that is. */
function StepChoice({
  completions,
  at,
  newest,
  onChoose,
}: {
  completions: readonly Completions[];
  at: number;
  newest: boolean;
  onChoose: (at: number | null) => void;
}) {
  const last = completions.length - 1;
  const step = completions[at]?.step;
  return (
    <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
      <span className="flex items-center gap-1">
        <IconButton
          icon={ChevronLeft}
          label="Previous step"
          size="sm"
          disabled={at === 0}
          onClick={() => onChoose(at - 1)}
        />
        <span className="min-w-20 text-center text-[0.8125rem] font-medium" aria-live="polite">
          step {integer(step)}
        </span>
        <IconButton
          icon={ChevronRight}
          label="Next step"
          size="sm"
          disabled={at >= last}
          onClick={() => onChoose(at + 1)}
        />
      </span>
      <input
        type="range"
        min={0}
        max={last}
        value={at}
        disabled={last === 0}
        onChange={(event) => onChoose(Number(event.target.value))}
        aria-label="Step of the completions"
        aria-valuetext={`step ${integer(step)}`}
        className="w-full accent-accent sm:w-48"
      />
      <Button size="sm" variant="ghost" icon={ChevronsRight} disabled={newest} onClick={() => onChoose(null)}>
        {newest ? "Newest" : "Jump to newest"}
      </Button>
    </div>
  );
}

/** What the model wrote and what that earned, step by step. */
export function CompletionsCard({ completions, empty }: Props) {
  const [chosen, setChosen] = useState<number | null>(null);
  const last = completions.length - 1;
  const wanted = chosen === null ? last : completions.findIndex(({ step }) => step === chosen);
  // A step that a resumed run has undone is gone: then the newest.
  const at = wanted < 0 ? last : wanted;
  const shown = completions[at];
  const choose = (place: number | null) => setChosen(place === null ? null : (completions[place]?.step ?? null));
  return (
    <Card
      title="Sampled completions"
      icon={MessagesSquare}
      description="Some of those that a step learned from: each reward, their weighted sum, and the lead over the others of the same prompt."
      actions={
        completions.length > 0 && (
          <StepChoice completions={completions} at={at} newest={chosen === null || at === last} onChoose={choose} />
        )
      }
    >
      {shown ? <CompletionGroups rows={shown.rows} /> : <p className="text-muted">{empty}</p>}
    </Card>
  );
}
