/** One export: whether it is what was trained, its files, and how to use it elsewhere. */

import { Download, FileX, Trash2 } from "lucide-react";
import { useState } from "react";
import { useNavigate, useParams } from "react-router";

import { asApiError, useDeleteExportMutation, useGetExportQuery } from "@/api";
import type { ExportEntry, Way } from "@/api";
import {
  BackLink,
  Badge,
  Button,
  Card,
  CodeBlock,
  CopyButton,
  EmptyState,
  ErrorNote,
  LinkButton,
  Note,
  PageHeader,
  Skeletons,
  useConfirm,
} from "@/components/ui";
import { CertificateCard, Verdict } from "@/features/exports/CertificateCard";
import { archiveLink, stateOf } from "@/features/exports/links";
import { PushCard } from "@/features/exports/PushCard";
import { bytes, count, moment } from "@/lib/format";
import { useToast } from "@/state/hooks";

import { capital, sentences } from "./facts";

export default function ExportPage() {
  const { name = "" } = useParams();
  const { currentData, error, refetch } = useGetExportQuery({ name }, { refetchOnMountOrArgChange: true });
  const gone = asApiError(error).status === 404;
  return (
    <>
      <BackLink to="/results/exports">All exports</BackLink>
      {currentData ? (
        <OneExport entry={currentData} />
      ) : (
        <>
          <PageHeader title={name} />
          {gone ? (
            <EmptyState
              icon={FileX}
              title="There is no such export."
              actions={<LinkButton to="/results/exports">All exports</LinkButton>}
            >
              It was deleted, or the address is mistyped.
            </EmptyState>
          ) : error ? (
            <ErrorNote error={error} onRetry={() => void refetch()} />
          ) : (
            <Skeletons label="Loading the export" heights={["h-20", "h-72"]} />
          )}
        </>
      )}
    </>
  );
}

function OneExport({ entry }: { entry: ExportEntry }) {
  const { certificate, usage } = entry;
  const failed = certificate?.verdict === "failed";
  return (
    <>
      <Header entry={entry} />
      <div className="space-y-5">
        {certificate && <Verdict certificate={certificate} />}
        {entry.problem !== "" && <Note tone="bad" title={capital(entry.problem)} />}
        <div className="grid items-start gap-5 lg:grid-cols-2">
          <div className="min-w-0 space-y-5">
            {certificate && <CertificateCard certificate={certificate} />}
            {certificate && <Repeat command={certificate.command} />}
          </div>
          <div className="min-w-0 space-y-5">
            <Files entry={entry} failed={failed} />
            {certificate && !failed && entry.problem === "" && <PushCard entry={entry} />}
            {usage.length > 0 && <Usage ways={usage} />}
          </div>
        </div>
      </div>
    </>
  );
}

function Header({ entry }: { entry: ExportEntry }) {
  const [ask, dialog] = useConfirm();
  const [busy, setBusy] = useState(false);
  const [deleteExport] = useDeleteExportMutation();
  const navigate = useNavigate();
  const toast = useToast();
  const { label, tone } = stateOf(entry);
  const { certificate } = entry;

  const remove = async () => {
    const sure = await ask({
      title: `Delete the export ${entry.name}?`,
      text: `Its folder goes (${bytes(entry.bytes)}). The adapter stays, and can be exported again.`,
      confirm: "Delete export",
      danger: true,
    });
    if (!sure) return;
    setBusy(true);
    try {
      await deleteExport({ name: entry.name }).unwrap();
      toast({ tone: "info", title: `${entry.name} was deleted` });
      void navigate("/results/exports", { replace: true });
    } catch (caught) {
      setBusy(false);
      const { message, hint } = asApiError(caught);
      toast({ tone: "bad", title: `${entry.name} could not be deleted`, text: sentences(message, hint) });
    }
  };

  return (
    <>
      <PageHeader
        title={
          <span className="flex flex-wrap items-center gap-x-3 gap-y-1">
            {entry.name} <Badge tone={tone}>{label}</Badge>
          </span>
        }
        description={[certificate?.form, certificate?.quantisation, bytes(entry.bytes), moment(entry.made)]
          .filter(Boolean)
          .join(" · ")}
        actions={
          <Button size="sm" variant="danger" icon={Trash2} busy={busy} onClick={() => void remove()}>
            Delete
          </Button>
        }
      />
      {dialog}
    </>
  );
}

function Files({ entry, failed }: { entry: ExportEntry; failed: boolean }) {
  const files = Object.keys(entry.certificate?.hashes.files ?? {});
  return (
    <Card
      title="Files"
      description={files.length > 0 ? `${count(files.length, "file")}, ${bytes(entry.bytes)}` : undefined}
    >
      <LinkButton
        download
        icon={Download}
        variant={failed || entry.problem !== "" ? "secondary" : "primary"}
        to={archiveLink(entry.name)}
      >
        {failed ? "Download the failed export as a zip" : "Download as a zip"}
      </LinkButton>
      <div className="mt-4">
        <p className="text-xs text-muted">Folder on the server&apos;s machine</p>
        <div className="flex items-start gap-1">
          <code className="min-w-0 py-1.5 font-mono text-xs wrap-anywhere">{entry.path}</code>
          <CopyButton text={entry.path} label="Copy the folder's path" iconOnly />
        </div>
      </div>
    </Card>
  );
}

function Usage({ ways }: { ways: readonly Way[] }) {
  return (
    <Card title="Use it elsewhere" description="Ready to copy; the paths are those of the server's machine.">
      <div className="space-y-4">
        {ways.map(({ program, code }) => (
          <div key={program}>
            <h3 className="mb-1 text-[0.8125rem] font-medium">{program}</h3>
            <CodeBlock text={code} label={`code for ${program}`} wrap />
          </div>
        ))}
      </div>
    </Card>
  );
}

function Repeat({ command }: { command: string }) {
  return (
    <Card title="The same in a terminal">
      <CodeBlock text={command} label="command line" wrap />
    </Card>
  );
}
