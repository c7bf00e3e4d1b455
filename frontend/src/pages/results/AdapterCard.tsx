import { Columns2, Download, ShieldQuestion, Trash2 } from "lucide-react";
import { useState } from "react";
import { Link } from "react-router";

import { useGetAdapterQuery } from "@/api";
import type { AdapterEntry } from "@/api";
import { Badge, Button, Dialog, ErrorNote, IconButton, LinkButton, Loading, Note, Select } from "@/components/ui";
import { bytes, compact, count, integer, shortName, significant } from "@/lib/format";
import { useRun } from "@/state/hooks";

import { capital, compareLink, downloadLink, runLink } from "./facts";
import { Pairs } from "./Pairs";

interface Props {
  adapter: AdapterEntry;
  busy: boolean;
  onDelete: () => void;
}

/** `best`, `latest`, `step 200`. */
export function weightsLabel(which: string): string {
  return /^\d+$/.test(which) ? `step ${integer(Number(which))}` : which;
}

/** An adapter in the list: what it is, why it cannot be used, what can be done with it. */
export function AdapterCard({ adapter, busy, onDelete }: Props) {
  const preferred = adapter.weights.includes("best") ? "best" : (adapter.weights[0] ?? "latest");
  const [which, setWhich] = useState(preferred);
  const [open, setOpen] = useState(false);
  const chosen = adapter.weights.includes(which) ? which : preferred;
  const usable = adapter.problem === "" && adapter.weights.length > 0;
  const rank = adapter.rank === null ? null : `rank ${adapter.rank}`;
  const scale =
    adapter.scale === null ? null : `alpha ${significant(adapter.alpha, 4)}, factor ${significant(adapter.scale, 4)}`;
  return (
    <li className="flex min-w-0 flex-col gap-3 rounded-lg border border-line bg-surface p-4 shadow-card">
      <div className="flex items-start justify-between gap-3">
        <div className="min-w-0">
          <h2 className="font-semibold wrap-anywhere">{adapter.name}</h2>
          <p className="text-[0.8125rem] text-muted wrap-anywhere" title={adapter.base ?? undefined}>
            {adapter.base === null ? "base model not recorded" : `on ${shortName(adapter.base)}`}
          </p>
        </div>
        <span className="flex shrink-0 flex-wrap justify-end gap-1">
          {adapter.run === null && adapter.problem === "" && <Badge>not from a run here</Badge>}
          {adapter.problem === "" ? (
            <Badge tone="info">{adapter.fine_tune_type ?? "lora"}</Badge>
          ) : (
            <Badge tone="bad">cannot be used</Badge>
          )}
        </span>
      </div>
      {adapter.problem !== "" && <Note tone="bad" title={capital(adapter.problem)} />}
      {adapter.problem === "" && (
        <p className="text-[0.8125rem] text-muted">
          {[
            rank,
            scale,
            adapter.blocks > 0 ? count(adapter.blocks, "block") : null,
            adapter.modules.length > 0 ? count(adapter.modules.length, "module") : null,
            adapter.parameters > 0 ? `${compact(adapter.parameters)} parameters` : null,
            bytes(adapter.bytes),
          ]
            .filter(Boolean)
            .join(" · ")}
        </p>
      )}
      {adapter.run !== null && <MadeBy run={adapter.run} />}
      <div className="mt-auto flex flex-wrap items-end gap-2">
        {usable && (
          <>
            <Select
              label="Weights"
              className="w-36"
              value={chosen}
              onValue={setWhich}
              options={adapter.weights.map((value) => ({ value, label: weightsLabel(value) }))}
            />
            <LinkButton icon={Download} download to={downloadLink(adapter.name, chosen)}>
              Download
            </LinkButton>
            {adapter.base !== null && (
              <LinkButton icon={Columns2} to={compareLink(adapter.base, `${adapter.name}@${chosen}`)}>
                Compare
              </LinkButton>
            )}
          </>
        )}
        <Button icon={ShieldQuestion} onClick={() => setOpen(true)}>
          Examine
        </Button>
        <IconButton
          icon={Trash2}
          label={`Delete ${adapter.name}`}
          className="ml-auto"
          busy={busy}
          onClick={onDelete}
        />
      </div>
      <Dialog open={open} onClose={() => setOpen(false)} title={`${adapter.name}, ${weightsLabel(chosen)}`} wide>
        {open && <Examination adapter={adapter} which={chosen} />}
      </Dialog>
    </li>
  );
}

function MadeBy({ run }: { run: string }) {
  const known = useRun(run);
  return (
    <p className="text-[0.8125rem] text-muted wrap-anywhere">
      {known ? (
        <>
          Made by run{" "}
          <Link to={runLink(run)} className="text-accent hover:underline">
            {run}
          </Link>
        </>
      ) : (
        `Made by run ${run}, which is no longer here`
      )}
    </p>
  );
}

/** Its facts, and what may be wrong with it on the model it was trained on. */
function Examination({ adapter, which }: { adapter: AdapterEntry; which: string }) {
  const [alone, setAlone] = useState(false);
  const model = alone ? null : adapter.base;
  const { currentData, error, isFetching, refetch } = useGetAdapterQuery({
    name: adapter.name,
    which,
    ...(model === null ? {} : { model }),
  });
  return (
    <div className="space-y-4">
      {error ? (
        <>
          <ErrorNote error={error} onRetry={() => void refetch()} />
          {model !== null && <Button onClick={() => setAlone(true)}>Examine it without its model</Button>}
        </>
      ) : isFetching || !currentData ? (
        <Loading
          label={
            model === null ? "Examining…" : "Examining it against its model; the first look at a model takes a while…"
          }
        />
      ) : currentData.warnings.length === 0 ? (
        <Note tone="good" title="No problems found.">
          {model === null ? "It was examined without its model." : `It was examined on ${shortName(model)}.`}
        </Note>
      ) : (
        <ul className="space-y-2">
          {currentData.warnings.map((warning) => (
            <li key={`${warning.code} ${warning.message}`}>
              <Note tone="warn">{capital(warning.message)}</Note>
            </li>
          ))}
        </ul>
      )}
      <Pairs
        rows={[
          ["Base model", adapter.base ?? "not recorded"],
          ["Kind", [adapter.fine_tune_type, adapter.method].filter(Boolean).join(", ") || "not recorded"],
          ["Rank", adapter.rank === null ? "–" : String(adapter.rank)],
          ["Alpha", significant(adapter.alpha, 4)],
          ["Factor on the update", significant(adapter.scale, 4)],
          ["Blocks", integer(adapter.blocks)],
          ["Modules", adapter.modules.join(", ") || "–"],
          ["Parameters", integer(adapter.parameters)],
          ["Weights", adapter.weights.map(weightsLabel).join(", ") || "none"],
          ["Size", bytes(adapter.bytes)],
        ]}
      />
    </div>
  );
}
