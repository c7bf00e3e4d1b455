import type { NamedColumns } from "@/api/columns";
import type { Numbers } from "@/components/chart/align";

/** The points of a metric: those steps at which it was measured. */
export function pointsOf(x: Float64Array, metrics: NamedColumns, name: string): { x: Numbers; y: Numbers } {
  const y = metrics.view(name);
  if (!y.some(Number.isNaN)) return { x: y.length === x.length ? x : x.subarray(0, y.length), y };
  const places = Array.from(y.keys()).filter((at) => !Number.isNaN(y[at]));
  return { x: places.map((at) => x[at] ?? NaN), y: places.map((at) => y[at] ?? NaN) };
}

/** The last value that was measured; NaN where none was. */
export function lastOf(metrics: NamedColumns, name: string): number {
  const y = metrics.view(name);
  for (let at = y.length - 1; at >= 0; at--) {
    const value = y[at];
    if (value !== undefined && !Number.isNaN(value)) return value;
  }
  return NaN;
}
