/** What has to be said above everything else: how a run ended, that it is silent, that something went wrong. */

import { ChartLine, Columns2 } from "lucide-react";

import type { RunSummary } from "@/api";
import { Badge, CodeBlock, Disclosure, LinkButton, Note, Prose } from "@/components/ui";
import { scoreOf, scoreText } from "@/features/metrics/score";
import type { Score } from "@/features/metrics/score";
import { compareLink, runLink } from "@/features/runs/state";
import { capital, count, duration, integer, logLines, moment, percent, visible } from "@/lib/format";
import { useNow } from "@/lib/hooks";
import { useConnection } from "@/state/hooks";
import { isActive } from "@/state/live";

import type { Warning } from "./Details";

/** A worker gives a sign of life every two seconds. */
const SILENT_SECONDS = 8;

/** Why it failed or crashed, with the end of its log. */
export function ProblemNote({ run }: { run: RunSummary }) {
  const { problem } = run;
  if (!problem || run.state === "stalled") return null;
  const tail = logLines((problem.log_tail ?? []).join("\n"));
  return (
    <Note
      tone="bad"
      live
      title={
        <>
          {capital(visible(problem.message))}
          {problem.signal != null && (
            <span className="ml-2 align-middle">
              <Badge tone="bad">{problem.signal}</Badge>
            </span>
          )}
        </>
      }
    >
      {problem.hint !== "" && (
        <p>
          <Prose text={capital(visible(problem.hint))} />
        </p>
      )}
      {tail.length > 0 && (
        <div className="mt-2">
          <Disclosure title="The last lines of its log" open={run.state === "crashed"}>
            <CodeBlock text={tail.join("\n")} label="end of the log" />
          </Disclosure>
        </div>
      )}
    </Note>
  );
}

/** Says so when a run that should talk does not, or is stalled by the server's reckoning. */
export function SilenceNote({ run }: { run: RunSummary }) {
  const live = useConnection() === "live";
  const on = isActive(run.state) && live && run.heard !== null;
  const now = useNow(on);
  const silent = run.heard === null ? 0 : now - run.heard;
  if (!on || (silent < SILENT_SECONDS && run.state !== "stalled")) return null;
  return (
    <Note tone="warn" title={`No report for ${duration(Math.floor(silent))}.`}>
      A healthy worker reports every two seconds. It may be suspended, or the machine may be swapping or asleep. Wait,
      or stop the run and resume it from its checkpoint
      {run.state === "stopping" ? "; killing it loses what came after that." : "."}
    </Note>
  );
}

/** What to do next with a run that has come to a good end. */
export function EndNote({ run, baseLoss }: { run: RunSummary; baseLoss: number | null }) {
  const base = run.first_loss ?? baseLoss;
  if (run.state === "stopped") {
    return (
      <Note
        tone="info"
        title={`Stopped at step ${integer(run.step)}${run.steps === null ? "" : ` of ${integer(run.steps)}`}.`}
      >
        {run.checkpoint_step === null
          ? "It had not reached its first checkpoint: resuming starts it from the beginning."
          : `The checkpoint of step ${integer(run.checkpoint_step)} is saved. Resuming continues exactly from there.`}
      </Note>
    );
  }
  if (run.state !== "finished") return null;
  const score = scoreOf({ ...run, first_loss: base });
  return (
    <Note
      tone="good"
      title={
        score.best === null
          ? `Finished in ${duration(run.seconds)}.`
          : `Finished in ${duration(run.seconds)}. Best ${score.name} ${scoreText(score.kind, score.best)}, at step ${integer(run.best_step)}.`
      }
      actions={
        <>
          <LinkButton size="sm" variant="primary" to={compareLink(run.model, run.adapter)} icon={Columns2}>
            Compare with base
          </LinkButton>
          <LinkButton size="sm" to={runLink(run.id)} icon={ChartLine}>
            See result
          </LinkButton>
        </>
      }
    >
      {verdict(score) !== null && <p>{verdict(score)}</p>}
    </Note>
  );
}

/** What the best is worth against the base model; null where there is nothing to compare. */
function verdict({ kind, first, best }: Score): string | null {
  if (first === null || best === null) return null;
  if (kind === "reward") {
    return best > first
      ? `The base model earned ${scoreText(kind, first)}. Only reading the answers tells whether they are better.`
      : `The base model earned ${scoreText(kind, first)}: it did not get better. Look at the completions: do their rewards differ within a group?`;
  }
  if (first <= 0) return null;
  const fell = 1 - best / first;
  return fell > 0
    ? `The base model had ${scoreText(kind, first)}: ${percent(fell, 0)} less. Only reading the answers tells whether they are better.`
    : `The base model had ${scoreText(kind, first)}: it did not get better. Try a lower learning rate, or look at the data.`;
}

/** How many warnings stand above everything else; further ones are in the log. */
const LOUD = 4;

/** What the run warned of, where it cannot be missed: a run that learns nothing looks as busy as one that does. */
export function LoudWarnings({ warnings }: { warnings: readonly Warning[] }) {
  return (
    <>
      {warnings.slice(-LOUD).map((warning) => (
        <Note key={`${warning.code} ${warning.message}`} tone="warn" live title={WARNINGS[warning.code]}>
          <p>
            <Prose text={capital(visible(warning.message))} />
          </p>
          <p className="text-xs text-muted">
            {moment(warning.time)}
            {warning.times > 1 && `, and ${count(warning.times - 1, "time")} again`}
          </p>
        </Note>
      ))}
      {warnings.length > LOUD && (
        <p className="text-xs text-muted">{count(warnings.length - LOUD, "earlier warning")} in the log.</p>
      )}
    </>
  );
}

const WARNINGS: Readonly<Record<string, string>> = { all_tied: "Nothing is being learned." };
