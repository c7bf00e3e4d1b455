/** What was trained, on what, where; and the ways to take it along. */

import { Download, ExternalLink, RotateCw, ScrollText } from "lucide-react";
import { useState } from "react";

import { useGetSettingsQuery, useLazyGetLogQuery } from "@/api";
import type { DataPrepared, LoraAttached, RunDetail, RunStarted, RunSummary, SettingView } from "@/api";
import {
  Answered,
  Button,
  Card,
  CodeBlock,
  CopyButton,
  Disclosure,
  ErrorNote,
  LinkButton,
  Skeleton,
  Switch,
  Table,
  Td,
  Th,
} from "@/components/ui";
import { forMethod } from "@/features/form/draft";
import { labelOf } from "@/features/form/labels";
import { settingText } from "@/features/form/settingText";
import { bytes, count, integer, percent, significant } from "@/lib/format";

import { EDGES, Pairs } from "./parts";

/** Each LoRA key with its exact count. */
export function TargetsCard({ lora, full }: { lora: LoraAttached | null; full: boolean }) {
  if (!lora)
    return (
      <Card title="What was trained">
        <p className="text-muted">Known once the model is loaded.</p>
      </Card>
    );
  return (
    <Card
      title="What was trained"
      description={
        full
          ? `Every weight of ${lora.num_layers === -1 ? "all blocks" : `the last ${count(lora.num_layers, "block")}`}.`
          : `rank ${lora.rank}, alpha ${significant(lora.alpha, 4)}, ${lora.scaling ?? "standard"} scaling: factor ${significant(lora.scale, 4)}; dropout ${lora.dropout}`
      }
      flush
    >
      <Table label="Adapted modules" className={EDGES}>
        <thead>
          <tr>
            <Th>{full ? "Weights" : "Key"}</Th>
            <Th right>Modules</Th>
            <Th right>Parameters</Th>
            <Th right>Share</Th>
          </tr>
        </thead>
        <tbody>
          {lora.targets.map((target) => (
            <tr key={target.key}>
              <Td className="min-w-36 font-mono text-xs wrap-anywhere">{target.key}</Td>
              <Td right>{integer(target.modules)}</Td>
              <Td right>{integer(target.trainable)}</Td>
              <Td right>{percent(target.trainable / lora.trainable, 1)}</Td>
            </tr>
          ))}
          <tr className="font-medium">
            <Td>Together</Td>
            <Td right>{integer(lora.targets.reduce((sum, target) => sum + target.modules, 0))}</Td>
            <Td right>{integer(lora.trainable)}</Td>
            <Td right>
              {percent(lora.trainable / lora.total, 3)}
              <span className="block text-xs font-normal text-muted">of the model</span>
            </Td>
          </tr>
        </tbody>
      </Table>
      {!full && (
        <p className="border-t border-line px-4 py-3 font-mono text-xs text-muted wrap-anywhere sm:px-5">
          {lora.log_line}
        </p>
      )}
    </Card>
  );
}

/** What became of the data. */
export function DataCard({ data }: { data: DataPrepared | null }) {
  return (
    <Card title="Data">
      {data ? (
        <Pairs
          rows={[
            ["Format", data.format],
            ["Training", `${count(data.train_rows, "row")}, ${count(data.train_tokens, "token")}`],
            ...(data.train_supervised_tokens > 0
              ? [
                  [
                    "Trained on",
                    `${integer(data.train_supervised_tokens)} tokens (${percent(data.train_supervised_tokens / data.train_tokens, 1)})`,
                  ] as const,
                ]
              : []),
            ["Validation", `${count(data.val_rows, "row")}, ${count(data.val_tokens, "token")}`],
            ...(data.val_supervised_tokens > 0
              ? [["Measured on", `${integer(data.val_supervised_tokens)} tokens`] as const]
              : []),
            ["Longest row", `${integer(data.max_seq_length)} tokens allowed`],
            ["Cut rows", integer(data.truncated_rows)],
            ["Dropped rows", integer(data.dropped_rows)],
            ["Split", data.split],
            [
              "SHA-256",
              <span key="hash" className="flex items-start gap-1">
                <code className="font-mono text-xs wrap-anywhere">{data.data_hash}</code>
                <CopyButton text={data.data_hash} label="Copy the hash" iconOnly />
              </span>,
            ],
          ]}
        />
      ) : (
        <p className="text-muted">Known once the data is prepared.</p>
      )}
    </Card>
  );
}

/** A value of the device's description in words: lists and parts of parts in one line. */
function asText(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return name.endsWith("bytes") ? bytes(value) : String(value);
  if (Array.isArray(value)) return value.map((item) => asText(name, item)).join("; ") || "none";
  if (typeof value !== "object" || value === null) return "none";
  return Object.entries(value)
    .map(([part, own]) => `${part.replaceAll("_", " ")} ${asText(part, own)}`)
    .join(", ");
}

/** Versions and device. */
export function EnvironmentCard({ start }: { start: RunStarted | null }) {
  return (
    <Card title="Environment">
      {start ? (
        <div className="space-y-4">
          <section>
            <h3 className="mb-1 text-xs font-medium text-muted">Device</h3>
            <Pairs
              rows={Object.entries(start.device).map(
                ([name, value]) => [name.replaceAll("_", " ").replace(/ bytes$/, ""), asText(name, value)] as const,
              )}
            />
          </section>
          <section>
            <h3 className="mb-1 text-xs font-medium text-muted">Versions</h3>
            <Pairs rows={Object.entries(start.versions)} />
          </section>
          {start.resumed_from_step != null && (
            <p className="text-[0.8125rem]">
              Resumed from the checkpoint of step {integer(start.resumed_from_step)}.
            </p>
          )}
        </div>
      ) : (
        <p className="text-muted">Known once it has started.</p>
      )}
    </Card>
  );
}

