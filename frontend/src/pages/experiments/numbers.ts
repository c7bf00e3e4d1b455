/** Differences in nats per token, and intervals, as they are written everywhere. */

import type { Interval } from "@/api";

const MINUS = "−";

/** `−0.0123`, `+0.0123`. */
export function signed(value: number, digits = 4): string {
  return `${value < 0 ? MINUS : "+"}${Math.abs(value).toFixed(digits)}`;
}

/** `−0.0123 [−0.0200, −0.0046]`. */
export function withInterval(found: Interval | null, digits = 4): string {
  if (found === null) return "–";
  const { value, low, high } = found;
  if (low === null || high === null) return signed(value, digits);
  return `${signed(value, digits)} [${signed(low, digits)}, ${signed(high, digits)}]`;
}

/** A p-value: `0.032`, `< 0.0001`. */
export function pValue(value: number | null): string {
  if (value === null) return "–";
  return value < 0.0001 ? "< 0.0001" : Number(value.toPrecision(2)).toString();
}
