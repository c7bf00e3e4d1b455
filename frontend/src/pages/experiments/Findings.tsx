/** What an experiment has found: the answer first, then the figures behind it. */

import {
  ChartNoAxesCombined,
  CircleAlert,
  CircleCheck,
  CircleHelp,
  Equal,
  Hourglass,
  Scale,
  Sigma,
} from "lucide-react";
import type { LucideIcon } from "lucide-react";
import { Link } from "react-router";

import type { Analysis, ContrastResult, Figures, Kind } from "@/api";
import { Sparkline } from "@/components/chart/small";
import { Badge, Card, Disclosure, Table, Td, Th } from "@/components/ui";
import { duration, loss, percent, rate, sentence } from "@/lib/format";

import { SettingsLine } from "./names";
import { pValue, signed, withInterval } from "./numbers";
import { Plot } from "./Plot";

const VERDICTS: Readonly<Record<Kind, readonly [LucideIcon, string, string]>> = {
  better: [CircleCheck, "text-good", "better"],
  worse: [CircleAlert, "text-bad", "worse"],
  equivalent: [Equal, "text-info", "equivalent"],
  no_detectable_difference: [CircleHelp, "text-warn", "no detectable difference"],
  pending: [Hourglass, "text-muted", "not known yet"],
};

export function Findings({ analysis, figures }: { analysis: Analysis; figures: Figures }) {
  return (
    <>
      <Answer analysis={analysis} figure={figures.differences} />
      {analysis.table && <SideBySide analysis={analysis} />}
      {figures.efficiency !== "" && (
        <Card title="Data efficiency" icon={ChartNoAxesCombined}>
          <Plot svg={figures.efficiency} label="Test loss over the share of the data" />
          <p className="mt-1 flex flex-wrap gap-x-5 gap-y-1 text-xs">
            {analysis.curves.map(({ arm }, at) => (
              <span key={arm} className={`key ${"abcdef"[at % 6] ?? "a"}`}>
                {arm}
              </span>
            ))}
          </p>
          <div className="mt-3 space-y-1 text-[0.8125rem]">
            {analysis.contrasts.map(
              (contrast) =>
                contrast.reaches && (
                  <p key={`${contrast.first} ${contrast.second}`}>{sentence(contrast.reaches.sentence)}</p>
                ),
            )}
            <p className="text-xs text-muted">
              Bars are 95 % intervals of each mean by itself; arms share seeds and rows, so their difference is known
              better than the bars suggest.
            </p>
          </div>
        </Card>
      )}
      {analysis.sweep.length > 0 && <Sweep analysis={analysis} />}
      <Runs analysis={analysis} />
      {analysis.notes.length > 0 && (
        <Card title="What limits this">
          <ul className="list-disc space-y-1 pl-5 text-[0.8125rem] text-muted">
            {analysis.notes.map((note) => (
              <li key={note}>{sentence(note)}</li>
            ))}
          </ul>
        </Card>
      )}
    </>
  );
}

function Answer({ analysis, figure }: { analysis: Analysis; figure: string }) {
  const { contrasts, noise_floor: floor } = analysis;
  const drawn = contrasts.filter(({ difference }) => difference !== null);
  const oneSeed = drawn.every(({ per_seed }) => per_seed.length <= 1);
  return (
    <Card title="The answer" icon={Scale}>
      <div className="space-y-4">
        {contrasts.length === 0 && <p className="text-base font-semibold">{analysis.verdict}</p>}
        {contrasts.map((contrast) => (
          <Verdict key={`${contrast.first} ${contrast.second}`} contrast={contrast} />
        ))}
        {drawn.length > 0 && (
          <>
            <Plot svg={figure} label="Differences of the test loss" />
            <p className="text-xs text-muted">
              Test loss in nats per trained token, the first arm’s less the second’s: below zero the first is better.{" "}
              {oneSeed
                ? "The dot is the difference with one seed and its 95 % interval (only test rows vary)"
                : "The large dot is the mean over seeds with its 95 % interval (seeds and test rows both vary), small dots are seeds"}
              , the grey band is the margin.
              {floor &&
                ` Dashed: through their seeds alone, two means of one arm differ by up to ${loss(floor.difference)} (95 %).`}
            </p>
            <Statistics contrasts={contrasts} />
          </>
        )}
      </div>
    </Card>
  );
}

