import type { Checkpoint, EvalReport, RunDetail, RunSummary } from "@/api";
import { Badge, Card, Disclosure, LinkButton, Table, Td, Th } from "@/components/ui";
import { scoreFrom, scoreOf, scoreText } from "@/features/metrics/score";
import { compareLink } from "@/features/runs/state";
import { bytes, count, duration, integer } from "@/lib/format";
import { isActive } from "@/state/live";

import { downloadLink } from "./facts";
import { EDGES } from "./parts";

/** Weights that can be had: to download, to use in Compare, to resume from. */
export function Checkpoints({ run, detail: { checkpoints } }: { run: RunSummary; detail: RunDetail }) {
  const { kind } = scoreOf(run);
  return (
    <Card
      title="Checkpoints"
      description="Weights by step. A download is a zip that mlx-lm loads as it is."
      flush={checkpoints.length > 0}
    >
      {checkpoints.length === 0 ? (
        <p className="text-muted">None saved{isActive(run.state) || run.state === "queued" ? " yet" : ""}.</p>
      ) : (
        <Table label="Table of checkpoints" className={EDGES}>
          <thead>
            <tr>
              <Th>Step, size</Th>
              <Th right>{kind === "reward" ? "Val. reward" : "Val. loss"}</Th>
              <Th>What it is</Th>
              <Th>
                <span className="sr-only">Use</span>
              </Th>
            </tr>
          </thead>
          <tbody>
            {checkpoints.map((checkpoint) => (
              <Row key={checkpoint.step} checkpoint={checkpoint} run={run} />
            ))}
          </tbody>
        </Table>
      )}
    </Card>
  );
}

function Row({ checkpoint, run }: { checkpoint: Checkpoint; run: RunSummary }) {
  const { step, adapter } = checkpoint;
  return (
    <tr>
      <Td>
        {integer(step)}
        <span className="block text-xs whitespace-nowrap text-muted">{bytes(checkpoint.bytes)}</span>
      </Td>
      <Td right>{scoreText(scoreOf(run).kind, scoreFrom(run.method, checkpoint.loss))}</Td>
      <Td>
        <span className="flex flex-wrap gap-1">
          {checkpoint.best && <Badge tone="good">best</Badge>}
          {checkpoint.latest && <Badge tone="info">latest</Badge>}
          {checkpoint.resumable && <Badge>resumable</Badge>}
        </span>
      </Td>
      <Td className="py-1!">
        {adapter === null ? (
          <span className="text-xs text-muted">for resuming only</span>
        ) : (
          <span className="flex flex-col items-end sm:flex-row sm:justify-end">
            <LinkButton size="sm" variant="ghost" to={compareLink(run.model, adapter)}>
              Compare<span className="sr-only"> step {step}</span>
            </LinkButton>
            <LinkButton size="sm" variant="ghost" download to={downloadLink(run.adapter, String(step))}>
              Download<span className="sr-only"> step {step}</span>
            </LinkButton>
          </span>
        )}
      </Td>
    </tr>
  );
}

/** More evaluations than this are folded away. */
const MANY = 12;

/** Every measurement on the validation set. */
export function Evaluations({ run, evaluations }: { run: RunSummary; evaluations: readonly EvalReport[] }) {
  const { kind } = scoreOf(run);
  const table = (
    <Table label="Table of evaluations" className={EDGES}>
      <thead>
        <tr>
          <Th>Step</Th>
          <Th right>{kind === "reward" ? "Reward" : "Loss"}</Th>
          <Th right>Tokens</Th>
          <Th right>Took</Th>
          <Th>
            <span className="sr-only">Remark</span>
          </Th>
        </tr>
      </thead>
      <tbody>
        {evaluations.map((evaluation) => (
          <tr key={evaluation.step}>
            <Td>{integer(evaluation.step)}</Td>
            <Td right>{scoreText(kind, scoreFrom(run.method, evaluation.loss))}</Td>
            <Td right>{integer(evaluation.tokens)}</Td>
            <Td right>{duration(evaluation.seconds)}</Td>
            <Td>{evaluation.step === run.best_step && <Badge tone="good">best</Badge>}</Td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
  return (
    <Card
      title="Evaluations"
      description={kind === "reward" ? "Mean reward of the validation prompts." : "Loss on the whole validation set."}
      flush={evaluations.length > 0}
    >
      {evaluations.length === 0 ? (
        <p className="text-muted">None yet.</p>
      ) : evaluations.length > MANY ? (
        <div className="px-4 pb-2 sm:px-5">
          <Disclosure title={`All ${count(evaluations.length, "evaluation")}`}>{table}</Disclosure>
        </div>
      ) : (
        table
      )}
    </Card>
  );
}
