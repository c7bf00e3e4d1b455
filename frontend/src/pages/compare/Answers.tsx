/** The comparison on the page: what was asked, the columns, the vote. */

import { Download, Eye, RefreshCw, Scale, Square, ThumbsDown, ThumbsUp } from "lucide-react";
import { useEffect, useRef } from "react";

import { Button, Card, CopyButton, ErrorNote, Loading, Note } from "@/components/ui";
import { cx } from "@/lib/cx";
import { capital, count, moment } from "@/lib/format";

import { AnswerColumn } from "./AnswerColumn";
import { sideName } from "./choices";
import { canVote, isHidden, letter } from "./comparison";
import type { Comparison, Vote } from "./comparison";
import { comparisonJson, download, fileName, markdown } from "./exports";

interface AnswersProps {
  comparison: Comparison;
  onStop: () => void;
  onRegenerate: () => void;
  onSeed: (seed: number) => void;
  onVote: (vote: Vote) => void;
  onReveal: () => void;
}

/** Characters of a prompt, of which four lines are seen. */
const MOST_SHOWN = 2000;

const COLUMNS: Record<number, string> = {
  1: "",
  2: "md:grid-cols-2",
  3: "md:grid-cols-2 lg:grid-cols-3",
  4: "md:grid-cols-2 xl:grid-cols-4",
};

export function Answers({ comparison, onStop, onRegenerate, onSeed, onVote, onReveal }: AnswersProps) {
  const { sides, phase, error, state } = comparison;
  const place = useBroughtIntoView(comparison);
  return (
    <div ref={place} className="scroll-mt-16 space-y-4">
      <Card
        title="Answers"
        description={`${comparison.request.model_name}, ${moment(comparison.at / 1000)}`}
        actions={<Actions comparison={comparison} onStop={onStop} onRegenerate={onRegenerate} />}
      >
        <p className="line-clamp-4 text-[0.8125rem] whitespace-pre-wrap wrap-anywhere">
          {comparison.request.prompt.slice(0, MOST_SHOWN)}
        </p>
        <Settings comparison={comparison} onSeed={onSeed} />
        {state === "running" && phase !== null && (
          <Loading className="mt-3 text-[0.8125rem]" label={`${capital(phase)} …`} />
        )}
        {error !== null && (
          <div className="mt-3">
            <ErrorNote error={error} />
          </div>
        )}
      </Card>
      <p role="status" className="sr-only">
        {said(comparison)}
      </p>
      <div className={cx("grid gap-4", COLUMNS[sides.length])}>
        {sides.map((_, index) => (
          <AnswerColumn key={index} comparison={comparison} index={index} />
        ))}
      </div>
      <BlindVote comparison={comparison} onVote={onVote} onReveal={onReveal} />
    </div>
  );
}

/** Scroll to answers that begin where they would not be seen. */
function useBroughtIntoView({ id, state }: Comparison) {
  const place = useRef<HTMLDivElement>(null);
  const begun = state === "running";
  useEffect(() => {
    const top = place.current?.getBoundingClientRect().top ?? 0;
    if (begun && top > window.innerHeight / 2) place.current?.scrollIntoView({ block: "start" });
  }, [id, begun]);
  return place;
}

/** For those who do not see the columns: once, when all is said. */
function said(comparison: Comparison): string {
  const { state, sides } = comparison;
  if (state === "running") return "";
  if (state === "stopped") return "Stopped.";
  if (state === "failed") return "";
  const failed = sides.filter((side) => side.error !== null);
  if (failed.length === 0) return `All answers are complete: ${count(sides.length, "answer")}.`;
  const names = isHidden(comparison)
    ? count(failed.length, "side")
    : failed.map((side) => sideName(side.adapter)).join(", ");
  return `Complete; could not answer: ${names}.`;
}

