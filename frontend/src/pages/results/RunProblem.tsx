import type { RunSummary } from "@/api";
import { CodeBlock, Disclosure, Note, Prose } from "@/components/ui";

import { capital } from "./facts";

/** Why a run failed, crashed or is silent, what to do, and the end of its log. */
export function RunProblem({ run: { problem, state } }: { run: RunSummary }) {
  if (!problem) return null;
  const log = problem.log_tail ?? [];
  return (
    <Note
      tone={state === "stalled" ? "warn" : "bad"}
      title={<span className="whitespace-pre-line">{capital(problem.message)}</span>}
    >
      {problem.hint !== "" && (
        <p>
          <Prose text={capital(problem.hint)} />
        </p>
      )}
      <p className="text-xs text-muted">
        {problem.code}
        {problem.signal ? `, ${problem.signal}` : ""}
      </p>
      {log.length > 0 && (
        <Disclosure title="Last lines of its log">
          <CodeBlock text={log.join("\n")} label="last lines of the log" />
        </Disclosure>
      )}
    </Note>
  );
}
