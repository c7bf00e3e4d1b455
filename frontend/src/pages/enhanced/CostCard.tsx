import { Scale } from "lucide-react";

import type { MemoryParts, StepPlan, TargetsReport } from "@/api";
import { Card, Stat, Stats } from "@/components/ui";
import { useNumber } from "@/features/form/form";
import { bytes, count, integer } from "@/lib/format";
import type { Family } from "@/lib/methods";

interface Props {
  family: Family;
  /** Known once the rows are counted. */
  plan: StepPlan | null;
  /** Of the training data, in tokens, where they were counted. */
  longest: number | null;
  /** The model's shape, and the memory of a training step, where a model is chosen. */
  report: TargetsReport | undefined;
  memory: MemoryParts | null;
}

/** What sampling holds at its peak: the model, the adapter, and keys and values of all completions at once. */
export function samplingMemory(
  report: Pick<TargetsReport, "cache_bytes_per_token">,
  memory: Pick<MemoryParts, "weights" | "adapter">,
  together: number,
  tokens: number,
): { cache: number; total: number } {
  const cache = together * tokens * report.cache_bytes_per_token;
  return { cache, total: memory.weights + memory.adapter + cache };
}

/** What one step and the whole run take. */
export function CostCard({ family, plan, longest, report, memory }: Props) {
  const group = useNumber("num_generations") ?? 0;
  const prompts = useNumber("prompts_per_step") ?? 0;
  const most = useNumber("max_completion_length") ?? 0;
  const together = useNumber("sampling_batch_size") ?? 0;
  const steps = useNumber("steps_per_generation") ?? 1;
  const passes = useNumber("num_iterations") ?? 1;
  const pairs = (useNumber("batch_size") ?? 0) * (useNumber("grad_accumulation_steps") ?? 1);
  const completions = group * prompts;
  const atOnce = Math.min(together, completions * steps);
  const sampling = report && memory ? samplingMemory(report, memory, atOnce, most + (longest ?? 256)) : null;
  const tooMuch = report && sampling !== null && sampling.total > 0.8 * report.memory_available;
  const length = plan === null ? "known once the data is checked" : count(plan.steps, "step");
  return (
    <Card title="What it takes" icon={Scale} description="Of one optimizer step, at most.">
      {family === "rewards" ? (
        <>
          <Stats>
            <Stat
              label="Completions a step"
              value={integer(completions)}
              note={`${count(prompts, "prompt")} × ${integer(group)}`}
            />
            <Stat
              label="Tokens a step, at most"
              value={integer(completions * (most + (longest ?? 0)))}
              note={longest === null ? "prompts not counted" : `prompts of up to ${integer(longest)} included`}
            />
            <Stat
              label="Sampled, at most"
              value={integer(completions * most)}
              note={`tokens; ${integer(atOnce)} completions at once`}
            />
            <Stat
              label="The run"
              value={length}
              note={plan === null ? undefined : `${integer(plan.steps_per_epoch)} an epoch`}
            />
          </Stats>
          {sampling !== null && report && memory && (
            <div className="mt-4 border-t border-line pt-3">
              <Stats>
                <Stat
                  label="Memory while sampling"
                  value={bytes(sampling.total)}
                  note={`keys and values ${bytes(sampling.cache)}`}
                  tone={tooMuch ? "warn" : undefined}
                />
                <Stat label="Memory while learning" value={bytes(memory.total)} note="broken down under LoRA" />
                <Stat label="At the peak" value={bytes(Math.max(sampling.total, memory.total))} />
                <Stat label="Available" value={bytes(report.memory_available)} />
              </Stats>
              {tooMuch && (
                <p className="mt-2 text-xs text-warn">
                  Sampling is tight: fewer completions at once (sampling_batch_size) or shorter ones take less, and
                  change only the speed.
                </p>
              )}
            </div>
          )}
          {(steps > 1 || passes > 1) && (
            <p className="mt-3 text-xs text-muted">
              Each rollout of {integer(completions * steps)} completions is used for {count(steps * passes, "update")}
              ; all but the first are off-policy, which is what clipping is for.
            </p>
          )}
          {plan !== null && (
            <p className="mt-3 text-xs text-muted">
              About {integer((plan.steps / Math.max(1, passes)) * completions)} completions are sampled in all.
              Sampling takes most of the time; try the rewards above to see its speed here.
            </p>
          )}
        </>
      ) : (
        <Stats>
          <Stat label="Pairs a step" value={integer(pairs)} note="two answers each" />
          <Stat
            label="Tokens a step, at most"
            value={longest === null ? "–" : integer(2 * pairs * longest)}
            note={longest === null ? "known once the data is checked" : `answers of up to ${integer(longest)}`}
          />
          <Stat
            label="The run"
            value={length}
            note={plan === null ? undefined : `${integer(plan.steps_per_epoch)} an epoch`}
          />
        </Stats>
      )}
    </Card>
  );
}
