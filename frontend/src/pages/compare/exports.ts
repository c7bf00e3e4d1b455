/** A comparison as text for others: Markdown to paste, JSON to keep. */

import type { Shares } from "@/api";
import { count } from "@/lib/format";

import { sideName } from "./choices";
import { isHidden } from "./comparison";
import type { Comparison, Side } from "./comparison";
import type { Ballot, Counted } from "./votes";

/** A fence longer than any run of backticks inside. */
function fenced(text: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}\n${text}\n${fence}`;
}

function figures({ end, error }: Side): string {
  if (error) return `Error: ${error.message}`;
  if (!end) return "Not finished.";
  const reason = end.reason === "length" ? "cut off at the limit" : "ended by itself";
  return `${count(end.tokens, "token")}, ${end.speed.toFixed(1)} tokens/s, ${reason}.`;
}

/** Prompt, settings, and every side's answer. */
export function markdown(comparison: Comparison): string {
  const { request } = comparison;
  const settings = [
    `temperature ${request.temperature}`,
    `top-p ${request.top_p}`,
    `min-p ${request.min_p}`,
    `top-k ${request.top_k}`,
    `repetition penalty ${request.repetition_penalty}`,
    `at most ${request.max_tokens} tokens`,
    `seed ${request.seed}`,
    `chat template ${request.use_chat_template ? "on" : "off"}`,
  ];
  const parts = [`# ${request.model_name}`, settings.join(", ")];
  if (request.system_prompt !== null) parts.push("## System prompt", fenced(request.system_prompt));
  parts.push("## Prompt", fenced(request.prompt));
  comparison.sides.forEach((side, number) => {
    const preferred = comparison.vote === number ? " (preferred, blind)" : "";
    parts.push(`## ${sideName(side.adapter)}${preferred}`, fenced(side.text), figures(side));
  });
  return `${parts.join("\n\n")}\n`;
}

/** Everything about a comparison; nothing while its sides are hidden. */
export function comparisonJson(comparison: Comparison): string | null {
  if (isHidden(comparison)) return null;
  const { request, sides, at, state, error, blind, vote } = comparison;
  const document = {
    format: "droidft comparison 1",
    asked: new Date(at).toISOString(),
    state,
    error,
    request,
    blind,
    vote: typeof vote === "number" ? (sides[vote]?.adapter ?? "base") : vote,
    sides: sides.map((side) => ({
      side: side.adapter ?? "base",
      answer: side.text,
      seed: request.seed,
      finish_reason: side.end?.reason ?? null,
      prompt_tokens: side.end?.promptTokens ?? null,
      tokens: side.end?.tokens ?? null,
      tokens_per_second: side.end?.speed ?? null,
      error: side.error,
      adapter_details: side.details,
    })),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** The votes of one set with what they add up to. */
export function votesJson(model: string, ballots: readonly Ballot[], counted: Counted, found: Shares): string {
  const named = (side: string | null) => side ?? "base";
  const document = {
    format: "droidft blind votes 1",
    model,
    votes: counted.votes,
    decisive: counted.decisive,
    ties: counted.ties,
    all_bad: counted.bad,
    interval: { method: "Wilson score, on decisive votes", level: found.level },
    sides: counted.sides.map(({ adapter, wins }, at) => ({ side: named(adapter), wins, ...found.shares[at] })),
    ballots: ballots.map((ballot) => ({
      time: new Date(ballot.at).toISOString(),
      prompt: ballot.prompt,
      seed: ballot.seed,
      shown: ballot.shown.map(named),
      outcome: ballot.outcome === "side" ? named(ballot.winner) : ballot.outcome,
      letter: ballot.letter,
    })),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** Save `text` as a file. */
export function download(name: string, text: string): void {
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** A name for a file, with the moment in it. */
export function fileName(stem: string, at: number): string {
  return `${stem}-${new Date(at).toISOString().slice(0, 19).replace(/[:T]/g, "-")}.json`;
}
