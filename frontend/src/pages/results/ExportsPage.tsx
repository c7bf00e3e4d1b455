/** Everything that was exported, and what is being exported. */

import { PackageOpen, RefreshCw } from "lucide-react";
import { useEffect } from "react";
import { Link } from "react-router";

import { useListExportsQuery } from "@/api";
import type { ExportEntry } from "@/api";
import { Answered, Badge, Button, Card, EmptyState, LinkButton, Note, Skeletons } from "@/components/ui";
import { JobProgress } from "@/features/exports/JobProgress";
import { exportPage, stateOf } from "@/features/exports/links";
import { bytes, loss, moment } from "@/lib/format";
import { useExportJobs } from "@/state/hooks";

import { capital } from "./facts";
import { Frame, More, useWindow } from "./parts";

export function ExportsPage() {
  const exports = useListExportsQuery(undefined, { refetchOnMountOrArgChange: true, refetchOnFocus: true });
  const { data, isFetching, refetch } = exports;
  const running = useExportJobs().filter((job) => job.state === "running");
  useEffect(() => {
    void refetch();
  }, [running.length, refetch]);
  return (
    <Frame
      section="exports"
      actions={
        <>
          <Button icon={RefreshCw} busy={isFetching && data !== undefined} onClick={() => void refetch()}>
            Refresh
          </Button>
          <LinkButton to="/results/export" icon={PackageOpen} variant="primary">
            New export
          </LinkButton>
        </>
      }
    >
      <div className="space-y-4">
        {running.map((job) => (
          <JobProgress key={job.id} job={job} />
        ))}
        <Answered
          query={exports}
          waiting={<Skeletons label="Loading exports" heights={["h-24", "h-24"]} gap="space-y-3" />}
        >
          {(known) => <ExportList exports={known} />}
        </Answered>
      </div>
    </Frame>
  );
}

function ExportList({ exports }: { exports: readonly ExportEntry[] }) {
  const window = useWindow(exports);
  if (exports.length === 0) {
    return (
      <Card>
        <EmptyState
          icon={PackageOpen}
          title="Nothing has been exported yet."
          actions={<LinkButton to="/results/adapters">Choose an adapter</LinkButton>}
        >
          An export makes of an adapter what other programs read: Ollama, LM Studio, llama.cpp, vLLM, transformers.
          Each comes with a certificate that says whether it is what was trained.
        </EmptyState>
      </Card>
    );
  }
  return (
    <>
      <ul className="grid gap-3 lg:grid-cols-2" aria-label="Exports">
        {exports.slice(0, window.count).map((entry) => (
          <ExportItem key={entry.name} entry={entry} />
        ))}
      </ul>
      <More shown={window.count} of={exports.length} more={window.more} />
    </>
  );
}

function ExportItem({ entry }: { entry: ExportEntry }) {
  const { label, tone } = stateOf(entry);
  const { certificate } = entry;
  return (
    <li className="flex min-w-0 flex-col gap-2 rounded-lg border border-line bg-surface p-4 shadow-card">
      <div className="flex items-start justify-between gap-3">
        <h2 className="min-w-0 font-semibold wrap-anywhere">
          <Link to={exportPage(entry.name)} className="hover:underline">
            {entry.name}
          </Link>
        </h2>
        <Badge tone={tone}>{label}</Badge>
      </div>
      {entry.problem !== "" && <Note tone="bad" title={capital(entry.problem)} />}
      <p className="text-[0.8125rem] text-muted">
        {[certificate?.form, certificate?.quantisation, bytes(entry.bytes), moment(entry.made)]
          .filter(Boolean)
          .join(" · ")}
      </p>
      {certificate && (
        <p className="text-[0.8125rem]">
          {`Loss ${loss(certificate.loss.exported)} exported, ${loss(certificate.loss.trained)} trained, ${loss(certificate.loss.base)} base`}
        </p>
      )}
    </li>
  );
}
