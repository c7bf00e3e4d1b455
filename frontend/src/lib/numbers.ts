/** Typed numbers: what a field's text means, without ever turning a mistake into a default. */

export interface NumberRules {
  integer?: boolean | undefined;
  min?: number | null | undefined;
  max?: number | null | undefined;
  /** Whether `min` itself is refused. */
  above?: boolean | undefined;
  /** Whether `max` itself is refused. */
  below?: boolean | undefined;
  /** Whether an empty field is an answer (it means "not given"). */
  optional?: boolean | undefined;
}

export type Parsed = { kind: "empty" } | { kind: "number"; value: number } | { kind: "bad"; message: string };

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** What `text` means under `rules`: nothing, a number, or a sentence saying what is wrong. */
export function parseNumber(text: string, rules: NumberRules = {}): Parsed {
  const typed = text.trim();
  if (typed === "") return rules.optional ? { kind: "empty" } : { kind: "bad", message: "A number is needed." };
  if (typed.includes(",")) return { kind: "bad", message: "Write a dot as the decimal mark and no thousands marks." };
  if (!NUMBER.test(typed)) return { kind: "bad", message: `“${typed}” is not a number; 0.0001 and 1e-4 both work.` };
  const value = Number(typed);
  if (!Number.isFinite(value)) return { kind: "bad", message: "That number is too large." };
  const problem = outOfRange(value, rules);
  return problem ? { kind: "bad", message: problem } : { kind: "number", value };
}

function outOfRange(value: number, { integer, min, max, above, below }: NumberRules): string | null {
  if (integer && !Number.isInteger(value)) return "A whole number is needed.";
  if (min != null && (above ? value <= min : value < min)) return `Must be ${above ? "above" : "at least"} ${min}.`;
  if (max != null && (below ? value >= max : value > max)) return `Must be ${below ? "below" : "at most"} ${max}.`;
  return null;
}

/** A number as one would type it: `0.0001` becomes `1e-4`. */
export function typed(value: number): string {
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential().replace("e+", "e");
  return String(value);
}
