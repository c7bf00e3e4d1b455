/** Two to eight runs over one another: figures, curves, and the settings in which they differ. */

import { ArrowLeft, Layers } from "lucide-react";
import { useMemo, useState } from "react";
import { Link, useSearchParams } from "react-router";

import type { RunSummary } from "@/api";
import { EmptyState, LinkButton, Note, PageHeader, Select, Skeleton } from "@/components/ui";
import { count } from "@/lib/format";
import { useRuns } from "@/state/hooks";

import { changed } from "./filter";
import { OverlayCurves } from "./OverlayCurves";
import { OverlayDiff, UnlikeNote, useUnlike } from "./OverlayDiff";
import { OverlayTable } from "./OverlayTable";
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
      <Link to={back} className="mb-2 inline-flex items-center gap-1 text-[0.8125rem] text-muted hover:text-ink">
        <ArrowLeft className="size-4" aria-hidden />
        All runs
      </Link>
      <PageHeader
        title={chosen.length > 1 ? `Overlay of ${count(chosen.length, "run")}` : "Overlay"}
        description="The same curves on the same axes, and the settings in which the runs differ."
        actions={<AddRun runs={runs} chosen={chosen} onAdd={(id) => setRuns([...chosen.map((run) => run.id), id])} />}
      />
      {!ready ? (
        <div role="status" aria-label="Loading runs" className="space-y-5">
          <Skeleton className="h-40 w-full" />
          <Skeleton className="h-80 w-full" />
        </div>
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
