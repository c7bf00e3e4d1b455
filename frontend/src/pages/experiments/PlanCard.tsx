/** The plan as it is fixed, with what it will cost. */

import { ClipboardList } from "lucide-react";

import type { FixedPlan } from "@/api";
import { Card, Note, Stat, Stats, Table, Td, Th } from "@/components/ui";
import { bytes, count, duration, integer, moment, percent, rate, sentence } from "@/lib/format";

export function PlanCard({ plan: fixed }: { plan: FixedPlan }) {
  const { plan, sizes, estimate } = fixed;
  const costs = new Map(fixed.costs?.map((cost) => [cost.arm, cost]));
  return (
    <Card
      title="The plan, fixed before the first step"
      icon={ClipboardList}
      description={`Written down ${moment(fixed.created)}; nothing of it changes any more.`}
    >
      <div className="space-y-5">
        {estimate && (
          <Stats>
            <Stat label="Runs" value={integer(estimate.runs)} note="the base model included" />
            <Stat label="Time" value={duration(estimate.seconds)} note="from measured steps" />
            <Stat label="Memory" value={bytes(estimate.peak_bytes)} note="with the longest batch" />
            <Stat label="Disk" value={bytes(estimate.disk_bytes)} note="for the adapters" />
          </Stats>
        )}
        <Table label="Arms">
          <thead>
            <tr>
              <Th>Arm</Th>
              <Th right>Rank</Th>
              <Th right>Scale</Th>
              <Th right>Trained</Th>
              <Th right>Steps</Th>
              <Th right>A token</Th>
              <Th right>A run</Th>
            </tr>
          </thead>
          <tbody>
            {fixed.arms.map((arm) => {
              const cost = costs.get(arm.name);
              return (
                <tr key={arm.name}>
                  <Td>
                    <span className="font-medium">{arm.name}</span>
                    <span className="block text-xs text-muted wrap-anywhere">
                      {Object.entries(arm.differs)
                        .map(([name, value]) => `${name} ${String(value)}`)
                        .join(", ")}
                      {arm.matched !== null && `; as many as ${arm.matched}`}
                    </span>
                  </Td>
                  <Td right>{integer(arm.rank)}</Td>
                  <Td right>{arm.scale}</Td>
                  <Td right>
                    {integer(arm.trainable)} ({percent(arm.trainable / arm.total)})
                  </Td>
                  <Td right>{integer(arm.steps["1"])}</Td>
                  <Td right>{cost ? `${(1000 * cost.seconds_per_token).toFixed(2)} ms` : "–"}</Td>
                  <Td right>{cost ? duration(cost.seconds_per_run) : "–"}</Td>
                </tr>
              );
            })}
          </tbody>
        </Table>
        <dl className="grid gap-x-6 gap-y-2 text-[0.8125rem] sm:grid-cols-[8rem_minmax(0,1fr)]">
          <Fact name="Contrasts">
            {fixed.contrasts.length > 0
              ? fixed.contrasts.map(([first, second]) => `${first} − ${second}`).join(", ")
              : "the best combination with the first"}
          </Fact>
          <Fact name="Seeds">{plan.seeds?.join(", ")}</Fact>
          {plan.learning_rates && (
            <Fact name="Learning rates">{plan.learning_rates.map(rate).join(", ")}, chosen by validation loss</Fact>
          )}
          {plan.shares && plan.shares.length > 1 && (
            <Fact name="Shares">{plan.shares.map((share) => percent(share)).join(", ")} of the training data</Fact>
          )}
          <Fact name="Margin">
            {plan.equivalence_margin} nats per token: a smaller difference does not matter (
            {percent(Math.exp(plan.equivalence_margin ?? 0) - 1, 1)} of perplexity)
          </Fact>
          <Fact name="Training">
            {count(sizes.train_rows, "row")}; {sizes.split}
          </Fact>
          <Fact name="Test">
            {count(sizes.test_rows, "row")} in {count(sizes.clusters, "group")} that belong together,{" "}
            {integer(sizes.test_tokens)} tokens
            {sizes.questions > 0 && `; ${count(sizes.questions, "question")} to be answered`}
          </Fact>
          <Fact name="General text">
            {count(sizes.general_rows, "text")}, {integer(sizes.general_tokens)} tokens
          </Fact>
        </dl>
        {fixed.warnings?.map((warning) => (
          <Note key={warning} tone="warn">
            {sentence(warning)}
          </Note>
        ))}
      </div>
    </Card>
  );
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <>
      <dt className="text-muted">{name}</dt>
      <dd className="min-w-0 wrap-anywhere">{children}</dd>
    </>
  );
}
