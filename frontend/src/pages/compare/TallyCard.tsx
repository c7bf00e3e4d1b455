/** What the blind votes on a set of sides add up to, and how sure that is. */

import { Download, Trash2 } from "lucide-react";

import { useGetSharesQuery } from "@/api";
import type { Shares } from "@/api";
import { Button, Card, Disclosure, ErrorNote, useConfirm } from "@/components/ui";
import { count, percent } from "@/lib/format";
import { useStored } from "@/lib/stored";

import { sideName } from "./choices";
import { download, fileName, votesJson } from "./exports";
import { inSet, setKey, tally, votesStore } from "./votes";
import type { Ballot, Counted } from "./votes";

type Sides = readonly (string | null)[];

export function TallyCard({ model, sides }: { model: string; sides: Sides }) {
  const ballots = useStored(votesStore);
  const key = setKey(model, sides);
  const own = inSet(ballots, key);
  const others = groups(ballots).filter((group) => group.key !== key);
  return (
    <Card title="Blind votes" description={`${model}: ${sides.map(sideName).join(" against ")}`}>
      {own.length === 0 ? (
        <p className="text-[0.8125rem] text-muted">
          No votes on these sides yet. Turn on Blind, ask, and say which answer is better without knowing whose it is.
        </p>
      ) : (
        <SetTally model={model} sides={sides} ballots={own} />
      )}
      {others.length > 0 && (
        <div className="mt-4 space-y-1 border-t border-line pt-3">
          <h3 className="text-xs font-medium text-muted">Other sets</h3>
          {others.map((group) => (
            <Disclosure
              key={group.key}
              title={
                <span className="wrap-anywhere">
                  {group.model}: {group.sides.map(sideName).join(" against ")}
                </span>
              }
              aside={count(group.ballots.length, "vote")}
            >
              <SetTally model={group.model} sides={group.sides} ballots={group.ballots} />
            </Disclosure>
          ))}
        </div>
      )}
    </Card>
  );
}

interface Group {
  key: string;
  model: string;
  sides: Sides;
  ballots: Ballot[];
}

function groups(ballots: readonly Ballot[]): Group[] {
  const found = new Map<string, Group>();
  for (const ballot of ballots) {
    const key = setKey(ballot.model, ballot.shown);
    const group = found.get(key) ?? { key, model: ballot.model, sides: [...ballot.shown].sort(), ballots: [] };
    group.ballots.push(ballot);
    found.set(key, group);
  }
  return [...found.values()].reverse();
}

function SetTally({ model, sides, ballots }: { model: string; sides: Sides; ballots: Ballot[] }) {
  const [ask, dialog] = useConfirm();
  const counted = tally(ballots, sides);
  const { currentData: found, error, refetch } = useGetSharesQuery({ wins: counted.sides.map(({ wins }) => wins) });
  const reset = async () => {
    const sure = await ask({
      title: `Delete ${count(ballots.length, "vote")}?`,
      text: "The count for these sides begins again at zero. This cannot be undone.",
      confirm: "Delete the votes",
      danger: true,
    });
    const ids = new Set(ballots.map((ballot) => ballot.id));
    if (sure) votesStore.update((all) => all.filter((ballot) => !ids.has(ballot.id)));
  };
  return (
    <div className="space-y-4">
      {dialog}
      <p className="text-[0.8125rem]">
        {found && <strong className="font-semibold">{verdict(counted, found)}</strong>}{" "}
        <span className="text-muted">
          {count(counted.votes, "vote")}: {count(counted.decisive, "decisive", "decisive")},{" "}
          {count(counted.ties, "tie")}, {counted.bad} {sides.length === 2 ? "both bad" : "all bad"}.
        </span>
      </p>
      {error && <ErrorNote error={error} onRetry={() => void refetch()} />}
      {found && counted.decisive > 0 && (
        <ul className="space-y-3">
          {counted.sides.map(({ adapter, wins }, at) => (
            <li key={adapter ?? ""}>
              <SideRow
                name={sideName(adapter)}
                won={`${wins} of ${counted.decisive}`}
                share={found.shares[at]}
                chance={found.chance}
              />
            </li>
          ))}
        </ul>
      )}
      {found && <p className="text-xs text-muted">{footnote(found)}</p>}
      <div className="flex flex-wrap gap-2">
        <Button
          size="sm"
          icon={Download}
          disabled={!found}
          onClick={() =>
            found && download(fileName("droidft-votes", Date.now()), votesJson(model, ballots, counted, found))
          }
        >
          Export the votes
        </Button>
        <Button size="sm" variant="ghost" icon={Trash2} onClick={() => void reset()}>
          Reset
        </Button>
      </div>
    </div>
  );
}

/** A sentence that claims no more than the interval does. */
export function verdict({ decisive, sides }: Counted, { shares, chance, preferred }: Shares): string {
  if (decisive === 0) return "No decisive votes yet.";
  if (preferred === null) return "No preference detectable yet.";
  const against = sides.length === 2 ? "" : `, where chance alone gives ${percent(chance, 0)}`;
  return `${sideName(sides[preferred]?.adapter ?? null)} is preferred: ${percent(shares[preferred]?.share, 0)} of the decisive votes${against}.`;
}

function footnote({ chance, level, shares }: Shares): string {
  const interval =
    shares.length === 2
      ? "Shares are of the decisive votes, with their 95 % interval (Wilson)."
      : `Shares are of the decisive votes, with intervals (Wilson) at ${percent(level)} each, so that all of them hold together with 95 %.`;
  return (
    `${interval} While it includes ${percent(chance, 0)}, chance alone explains the votes. ` +
    `Decide the number of votes in advance: stopping as soon as the interval excludes ${percent(chance, 0)} shows preferences that do not exist.`
  );
}

interface SideRowProps {
  name: string;
  won: string;
  share: Shares["shares"][number] | undefined;
  chance: number;
}

function SideRow({ name, won, share: found, chance }: SideRowProps) {
  if (!found) return null;
  const { share, low, high } = found;
  return (
    <div>
      <div className="flex flex-wrap items-baseline justify-between gap-x-3 text-[0.8125rem]">
        <span className="font-medium wrap-anywhere">{name}</span>
        <span>
          {won} · {percent(share, 0)}{" "}
          <span className="text-muted">
            ({percent(low, 0)} to {percent(high, 0)})
          </span>
        </span>
      </div>
      <div aria-hidden className="relative mt-1.5 h-2 rounded-full bg-sunken">
        <div
          className="absolute inset-y-0 rounded-full bg-accent opacity-40"
          style={{ left: `${low * 100}%`, width: `${(high - low) * 100}%` }}
        />
        <div className="absolute -inset-y-1 w-px bg-edge" style={{ left: `${chance * 100}%` }} />
        {share !== null && (
          <div
            className="absolute top-0 size-2 -translate-x-1/2 rounded-full bg-accent"
            style={{ left: `${share * 100}%` }}
          />
        )}
      </div>
    </div>
  );
}