function Verdict({ contrast }: { contrast: ContrastResult }) {
  const [Icon, tone, word] = VERDICTS[contrast.kind];
  return (
    <p className="flex items-start gap-2.5 text-[0.9375rem] font-semibold">
      <Icon className={`mt-0.5 size-5 shrink-0 ${tone}`} aria-label={word} />
      <span className="min-w-0 wrap-anywhere">
        {contrast.sentence} {contrast.exploratory && <Badge tone="warn">exploratory</Badge>}
      </span>
    </p>
  );
}

function Statistics({ contrasts }: { contrasts: readonly ContrastResult[] }) {
  const scores = contrasts.flatMap((contrast) => contrast.scores.map((score) => ({ contrast, score })));
  return (
    <>
      <Disclosure title="The statistics behind it">
        <Table label="Statistics of each contrast">
          <thead>
            <tr>
              <Th>Contrast</Th>
              <Th right>p</Th>
              <Th right>Corrected p</Th>
              <Th right>p of equivalence</Th>
              <Th right>Degrees of freedom</Th>
              <Th right>Sd between seeds</Th>
              <Th right>Rows better</Th>
              <Th right>Perplexity</Th>
              <Th right>Forgetting</Th>
            </tr>
          </thead>
          <tbody>
            {contrasts.map((contrast) => (
              <tr key={`${contrast.first} ${contrast.second}`}>
                <Td>
                  {contrast.first} − {contrast.second}
                </Td>
                <Td right>{pValue(contrast.p)}</Td>
                <Td right>{pValue(contrast.adjusted_p)}</Td>
                <Td right>{pValue(contrast.equivalence_p)}</Td>
                <Td right>{contrast.degrees_of_freedom?.toFixed(1) ?? "–"}</Td>
                <Td right>{loss(contrast.seed_sd)}</Td>
                <Td right>{percent(contrast.examples_better, 0)}</Td>
                <Td right>{contrast.perplexity_ratio ? `× ${contrast.perplexity_ratio.value.toFixed(3)}` : "–"}</Td>
                <Td right>{withInterval(contrast.forgetting)}</Td>
              </tr>
            ))}
          </tbody>
        </Table>
      </Disclosure>
      {scores.length > 0 && (
        <Table label="Answers">
          <thead>
            <tr>
              <Th>Answers</Th>
              <Th right>First</Th>
              <Th right>Second</Th>
              <Th right>Difference</Th>
              <Th right>Only first right</Th>
              <Th right>Only second right</Th>
              <Th right>McNemar’s exact p</Th>
              <Th right>Corrected p</Th>
            </tr>
          </thead>
          <tbody>
            {scores.map(({ contrast, score }) => (
              <tr key={`${contrast.first} ${contrast.second} ${score.name}`}>
                <Td>
                  {contrast.first} − {contrast.second}: {score.name} ({score.questions})
                </Td>
                <Td right>{percent(score.first, 1)}</Td>
                <Td right>{percent(score.second, 1)}</Td>
                <Td right>{withInterval(score.difference, 3)}</Td>
                <Td right>{score.only_first}</Td>
                <Td right>{score.only_second}</Td>
                <Td right>{pValue(score.mcnemar_p)}</Td>
                <Td right>{pValue(score.adjusted_p)}</Td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
    </>
  );
}

function SideBySide({ analysis }: { analysis: Analysis }) {
  const { table, arms } = analysis;
  if (!table) return null;
  const tried = arms.flatMap((arm) => arm.rates.map((one) => ({ arm: arm.arm, ...one })));
  return (
    <Card title="Side by side" icon={Sigma}>
      <div className="space-y-4">
        <Table label="Figures of each arm, and their differences">
          <thead>
            <tr>
              <Th>Figure</Th>
              {table.arms.map((arm) => (
                <Th key={arm} right>
                  {arm}
                </Th>
              ))}
              {table.contrasts.map((contrast) => (
                <Th key={contrast} right>
                  {contrast}
                </Th>
              ))}
            </tr>
          </thead>
          <tbody>
            {table.rows.map((row) => (
              <tr key={row.name}>
                <th scope="row" className="border-b border-line px-3 py-2 text-left font-normal text-muted">
                  {row.name}
                </th>
                {row.values.map((value, index) => (
                  <Td key={table.arms[index]} right>
                    {value}
                  </Td>
                ))}
                {row.differences.map((value, index) => (
                  <Td key={table.contrasts[index]} right className="bg-sunken/50">
                    {value}
                  </Td>
                ))}
              </tr>
            ))}
          </tbody>
        </Table>
        {tried.length > 0 && (
          <Disclosure title="Learning rates that were tried">
            <Table label="Learning rates">
              <thead>
                <tr>
                  <Th>Arm</Th>
                  <Th right>Learning rate</Th>
                  <Th right>Validation loss</Th>
                  <Th>Chosen</Th>
                </tr>
              </thead>
              <tbody>
                {tried.map((one) => (
                  <tr key={`${one.arm} ${one.learning_rate}`}>
                    <Td>{one.arm}</Td>
                    <Td right>{rate(one.learning_rate)}</Td>
                    <Td right>{one.validation_loss ? loss(one.validation_loss.mean) : "diverged"}</Td>
                    <Td>{one.chosen ? <Badge tone="good">chosen</Badge> : ""}</Td>
                  </tr>
                ))}
              </tbody>
            </Table>
          </Disclosure>
        )}
      </div>
    </Card>
  );
}

function Sweep({ analysis }: { analysis: Analysis }) {
  return (
    <Card
      title="Sweep"
      description="In the order of the runs; the best so far falls as better ones are found."
      actions={
        <Sparkline
          values={analysis.sweep.flatMap((row) => row.best_so_far ?? [])}
          label={`Best validation loss so far: ${analysis.sweep.map((row) => loss(row.best_so_far)).join(", ")}`}
          className="h-8 w-40"
        />
      }
    >
      <Table label="Sweep">
        <thead>
          <tr>
            <Th>Arm</Th>
            <Th>Settings</Th>
            <Th right>Validation loss</Th>
            <Th right>Best so far</Th>
          </tr>
        </thead>
        <tbody>
          {analysis.sweep.map((row) => (
            <tr key={row.arm}>
              <Td>{row.arm}</Td>
              <Td className="min-w-48">
                <SettingsLine settings={row.settings} />
              </Td>
              <Td right>{row.validation_loss ? loss(row.validation_loss.mean) : "diverged"}</Td>
              <Td right>{loss(row.best_so_far)}</Td>
            </tr>
          ))}
        </tbody>
      </Table>
    </Card>
  );
}

function Runs({ analysis }: { analysis: Analysis }) {
  const done = analysis.runs.filter(({ status }) => status === "finished").length;
  return (
    <Card title="Runs" description={`${done} of ${analysis.runs.length} planned runs finished.`}>
      <Table label="Runs of this experiment">
        <thead>
          <tr>
            <Th>Arm</Th>
            <Th right>Seed</Th>
            <Th right>Share</Th>
            <Th right>Learning rate</Th>
            <Th>State</Th>
            <Th right>Validation</Th>
            <Th right>Test</Th>
            <Th right>General</Th>
            <Th right>Time</Th>
          </tr>
        </thead>
        <tbody>
          {analysis.runs.map((run) => (
            <tr key={run.run}>
              <Td className="whitespace-nowrap">
                {run.status === "waiting" ? (
                  run.arm
                ) : (
                  <Link
                    to={`${run.status === "running" ? "/training" : "/results"}/${run.run}`}
                    className="text-accent-strong hover:underline"
                  >
                    {run.arm}
                  </Link>
                )}
              </Td>
              <Td right>{run.seed ?? "–"}</Td>
              <Td right>{percent(run.share)}</Td>
              <Td right>{rate(run.learning_rate)}</Td>
              <Td>{run.status}</Td>
              <Td right>{loss(run.validation_loss)}</Td>
              <Td right>{loss(run.test_loss)}</Td>
              <Td right>{loss(run.general_loss)}</Td>
              <Td right>{duration(run.seconds)}</Td>
            </tr>
          ))}
        </tbody>
      </Table>
      {analysis.base && (
        <p className="mt-2 text-xs text-muted">
          The base model is run zero; general text {loss(analysis.base.general_loss)}. Forgetting of the arms:{" "}
          {analysis.arms
            .flatMap(({ arm, forgetting }) => (forgetting ? [`${arm} ${signed(forgetting.value)}`] : []))
            .join(", ")}
          .
        </p>
      )}
    </Card>
  );
}
