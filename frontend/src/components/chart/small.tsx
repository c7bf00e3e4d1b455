/** Small drawings in SVG: no library, no interaction. */

import { cx } from "@/lib/cx";
import { integer } from "@/lib/format";

/** A line without axes. `label` says in words what it shows. */
export function Sparkline({
  values,
  label,
  className,
}: {
  values: readonly number[];
  label: string;
  className?: string | undefined;
}) {
  const finite = values.filter(Number.isFinite);
  if (finite.length < 2) return <span className={cx("inline-block h-6 w-24", className)} aria-hidden />;
  const low = Math.min(...finite);
  const span = Math.max(...finite) - low || 1;
  const points = values
    .map((value, index) => [(index / (values.length - 1)) * 98 + 1, 22 - ((value - low) / span) * 20] as const)
    .filter(([, y]) => Number.isFinite(y))
    .map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`)
    .join(" ");
  return (
    <svg
      viewBox="0 0 100 24"
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
      className={cx("h-6 w-24 text-s1", className)}
    >
      <polyline
        points={points}
        fill="none"
        stroke="currentColor"
        strokeWidth="1.5"
        vectorEffect="non-scaling-stroke"
      />
    </svg>
  );
}

export interface HistogramBin {
  low: number;
  high: number;
  count: number;
}

export interface HistogramProps {
  bins: readonly HistogramBin[];
  /** What it shows, in words. */
  label: string;
  /** A vertical line, such as a limit; `high` of the last bin is the right edge. */
  mark?: { at: number; label: string } | undefined;
  unit?: string | undefined;
}

/** Counts per interval, with the ends and the tallest named; each bar says its interval on hover. */
export function Histogram({ bins, label, mark, unit = "" }: HistogramProps) {
  const first = bins[0];
  const last = bins[bins.length - 1];
  if (!first || !last) return null;
  const tallest = Math.max(1, ...bins.map((bin) => bin.count));
  const span = last.high - first.low || 1;
  const x = (value: number) => ((value - first.low) / span) * 100;
  const inside = mark !== undefined && mark.at > first.low && mark.at < last.high;
  return (
    <figure className="min-w-0">
      <svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label={label} className="h-24 w-full">
        {bins.map((bin) => {
          const height = (bin.count / tallest) * 38;
          return (
            <rect
              key={bin.low}
              x={x(bin.low) + 0.15}
              width={Math.max(0.3, x(bin.high) - x(bin.low) - 0.3)}
              y={40 - height}
              height={height}
              className="fill-s1 opacity-80"
            >
              <title>{`${integer(bin.low)} to ${integer(bin.high - 1)} ${unit}: ${integer(bin.count)}`}</title>
            </rect>
          );
        })}
        {inside && (
          <line
            x1={x(mark.at)}
            x2={x(mark.at)}
            y1="0"
            y2="40"
            className="stroke-bad"
            strokeDasharray="3 2"
            vectorEffect="non-scaling-stroke"
          />
        )}
      </svg>
      <figcaption className="mt-1 flex justify-between gap-2 text-xs text-muted">
        <span>{integer(first.low)}</span>
        <span>{inside ? mark.label : `tallest bar: ${integer(tallest)}`}</span>
        <span>
          {integer(last.high - 1)} {unit}
        </span>
      </figcaption>
    </figure>
  );
}

export interface BarPart {
  label: string;
  value: number;
  /** A fill class such as `fill-s1`; the legend's square has its colour too. */
  className: string;
}

/** Parts of a whole, stacked sideways; `limit` draws what is available. */
export function Bar({
  parts,
  limit,
  label,
}: {
  parts: readonly BarPart[];
  limit?: number | undefined;
  label: string;
}) {
  const total = parts.reduce((sum, part) => sum + part.value, 0);
  const width = Math.max(total, limit ?? 0) || 1;
  const starts = parts.map((_, at) => parts.slice(0, at).reduce((sum, part) => sum + part.value, 0));
  return (
    <svg
      viewBox="0 0 100 8"
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
      className="h-3 w-full rounded-sm bg-sunken"
    >
      {parts.map((part, at) => (
        <rect
          key={part.label}
          x={((starts[at] ?? 0) / width) * 100}
          width={(part.value / width) * 100}
          y="0"
          height="8"
          className={part.className}
        />
      ))}
      {limit !== undefined && limit < total && (
        <line
          x1={(limit / width) * 100}
          x2={(limit / width) * 100}
          y1="0"
          y2="8"
          className="stroke-bad"
          strokeWidth="2"
          vectorEffect="non-scaling-stroke"
        />
      )}
    </svg>
  );
}
