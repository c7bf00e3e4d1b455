/** Every adapter folder: those of runs here, those of earlier programs, and those brought along. */

import { Boxes, RefreshCw, SearchX, SlidersHorizontal } from "lucide-react";
import { useState } from "react";

import { asApiError, useDeleteAdapterMutation, useListAdaptersQuery } from "@/api";
import type { AdapterEntry } from "@/api";
import { Button, Card, EmptyState, ErrorNote, LinkButton, Skeleton, TextField, useConfirm } from "@/components/ui";
import { bytes, count } from "@/lib/format";
import { useToast } from "@/state/hooks";

import { AdapterCard } from "./AdapterCard";
import { sentences } from "./facts";
import { Frame } from "./Frame";
import { More, useWindow } from "./More";

export function AdaptersPage() {
  const { currentData, error, isFetching, refetch } = useListAdaptersQuery(undefined, {
    refetchOnMountOrArgChange: true,
  });
  return (
    <Frame
      section="adapters"
      actions={
        <Button icon={RefreshCw} busy={isFetching && currentData !== undefined} onClick={() => void refetch()}>
          Refresh
        </Button>
      }
    >
      {error ? (
        <ErrorNote error={error} onRetry={() => void refetch()} />
      ) : !currentData ? (
        <div role="status" aria-label="Loading adapters" className="space-y-3">
          <Skeleton className="h-28 w-full" />
          <Skeleton className="h-28 w-full" />
        </div>
      ) : currentData.length === 0 ? (
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
        <AdapterList adapters={currentData} />
      )}
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
