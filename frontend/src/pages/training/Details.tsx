/** What a run's events say about it as a whole, and the cards that show it. */

import { Info, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";

import type { DataPrepared, LoraAttached, Record as RunRecord, RunStarted, RunSummary, TrainingPlan } from "@/api";
import { Card, CopyButton, Prose } from "@/components/ui";
import { compact, count, epochs, integer, moment, percent, rate, relative, shortName, visible } from "@/lib/format";
import { useNow } from "@/lib/hooks";
import { familyOf, methodTitle } from "@/lib/methods";

export interface Facts {
  start: RunStarted | null;
  /** When its worker began, the last time. */
  startTime: number | null;
  data: DataPrepared | null;
  lora: LoraAttached | null;
  plan: TrainingPlan | null;
  /** Validation loss of the base model, before the first step. */
  baseLoss: number | null;
  warnings: Warning[];
}

export interface Warning {
  code: string;
  message: string;
  /** When it was first said. */
  time: number;
  times: number;
}

/** One pass over the events. A warning that is repeated, as after each resumption, is listed once. */
export function factsOf(events: readonly RunRecord[]): Facts {
  const facts: Facts = {
    start: null,
    startTime: null,
    data: null,
    lora: null,
    plan: null,
    baseLoss: null,
    warnings: [],
  };
  const warnings = new Map<string, Warning>();
  for (const { event, time } of events) {
    switch (event.type) {
      case "run_started":
        facts.start = event;
        facts.startTime = time;
        break;
      case "data_prepared":
        facts.data = event;
        break;
      case "lora_attached":
        facts.lora = event;
        break;
      case "plan":
        facts.plan = event;
        break;
      case "eval_report":
        if (event.step === 0) facts.baseLoss = event.loss;
        break;
      case "warning": {
        const key = `${event.code}\n${event.message}`;
        const known = warnings.get(key);
        if (known) known.times++;
        else warnings.set(key, { code: event.code, message: event.message, time, times: 1 });
        break;
      }
      case "phase":
      case "train_report":
      case "completions":
      case "measured":
      case "checkpoint_saved":
      case "early_stopped":
      case "stopped":
      case "failed":
      case "finished":
        break;
    }
  }
  facts.warnings = [...warnings.values()];
  return facts;
}

function Fact({ label, children, title }: { label: string; children: ReactNode; title?: string | undefined }) {
  return (
    <div className="grid grid-cols-[7rem_1fr] gap-3 py-1.5">
      <dt className="text-muted">{label}</dt>
      <dd className="min-w-0 wrap-anywhere" title={title}>
        {children}
      </dd>
    </div>
  );
}

/** "LoRA", "DoRA" or "full fine-tuning". */
export function methodName(run: RunSummary): string {
  const names: Record<string, string> = { lora: "LoRA", dora: "DoRA", full: "full fine-tuning" };
  return names[run.fine_tune_type] ?? run.fine_tune_type;
}

function Lora({ run, facts }: { run: RunSummary; facts: Facts }) {
  const { lora } = facts;
  return (
    <>
      {familyOf(run.method) !== "answers" && <Fact label="Method">{methodTitle(run.method)}</Fact>}
      <Fact label={familyOf(run.method) === "answers" ? "Method" : "Adapter"}>
        {methodName(run)}
        {lora
          ? `, alpha ${lora.alpha} / rank ${lora.rank}, scale ${Number(lora.scale.toFixed(4))}`
          : run.rank > 0 && `, rank ${run.rank}`}
      </Fact>
      <Fact label="Targets" title={lora?.targets.map((target) => target.key).join(", ")}>
        {run.targets}
        {lora && (
          <span className="text-muted">
            {` · ${count(lora.targets.length, "module")} in ${lora.num_layers === -1 ? "every block" : count(lora.num_layers, "block")}`}
          </span>
        )}
      </Fact>
      <Fact label="Trainable" title={run.total === null ? undefined : `of ${integer(run.total)}`}>
        {run.trainable === null || run.total === null ? (
          "known once the model is loaded"
        ) : (
          <>
            {integer(run.trainable)}
            <span className="text-muted">
              {` of ${compact(run.total)} · ${percent(run.trainable / Math.max(1, run.total))}`}
            </span>
          </>
        )}
      </Fact>
    </>
  );
}

function Data({ facts }: { facts: Facts }) {
  const { data, plan } = facts;
  return (
    <>
      {data && (
        <>
          <Fact label="Rows">
            {`${integer(data.train_rows)} to train on, ${integer(data.val_rows)} to validate`}
            {data.truncated_rows > 0 && <span className="text-warn">{`, ${integer(data.truncated_rows)} cut`}</span>}
            {data.dropped_rows > 0 && <span className="text-warn">{`, ${integer(data.dropped_rows)} dropped`}</span>}
          </Fact>
          <Fact label="Tokens">
            {`${integer(data.train_tokens)}, `}
            {data.train_supervised_tokens === 0
              ? `of prompts; at most ${integer(data.max_seq_length)} each`
              : `${percent(data.train_supervised_tokens / Math.max(1, data.train_tokens), 0)} trained on; at most ${integer(data.max_seq_length)} a row`}
          </Fact>
        </>
      )}
      {plan && (
        <Fact label="Plan">
          {`${count(plan.steps, "step")} of ${count(plan.effective_batch, "row")}, ${epochs(plan.epochs)}`}
        </Fact>
      )}
    </>
  );
}

/** What is trained, on what, with what. */
export function Details({ run, facts }: { run: RunSummary; facts: Facts }) {
  const now = useNow(true, 30_000);
  const device = facts.start?.device["name"] ?? facts.start?.device["kind"] ?? facts.start?.device["device"];
  return (
    <Card title="Details" icon={Info}>
      <dl className="divide-y divide-line text-[0.8125rem]">
        <Fact label="Model" title={run.model}>
          {run.model_name}
        </Fact>
        <Fact label="Data" title={run.train_data}>
          {shortName(run.train_data)}
        </Fact>
        <Data facts={facts} />
        <Lora run={run} facts={facts} />
        <Fact label="Learning rate">{`${rate(run.learning_rate)} at its peak`}</Fact>
        {typeof device === "string" && <Fact label="Device">{visible(device)}</Fact>}
        <Fact label="Created" title={moment(run.created)}>
          {relative(run.created, now)}
          {run.started !== null && (
            <span className="text-muted">{`, first started ${relative(run.started, now)}`}</span>
          )}
        </Fact>
        <Fact label="Run id">
          <span className="flex items-center gap-1">
            <code className="min-w-0 font-mono text-xs wrap-anywhere">{run.id}</code>
            <CopyButton text={run.id} label="Copy the id" iconOnly />
          </span>
        </Fact>
      </dl>
    </Card>
  );
}

/** What the run warned of. */
export function Warnings({ warnings }: { warnings: readonly Warning[] }) {
  if (warnings.length === 0) return null;
  return (
    <Card title={count(warnings.length, "warning")} icon={TriangleAlert}>
      <ul className="divide-y divide-line text-[0.8125rem]">
        {warnings.map((warning) => (
          <li key={`${warning.code} ${warning.message}`} className="flex gap-2 py-2 first:pt-0 last:pb-0">
            <TriangleAlert className="mt-0.5 size-4 shrink-0 text-warn" aria-hidden />
            <div className="min-w-0 wrap-anywhere">
              <Prose text={visible(warning.message)} />
              <p className="text-xs text-muted">
                {moment(warning.time)}
                {warning.times > 1 && `, and ${count(warning.times - 1, "time")} again`}
              </p>
            </div>
          </li>
        ))}
      </ul>
    </Card>
  );
}