function Actions({ comparison, onStop, onRegenerate }: Pick<AnswersProps, "comparison" | "onStop" | "onRegenerate">) {
  const { state, request, at } = comparison;
  if (state === "running") {
    return (
      <Button size="sm" variant="danger" icon={Square} onClick={onStop}>
        Stop
      </Button>
    );
  }
  const json = comparisonJson(comparison);
  // What broke off is worth asking again in any case.
  const greedy = request.temperature === 0 && state === "done";
  return (
    <>
      <Button
        size="sm"
        icon={RefreshCw}
        disabled={greedy}
        title={
          greedy ? "At temperature 0 the answers would be the same" : "The same prompt and settings with another seed"
        }
        onClick={onRegenerate}
      >
        Regenerate
      </Button>
      {json !== null && (
        <>
          <CopyButton text={markdown(comparison)} label="Copy as Markdown" />
          <Button size="sm" icon={Download} onClick={() => download(fileName("droidft-comparison", at), json)}>
            Export
          </Button>
        </>
      )}
    </>
  );
}

function Settings({ comparison, onSeed }: { comparison: Comparison; onSeed: (seed: number) => void }) {
  const { request } = comparison;
  const parts = [
    `temperature ${request.temperature}`,
    `top-p ${request.top_p}`,
    `min-p ${request.min_p}`,
    `top-k ${request.top_k}`,
    ...(request.repetition_penalty === 1 ? [] : [`repetition penalty ${request.repetition_penalty}`]),
    `up to ${request.max_tokens} tokens`,
    ...(request.use_chat_template ? [] : ["no chat template"]),
    ...(request.system_prompt === null ? [] : ["with a system prompt"]),
  ];
  return (
    <p className="mt-2 text-xs text-muted">
      {parts.join(" · ")} · seed {request.seed}{" "}
      <button
        type="button"
        onClick={() => onSeed(request.seed)}
        className="rounded underline decoration-dotted underline-offset-2 hover:text-ink"
      >
        keep this seed
      </button>
    </p>
  );
}

interface BlindVoteProps {
  comparison: Comparison;
  onVote: (vote: Vote) => void;
  onReveal: () => void;
}

function BlindVote({ comparison, onVote, onReveal }: BlindVoteProps) {
  if (!comparison.blind) return null;
  if (!isHidden(comparison)) return <Revealed comparison={comparison} />;
  if (comparison.state === "running") return null;
  if (!canVote(comparison)) {
    return (
      <Note
        tone="neutral"
        title={
          comparison.state === "stopped"
            ? "It was stopped, so there is no vote."
            : "Not every side answered, so there is no vote."
        }
        actions={
          <Button size="sm" icon={Eye} onClick={onReveal}>
            Reveal the names
          </Button>
        }
      />
    );
  }
  const [first, ...rest] = comparison.sides.map((side) => side.text);
  const alike = rest.every((text) => text === first);
  const two = comparison.sides.length === 2;
  return (
    <Card title="Your vote" description="Names are revealed after you vote." className="border-accent">
      {alike && <p className="mb-3 text-[0.8125rem] text-muted">The answers are the same, word for word.</p>}
      <div className="flex flex-wrap gap-2" role="group" aria-label="Your vote">
        {comparison.sides.map((_, index) => (
          <Button key={index} icon={ThumbsUp} onClick={() => onVote(index)}>
            {letter(index)} is {two ? "better" : "best"}
          </Button>
        ))}
        <Button icon={Scale} onClick={() => onVote("tie")}>
          Tie
        </Button>
        <Button icon={ThumbsDown} onClick={() => onVote("bad")}>
          {two ? "Both are bad" : "All are bad"}
        </Button>
        <Button variant="ghost" icon={Eye} onClick={onReveal}>
          Reveal without a vote
        </Button>
      </div>
    </Card>
  );
}

function Revealed({ comparison }: { comparison: Comparison }) {
  return (
    <Note tone={comparison.vote === null ? "neutral" : "good"} title={verdict(comparison)} live>
      {comparison.sides.map((side, index) => `${letter(index)} was ${sideName(side.adapter)}`).join("; ")}.
    </Note>
  );
}

function verdict({ vote, sides }: Comparison): string {
  if (vote === null) return "Revealed without a vote: it does not count.";
  if (vote === "tie") return "You called it a tie.";
  if (vote === "bad") return sides.length === 2 ? "You rated both as bad." : "You rated all as bad.";
  return `You preferred ${letter(vote)}: ${sideName(sides[vote]?.adapter ?? null)}.`;
}
