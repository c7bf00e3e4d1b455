/** What came of a run, in sentences that claim no more than was measured. */

import type { DataPrepared, EvalReport, RunSummary } from "@/api";
import { rewardText, scoreFrom, scoreOf } from "@/features/metrics/score";
import { count, duration, integer, loss, percent } from "@/lib/format";
import { familyOf } from "@/lib/methods";
import type { Tone } from "@/lib/tone";
import { isActive } from "@/state/live";

import { fall } from "./facts";

export interface Verdict {
  tone: Tone;
  title: string;
  /** Further sentences: cost, what happened after the best, how far to trust it. */
  notes: string[];
}

export interface Measured {
  evaluations: readonly EvalReport[];
  data: DataPrepared | null;
  /** Evaluations without improvement that ended it early; null when it was not ended so. */
  early: number | null;
}

/** Differences below this share of the first loss may well be noise. */
const SMALL = 0.01;
/** With fewer validation rows than this, small differences say little. */
const FEW_ROWS = 50;

export function verdictOf(run: RunSummary, measured: Measured): Verdict {
  const notes = [cost(run), afterwards(run, measured), ending(measured), trust(run, measured)];
  return { ...sentence(run, measured), notes: notes.filter((note) => note !== null) };
}

/** The same of a run that is judged by rewards. */
function rewardSentence(run: RunSummary): { tone: Tone; title: string } {
  const { first, best } = scoreOf(run);
  if (best === null || run.best_step === null) {
    const yet = isActive(run.state) || run.state === "queued" ? " yet" : "";
    return { tone: "neutral", title: `No mean reward of validation prompts has been measured${yet}.` };
  }
  const step = integer(run.best_step);
  if (first === null)
    return {
      tone: "neutral",
      title: `The best mean reward was ${rewardText(best)}, at step ${step}; there is none from before training.`,
    };
  if (run.best_step > 0 && best > first)
    return {
      tone: "good",
      title: `Mean reward rose from ${rewardText(first)} to ${rewardText(best)} at step ${step}.`,
    };
  return {
    tone: run.step > 0 ? "warn" : "neutral",
    title: `Mean reward did not rise: ${rewardText(first)} before training is the best so far.`,
  };
}

function sentence(run: RunSummary, { evaluations }: Measured): { tone: Tone; title: string } {
  if (familyOf(run.method) === "rewards") return rewardSentence(run);
  const { first_loss: first, best_loss: best, best_step: step } = run;
  if (best === null || step === null) {
    const yet = isActive(run.state) || run.state === "queued" ? " yet" : "";
    return { tone: "neutral", title: `No validation loss has been measured${yet}.` };
  }
  if (first === null) {
    const title = `The best validation loss was ${loss(best)}, at step ${integer(step)}; there is none from before training to compare it with.`;
    return { tone: "neutral", title };
  }
  if (step > 0 && best < first) {
    const share = (first - best) / first;
    const title = `Validation loss fell from ${loss(first)} to ${loss(best)} at step ${integer(step)} (${fall(share)}).`;
    return { tone: share < SMALL ? "neutral" : "good", title };
  }
  const lowest = lowestAfterStart(evaluations);
  if (!lowest) {
    const title = `Validation loss before training was ${loss(first)}; it has not been measured since.`;
    return { tone: "neutral", title };
  }
  const title = `Validation loss did not improve: ${loss(first)} before training, at best ${loss(lowest.loss)} after it (step ${integer(lowest.step)}).`;
  return { tone: "warn", title };
}

function lowestAfterStart(evaluations: readonly EvalReport[]): EvalReport | undefined {
  const [lowest] = evaluations.filter(({ step }) => step > 0).sort((a, b) => a.loss - b.loss);
  return lowest;
}

function cost(run: RunSummary): string | null {
  if (run.seconds === null) return null;
  const begin = isActive(run.state) ? "So far" : "It took";
  const trained =
    run.trainable !== null && run.total !== null
      ? `, training ${integer(run.trainable)} of ${integer(run.total)} parameters (${percent(run.trainable / run.total, 3)})`
      : "";
  return `${begin} ${duration(run.seconds)} and ${count(run.step, "step")}${trained}.`;
}

function afterwards(run: RunSummary, { evaluations }: Measured): string | null {
  const last = evaluations[evaluations.length - 1];
  if (!last || run.best_loss === null || run.best_step === null || run.best_step === 0) return null;
  if (familyOf(run.method) === "rewards") {
    const [now, record] = [scoreFrom(run.method, last.loss), scoreFrom(run.method, run.best_loss)];
    if (last.step <= run.best_step || now >= record) return null;
    return `By step ${integer(last.step)} it was at ${rewardText(now)}; the best weights are those of step ${integer(run.best_step)}.`;
  }
  if (last.step <= run.best_step || last.loss <= run.best_loss * (1 + SMALL)) return null;
  return `By step ${integer(last.step)} it had risen again to ${loss(last.loss)}; the best weights are those of step ${integer(run.best_step)}.`;
}

function ending({ early }: Measured): string | null {
  return early === null ? null : `Stopped early after ${count(early, "evaluation")} without improvement.`;
}

function trust(run: RunSummary, { data }: Measured): string | null {
  if (!data || run.best_loss === null || run.first_loss === null) return null;
  if (familyOf(run.method) === "rewards")
    return "Measured on a few validation prompts, so small differences say little; and a reward says how well the rewards were served, not how good the answers are: read them below.";
  const rows = `Measured on ${count(data.val_rows, "validation row")}`;
  const small = Math.abs(run.first_loss - run.best_loss) / run.first_loss < SMALL;
  if (small && run.best_step !== 0) return `${rows}; a difference this small may be noise.`;
  if (data.val_rows < FEW_ROWS) return `${rows} only, so small differences between runs say little.`;
  return `${rows}. It says how well such rows are predicted, not how good answers are: look at those in Compare.`;
}
