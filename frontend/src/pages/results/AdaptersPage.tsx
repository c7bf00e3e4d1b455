/** Every adapter folder: those of runs here, those of earlier programs, and those brought along. */

import {
  Boxes,
  Columns2,
  Download,
  PackageOpen,
  RefreshCw,
  SearchX,
  ShieldQuestion,
  SlidersHorizontal,
  Trash2,
} from "lucide-react";
import { useState } from "react";
import { Link } from "react-router";

import { asApiError, useDeleteAdapterMutation, useGetAdapterQuery, useListAdaptersQuery } from "@/api";
import type { AdapterEntry } from "@/api";
import {
  Answered,
  Badge,
  Button,
  Card,
  Dialog,
  EmptyState,
  ErrorNote,
  IconButton,
  LinkButton,
  Loading,
  Note,
  Select,
  Skeletons,
  TextField,
  useConfirm,
} from "@/components/ui";
import { compareLink, exportLink, runLink } from "@/features/runs/state";
import { bytes, compact, count, integer, shortName, significant } from "@/lib/format";
import { useRun, useToast } from "@/state/hooks";

import { weightsLabel } from "./ExportSettings";
import { capital, downloadLink, sentences } from "./facts";
import { Frame, More, Pairs, useWindow } from "./parts";

export function AdaptersPage() {
  const adapters = useListAdaptersQuery(undefined, { refetchOnMountOrArgChange: true });
  const { data, isFetching, refetch } = adapters;
  return (
    <Frame
      section="adapters"
      actions={
        <Button icon={RefreshCw} busy={isFetching && data !== undefined} onClick={() => void refetch()}>
          Refresh
        </Button>
      }
    >
      <Answered
        query={adapters}
        waiting={<Skeletons label="Loading adapters" heights={["h-28", "h-28"]} gap="space-y-3" />}
      >
        {(known) =>
          known.length === 0 ? (
            <Card>
              <EmptyState
                icon={Boxes}
                title="No adapter yet."
                actions={
                  <LinkButton to="/setup" icon={SlidersHorizontal} variant="primary">
                    Train one
                  </LinkButton>
                }
              >
                A run saves its adapter with its first checkpoint. Folders made by mlx-lm can be put into{" "}
                <code className="font-mono text-[0.8125rem]">adapters/</code> of the home folder.
              </EmptyState>
            </Card>
          ) : (
            <AdapterList adapters={known} />
          )
        }
      </Answered>
    </Frame>
  );
}

function matches(adapter: AdapterEntry, text: string): boolean {
  const all = `${adapter.name} ${adapter.base ?? ""} ${adapter.method ?? ""} ${adapter.problem} ${adapter.run ?? ""}`;
  return text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => all.toLowerCase().includes(word));
}

function AdapterList({ adapters }: { adapters: readonly AdapterEntry[] }) {
  const [text, setText] = useState("");
  const [ask, dialog] = useConfirm();
  const [busy, setBusy] = useState<string | null>(null);
  const [deleteAdapter] = useDeleteAdapterMutation();
  const toast = useToast();
  const shown = adapters.filter((adapter) => matches(adapter, text));
  const window = useWindow(shown);

  const remove = async (adapter: AdapterEntry) => {
    const sure = await ask({
      title: `Delete the adapter ${adapter.name}?`,
      text: `All its weights go (${count(adapter.weights.length, "version")}, ${bytes(adapter.bytes)})${adapter.run === null ? "" : `; the history of run ${adapter.run} stays`}. This cannot be undone.`,
      confirm: "Delete adapter",
      danger: true,
    });
    if (!sure) return;
    setBusy(adapter.name);
    try {
      await deleteAdapter({ name: adapter.name }).unwrap();
      toast({ tone: "info", title: `${adapter.name} was deleted` });
    } catch (caught) {
      const { message, hint } = asApiError(caught);
      toast({ tone: "bad", title: `${adapter.name} could not be deleted`, text: sentences(message, hint) });
    } finally {
      setBusy(null);
    }
  };

  return (
    <div className="space-y-4">
      <search className="block max-w-sm">
        <TextField label="Search" type="search" value={text} onValue={setText} placeholder="name, model, run" />
      </search>
      <p role="status" className="text-[0.8125rem] text-muted">
        {shown.length === adapters.length
          ? count(adapters.length, "adapter")
          : `${shown.length} of ${count(adapters.length, "adapter")}`}
      </p>
      {shown.length === 0 ? (
        <Card>
          <EmptyState
            icon={SearchX}
            title="No adapter matches."
            actions={<Button onClick={() => setText("")}>Show all adapters</Button>}
          />
        </Card>
      ) : (
        <ul className="grid gap-3 lg:grid-cols-2" aria-label="Adapters">
          {shown.slice(0, window.count).map((adapter) => (
            <AdapterCard
              key={adapter.name}
              adapter={adapter}
              busy={busy === adapter.name}
              onDelete={() => void remove(adapter)}
            />
          ))}
        </ul>
      )}
      <More shown={window.count} of={shown.length} more={window.more} />
      {dialog}
    </div>
  );
}

interface Props {
  adapter: AdapterEntry;
  busy: boolean;
  onDelete: () => void;
}

/** An adapter in the list: what it is, why it cannot be used, what can be done with it. */
function AdapterCard({ adapter, busy, onDelete }: Props) {
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
            <LinkButton icon={PackageOpen} to={exportLink(`${adapter.name}@${chosen}`)}>
              Export
            </LinkButton>
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