/** The run as files. */
export function FilesCard({ run, folder }: { run: RunSummary; folder: string }) {
  const at = `/api/runs/${encodeURIComponent(run.id)}`;
  return (
    <Card title="The run as files" description="The report is one HTML file that needs neither server nor network.">
      <div className="flex flex-wrap gap-2">
        <LinkButton size="sm" newTab icon={ExternalLink} to={`${at}/report.html`}>
          Open the report
        </LinkButton>
        <LinkButton size="sm" download icon={Download} to={`${at}/report.html`}>
          Download the report
        </LinkButton>
        <LinkButton size="sm" download icon={Download} to={`${at}/export.json`}>
          Everything as JSON
        </LinkButton>
      </div>
      <div className="mt-4">
        <p className="text-xs text-muted">Folder of the run</p>
        <div className="flex items-start gap-1">
          <code className="min-w-0 py-1.5 font-mono text-xs wrap-anywhere">{folder}</code>
          <CopyButton text={folder} label="Copy the folder's path" iconOnly />
        </div>
      </div>
    </Card>
  );
}

/** The settings, grouped as in Setup: those that differ from the defaults, or all; and the same run to copy. */
export function Configuration({ run, detail }: { run: RunSummary; detail: RunDetail }) {
  const [all, setAll] = useState(false);
  const settings = useGetSettingsQuery();
  return (
    <Card
      title="Configuration"
      description={
        all ? "Every setting; those that differ from their default are bold." : "What differs from the defaults."
      }
      actions={<Switch label="All settings" checked={all} onValue={setAll} />}
    >
      <Answered query={settings} waiting={<Skeleton className="h-40 w-full" />}>
        {({ settings: known }) => <Groups settings={known} detail={detail} all={all} />}
      </Answered>
      <div className="mt-4 space-y-1 border-t border-line pt-3">
        <Disclosure title="As a command line">
          <CodeBlock text={detail.command} label="command line" wrap />
        </Disclosure>
        <Disclosure title="As a settings file (YAML)">
          <CodeBlock text={detail.yaml} label="YAML" />
          <p className="mt-1 text-xs text-muted">
            <code className="font-mono">droidft train {run.adapter || "settings"}.yaml</code> runs it; Setup loads it
            too.
          </p>
        </Disclosure>
      </div>
    </Card>
  );
}

interface GroupsProps {
  settings: readonly SettingView[];
  detail: RunDetail;
  all: boolean;
}

function Groups({ settings: known, detail: { config, changed }, all }: GroupsProps) {
  const settings = forMethod(known, config.method ?? "sft");
  const values: Readonly<Record<string, unknown>> = { ...config };
  const shown = settings.filter(({ name }) => name !== "resume" && (all || name in changed));
  const groups = [...new Set(shown.map((setting) => setting.group))];
  if (shown.length === 0) return <p className="text-muted">Everything has its default.</p>;
  return (
    <div className="space-y-4">
      {groups.map((group) => (
        <section key={group}>
          <h3 className="mb-1 text-xs font-medium text-muted">{group}</h3>
          <dl className="divide-y divide-line border-y border-line text-[0.8125rem]">
            {shown
              .filter((setting) => setting.group === group)
              .map((setting) => (
                <Row
                  key={setting.name}
                  setting={setting}
                  value={values[setting.name]}
                  differs={setting.name in changed}
                />
              ))}
          </dl>
        </section>
      ))}
    </div>
  );
}

function Row({ setting, value, differs }: { setting: SettingView; value: unknown; differs: boolean }) {
  return (
    <div className="flex flex-wrap items-baseline justify-between gap-x-4 py-1.5">
      <dt title={setting.help}>
        {labelOf(setting.name)} <span className="font-mono text-xs text-muted">{setting.name}</span>
      </dt>
      <dd className={differs ? "font-medium wrap-anywhere" : "text-muted wrap-anywhere"}>
        {settingText(value)}
        {differs && !setting.required && (
          <span className="ml-2 text-xs font-normal text-muted">default {settingText(setting.default)}</span>
        )}
      </dd>
    </div>
  );
}

const BYTES = 50_000;

/** The end of what the worker printed, when asked for. */
export function LogCard({ run }: { run: RunSummary }) {
  const [load, { currentData, error, isFetching }] = useLazyGetLogQuery();
  const show = () => void load({ run: run.id, bytes: BYTES });
  return (
    <Card
      title="Log"
      description="What the worker printed."
      actions={
        <Button size="sm" icon={currentData ? RotateCw : ScrollText} busy={isFetching} onClick={show}>
          {currentData ? "Read again" : "Show the log"}
        </Button>
      }
    >
      {error ? (
        <ErrorNote error={error} onRetry={show} />
      ) : currentData ? (
        currentData.text === "" ? (
          <p className="text-muted">It printed nothing.</p>
        ) : (
          <>
            {currentData.truncated && <p className="mb-2 text-xs text-muted">Earlier lines are left out.</p>}
            <CodeBlock text={currentData.text} label="log" wrap />
          </>
        )
      ) : (
        <p className="text-[0.8125rem] text-muted">
          Not loaded yet. While the run is running, Training shows it as it grows.
        </p>
      )}
    </Card>
  );
}
