/** Two to eight runs over one another: figures, curves, and the settings in which they differ. */

import { Layers, X } from "lucide-react";
import { useMemo, useState } from "react";
import { Link, useSearchParams } from "react-router";

import { useDiffRunsQuery } from "@/api";
import type { RunSummary } from "@/api";
import { LineSwatch } from "@/components/chart";
import {
  BackLink,
  Card,
  EmptyState,
  ErrorNote,
  IconButton,
  LinkButton,
  Note,
  PageHeader,
  Select,
  Skeleton,
  Skeletons,
  Table,
  Td,
  Th,
} from "@/components/ui";
import { labelOf } from "@/features/form/labels";
import { settingText } from "@/features/form/settingText";
import { scoreOf, scoreText } from "@/features/metrics/score";
import { runLink, StateBadge } from "@/features/runs/state";
import { cx } from "@/lib/cx";
import { count, duration, integer, percent } from "@/lib/format";
import { familyOf } from "@/lib/methods";
import { useRuns } from "@/state/hooks";

import { fall, improvement } from "./facts";
import { changed } from "./filter";
import { lookAt, unlikeMeasures } from "./overlay";
import { OverlayCurves } from "./OverlayCurves";
import { EDGES } from "./parts";
import { Targets } from "./RunList";
import { MOST_OVERLAID } from "./RunsPage";

export default function OverlayPage() {
  const [params, setParams] = useSearchParams();
  const { runs, ready } = useRuns();
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const named = [...new Set(params.getAll("run"))];
  const key = named.join(" ");
  const chosen = useMemo(() => {
    const byId = new Map(runs.map((run) => [run.id, run]));
    return key
      .split(" ")
      .map((id) => byId.get(id))
      .filter((run) => run !== undefined)
      .slice(0, MOST_OVERLAID);
  }, [key, runs]);
  const unlike = useUnlike(chosen);
  const lost = ready ? named.filter((id) => !runs.some((run) => run.id === id)) : [];

  const setRuns = (ids: readonly string[]) =>
    setParams(
      (before) => {
        const next = changed(before, { run: "" });
        for (const id of ids) next.append("run", id);
        return next;
      },
      { replace: true },
    );
  const show = (run: string, on: boolean) =>
    setHidden((before) => new Set(on ? [...before].filter((id) => id !== run) : [...before, run]));
  const back = `/results?${new URLSearchParams(named.map((id) => ["pick", id])).toString()}`;

  return (
    <>
      <BackLink to={back}>All runs</BackLink>
      <PageHeader
        title={chosen.length > 1 ? `Overlay of ${count(chosen.length, "run")}` : "Overlay"}
        description="The same curves on the same axes, and the settings in which the runs differ."
        actions={<AddRun runs={runs} chosen={chosen} onAdd={(id) => setRuns([...chosen.map((run) => run.id), id])} />}
      />
      {!ready ? (
        <Skeletons label="Loading runs" heights={["h-40", "h-80"]} />
      ) : (
        <div className="space-y-5">
          {lost.length > 0 && (
            <Note
              tone="warn"
              title={`${count(lost.length, "run")} of the address ${lost.length === 1 ? "does" : "do"} not exist (any more).`}
            >
              {lost.join(", ")}
            </Note>
          )}
          {named.length > MOST_OVERLAID && (
            <Note tone="warn" title={`Only the first ${MOST_OVERLAID} runs are shown.`} />
          )}
          {chosen.length < 2 ? (
            <EmptyState
              icon={Layers}
              title="At least two runs are needed."
              actions={<LinkButton to={back}>Choose runs</LinkButton>}
            >
              Tick them in the list, or add one above.
            </EmptyState>
          ) : (
            <>
              <OverlayTable
                runs={chosen}
                hidden={hidden}
                comparable={unlike?.length === 0}
                onShow={show}
                onRemove={(id) => setRuns(chosen.map((run) => run.id).filter((kept) => kept !== id))}
              />
              {unlike !== undefined && unlike.length > 0 && <UnlikeNote settings={unlike} />}
              <OverlayCurves runs={chosen} hidden={hidden} />
              <OverlayDiff runs={chosen} />
            </>
          )}
        </div>
      )}
    </>
  );
}

function AddRun({
  runs,
  chosen,
  onAdd,
}: {
  runs: readonly RunSummary[];
  chosen: readonly RunSummary[];
  onAdd: (run: string) => void;
}) {
  const others = runs.filter((run) => !chosen.includes(run) && run.state !== "unreadable");
  if (others.length === 0 || chosen.length >= MOST_OVERLAID) return null;
  return (
    <Select
      label="Add a run"
      className="w-60 max-w-full"
      value=""
      onValue={(id) => id !== "" && onAdd(id)}
      options={[
        { value: "", label: "Choose…" },
        ...others.map((run) => ({
          value: run.id,
          label: run.adapter === run.id ? run.id : `${run.adapter} (${run.id})`,
        })),
      ]}
    />
  );
}

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
function OverlayTable({ runs, hidden, comparable, onShow, onRemove }: Props) {
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
                  <StateBadge run={run} exact />
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

/** The differing settings that keep the runs' losses from being compared; undefined until it is known. */
function useUnlike(runs: readonly RunSummary[]): string[] | undefined {
  const { currentData } = useDiffRunsQuery({ run: runs.map((run) => run.id) }, { skip: runs.length < 2 });
  return currentData && unlikeMeasures(currentData);
}

/** Said where the runs' losses cannot be compared with one another. */
function UnlikeNote({ settings }: { settings: readonly string[] }) {
  return (
    <Note tone="warn" title="These losses are not the same measurement.">
      The runs differ in: {settings.map(labelOf).join(", ")}. So their validation sets or tokens differ too. Each
      curve can be read by itself, but the losses do not say which run is better.
    </Note>
  );
}

/** Only the settings that differ. The adapters' names always do, and stand above anyway. */
function OverlayDiff({ runs }: { runs: readonly RunSummary[] }) {
  const { currentData, error, refetch } = useDiffRunsQuery({ run: runs.map((run) => run.id) });
  const rows = currentData?.rows.filter((row) => row.name !== "adapter_name") ?? [];
  const place = (id: string) => runs.findIndex((run) => run.id === id);
  return (
    <Card
      title="Settings that differ"
      description={rows.length > 0 ? "Values that are those of the first run are grey." : undefined}
      flush={rows.length > 0}
    >
      {error ? (
        <ErrorNote error={error} onRetry={() => void refetch()} />
      ) : !currentData ? (
        <Skeleton className="h-24 w-full" />
      ) : rows.length === 0 ? (
        <p className="text-muted">None: these runs have the same settings.</p>
      ) : (
        <Table label="Settings by run" className={EDGES}>
          <thead>
            <tr>
              <Th>Setting</Th>
              {currentData.runs.map((id) => (
                <Th key={id}>
                  <span className="flex items-center gap-2 whitespace-normal">
                    <LineSwatch {...lookAt(Math.max(0, place(id)))} />
                    <span className="wrap-anywhere">{runs[place(id)]?.adapter ?? id}</span>
                  </span>
                </Th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.name}>
                <Td className="min-w-40">
                  {labelOf(row.name)}
                  <span className="block font-mono text-xs text-muted">{row.name}</span>
                </Td>
                {row.values.map((value, at) => (
                  <Td
                    key={currentData.runs[at] ?? at}
                    className={cx("min-w-24 wrap-anywhere", at > 0 && same(value, row.values[0]) && "text-muted")}
                  >
                    {settingText(value)}
                  </Td>
                ))}
              </tr>
            ))}
          </tbody>
        </Table>
      )}
    </Card>
  );
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
