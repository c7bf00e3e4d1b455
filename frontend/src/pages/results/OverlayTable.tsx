import { X } from "lucide-react";
import { Link } from "react-router";

import type { RunSummary } from "@/api";
import { LineSwatch } from "@/components/chart";
import { Card, IconButton, Table, Td, Th } from "@/components/ui";
import { scoreOf, scoreText } from "@/features/metrics/score";
import { duration, integer, percent } from "@/lib/format";
import { familyOf } from "@/lib/methods";

import { Targets } from "./cells";
import { fall, improvement, runLink } from "./facts";
import { EDGES } from "./look";
import { lookAt } from "./overlay";
import { StateBadge } from "./StateBadge";

interface Props {
  runs: readonly RunSummary[];
  hidden: ReadonlySet<string>;
  /** Whether the losses are the same measurement, so that one can be the lowest. */
  comparable: boolean;
  onShow: (run: string, on: boolean) => void;
  onRemove: (run: string) => void;
}

/** The smallest of the values, if there are at least two. */
function smallest(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length < 2 ? null : Math.min(...known);
}

/** Figures of each run; its line can be hidden here. */
export function OverlayTable({ runs, hidden, comparable, onShow, onRemove }: Props) {
  const best = comparable ? smallest(runs.map((run) => run.best_loss)) : null;
  const last = comparable ? smallest(runs.map((run) => run.last_eval_loss)) : null;
  const rewards = runs.filter((run) => familyOf(run.method) === "rewards").length;
  const measure = rewards === 0 ? "Loss" : rewards === runs.length ? "Reward" : "Loss or reward";
  return (
    <Card
      title="Runs"
      description={`Untick a run to hide its lines.${comparable ? " The best are bold." : ""}`}
      flush
    >
      <Table label="Overlaid runs" className={EDGES}>
        <thead>
          <tr>
            <Th>Line</Th>
            <Th>Run</Th>
            <Th>State</Th>
            <Th>Targets</Th>
            <Th right>{`${measure} before`}</Th>
            <Th right>{`Best val. ${measure.toLowerCase()}`}</Th>
            <Th right>{`Last val. ${measure.toLowerCase()}`}</Th>
            <Th right>Steps</Th>
            <Th right>Time</Th>
            <Th right>Trained parameters</Th>
            <Th>
              <span className="sr-only">Remove</span>
            </Th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run, place) => {
            const share = improvement(run);
            const { kind, first, best: score, last: now } = scoreOf(run);
            return (
              <tr key={run.id}>
                <Td>
                  <label className="flex items-center gap-2 py-1">
                    <input
                      type="checkbox"
                      checked={!hidden.has(run.id)}
                      onChange={(event) => onShow(run.id, event.target.checked)}
                      aria-label={`Show the lines of ${run.adapter}`}
                      className="size-4 shrink-0 accent-accent"
                    />
                    <LineSwatch {...lookAt(place)} />
                  </label>
                </Td>
                <Td className="min-w-36">
                  <Link to={runLink(run.id)} className="font-medium text-accent hover:underline wrap-anywhere">
                    {run.adapter}
                  </Link>
                  <span className="block text-xs text-muted">{run.model_name}</span>
                </Td>
                <Td>
                  <StateBadge run={run} />
                </Td>
                <Td className="min-w-24">
                  <Targets run={run} />
                </Td>
                <Td right>{scoreText(kind, first)}</Td>
                <Td right>
                  <span className={best !== null && run.best_loss === best ? "font-bold" : ""}>
                    {scoreText(kind, score)}
                  </span>
                  {run.best_step !== null && (
                    <span className="block text-xs text-muted">
                      step {integer(run.best_step)}
                      {share !== null && share > 0 && `, ${fall(share)}`}
                    </span>
                  )}
                </Td>
                <Td right>
                  <span className={last !== null && run.last_eval_loss === last ? "font-bold" : ""}>
                    {scoreText(kind, now)}
                  </span>
                </Td>
                <Td right>{integer(run.step)}</Td>
                <Td right>{duration(run.seconds)}</Td>
                <Td right>
                  {integer(run.trainable)}
                  {run.trainable !== null && run.total !== null && (
                    <span className="block text-xs text-muted">{percent(run.trainable / run.total, 3)}</span>
                  )}
                </Td>
                <Td className="py-1!">
                  <IconButton
                    size="sm"
                    icon={X}
                    label={`Take ${run.adapter} off the overlay`}
                    onClick={() => onRemove(run.id)}
                  />
                </Td>
              </tr>
            );
          })}
        </tbody>
      </Table>
    </Card>
  );
}
