import { Cpu } from "lucide-react";
import { useState } from "react";

import { useGetSystemQuery } from "@/api";
import type { SystemReport } from "@/api";
import { Badge, Dialog, ErrorNote, Loading, Stat, Stats } from "@/components/ui";
import { cx } from "@/lib/cx";
import { bytes, integer } from "@/lib/format";
import { useConnection } from "@/state/hooks";
import type { Connection } from "@/state/live";

const STATES: Record<Connection, [string, string]> = {
  connecting: ["bg-warn", "Connecting"],
  live: ["bg-good", "Connected"],
  lost: ["bg-bad", "No connection"],
};

/** What the device is called, of whatever the report says about it. */
export function deviceName({ device }: SystemReport): string {
  const name = device["name"] ?? device["kind"] ?? device["device"];
  return typeof name === "string" ? name : "device";
}

function Details({ system }: { system: SystemReport }) {
  return (
    <div className="space-y-4">
      <Stats>
        <Stat label="Memory free" value={bytes(system.memory_available)} note={`of ${bytes(system.memory_total)}`} />
        <Stat label="Disk free" value={bytes(system.disk_free)} />
        <Stat label="Matrix product" value={`${integer(system.gflops)} GFLOP/s`} note="measured, float32" />
        <Stat label="Version" value={system.versions["droidft"] ?? "–"} />
      </Stats>
      <dl className="divide-y divide-line text-[0.8125rem]">
        {system.findings.map((finding) => (
          <div key={finding.name} className="grid gap-x-4 py-1.5 sm:grid-cols-[10rem_1fr]">
            <dt className="text-muted">{finding.name}</dt>
            <dd className="wrap-anywhere">
              {finding.value}
              {finding.fix !== "" && <p className="text-warn">{finding.fix}</p>}
            </dd>
          </div>
        ))}
        <div className="grid gap-x-4 py-1.5 sm:grid-cols-[10rem_1fr]">
          <dt className="text-muted">files may come from</dt>
          <dd className="font-mono text-xs wrap-anywhere">{system.roots.join(", ") || "the home folder only"}</dd>
        </div>
      </dl>
    </div>
  );
}

/** Connection, device and memory at a glance; everything `droidft doctor` says on a press. */
export function SystemStatus() {
  const connection = useConnection();
  const [open, setOpen] = useState(false);
  const { data, error, refetch } = useGetSystemQuery(undefined, {
    pollingInterval: 30_000,
    skipPollingIfUnfocused: true,
  });
  const [dot, word] = STATES[connection];
  const troubled = data && !data.ok;
  return (
    <>
      <button
        type="button"
        onClick={() => setOpen(true)}
        className="inline-flex h-9 min-w-0 items-center gap-2 rounded-md px-2 text-xs text-muted hover:bg-sunken hover:text-ink"
      >
        <span aria-hidden className={cx("size-2 shrink-0 rounded-full", dot)} />
        <span className="sr-only">System status: </span>
        <span className={connection === "live" ? "sr-only" : "whitespace-nowrap max-sm:sr-only"}>{word}</span>
        {data && connection === "live" && (
          <>
            <Cpu className="hidden size-3.5 shrink-0 lg:block" aria-hidden />
            <span className="hidden max-w-40 truncate lg:inline">{deviceName(data)}</span>
            <span className="hidden whitespace-nowrap sm:inline">{bytes(data.memory_available)} free</span>
          </>
        )}
      </button>
      <Dialog
        open={open}
        onClose={() => setOpen(false)}
        wide
        title={<>System {troubled && <Badge tone="warn">needs attention</Badge>}</>}
      >
        {data ? (
          <Details system={data} />
        ) : error ? (
          <ErrorNote error={error} onRetry={() => void refetch()} />
        ) : (
          <Loading />
        )}
      </Dialog>
    </>
  );
}
