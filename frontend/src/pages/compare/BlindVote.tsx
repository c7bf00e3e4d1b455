/** The vote of a blind comparison. */

import { Eye, Scale, ThumbsDown, ThumbsUp } from "lucide-react";

import { Button, Card, Note } from "@/components/ui";

import { sideName } from "./choices";
import { canVote, isHidden, letter } from "./comparison";
import type { Comparison, Vote } from "./comparison";

export interface BlindVoteProps {
  comparison: Comparison;
  onVote: (vote: Vote) => void;
  onReveal: () => void;
}

export function BlindVote({ comparison, onVote, onReveal }: BlindVoteProps) {
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
