/** Differences with their intervals, below one another: the margin as a band, zero as a line, seeds as small dots. */

import type { ContrastResult } from "@/api";

import { signed, ticks, withInterval } from "./numbers";

const WIDTH = 720;
const ROW = 56;
const SIDE = 14;
const TOP = 8;
const BOTTOM = 42;

export function Forest({ contrasts, margin }: { contrasts: readonly ContrastResult[]; margin: number }) {
  const drawn = contrasts.flatMap((contrast) =>
    contrast.difference === null ? [] : [{ contrast, found: contrast.difference }],
  );
  if (drawn.length === 0) return null;
  const ends = drawn.flatMap(({ contrast, found }) => [
    found.value,
    found.low ?? found.value,
    found.high ?? found.value,
    ...contrast.per_seed,
  ]);
  const marks = ticks(Math.min(...ends, -margin), Math.max(...ends, margin));
  const low = marks[0] ?? 0;
  const high = marks.at(-1) ?? 1;
  const x = (value: number) => SIDE + ((WIDTH - 2 * SIDE) * (value - low)) / (high - low || 1);
  const base = TOP + ROW * drawn.length;
  const text = drawn.map(({ contrast }) => contrast.sentence).join(" ");
  return (
    <svg
      viewBox={`0 0 ${WIDTH} ${base + BOTTOM}`}
      role="img"
      aria-label={`Differences of the test loss with 95 % intervals. ${text}`}
      className="block h-auto w-full max-w-3xl min-w-130"
    >
      <rect x={x(-margin)} y={TOP} width={x(margin) - x(-margin)} height={base - TOP} className="fill-sunken" />
      {marks.map((mark) => (
        <g key={mark}>
          <line
            x1={x(mark)}
            x2={x(mark)}
            y1={TOP}
            y2={base}
            className={mark === 0 ? "stroke-edge" : "stroke-line"}
            strokeWidth={mark === 0 ? 1.5 : 1}
          />
          <text x={x(mark)} y={base + 16} textAnchor="middle" className="fill-muted text-[11px]">
            {String(mark).replace("-", "−")}
          </text>
        </g>
      ))}
      <text x={SIDE} y={base + 36} className="fill-muted text-[11px]">
        ← first arm better
      </text>
      <text x={WIDTH - SIDE} y={base + 36} textAnchor="end" className="fill-muted text-[11px]">
        second arm better →
      </text>
      {drawn.map(({ contrast, found }, index) => {
        const y = TOP + ROW * index + 34;
        return (
          <g key={`${contrast.first} ${contrast.second}`}>
            <title>{`${contrast.first} − ${contrast.second}: ${withInterval(found)}`}</title>
            <text x={SIDE} y={y - 17} className="fill-ink text-[12px]">
              {contrast.first} − {contrast.second}
            </text>
            {found.low !== null && found.high !== null && (
              <line x1={x(found.low)} x2={x(found.high)} y1={y} y2={y} className="stroke-accent" strokeWidth={2.5} />
            )}
            {contrast.per_seed.map((value, seed) => (
              <circle key={seed} cx={x(value)} cy={y + 9} r={2.5} className="fill-warn">
                <title>{`One seed: ${signed(value)}`}</title>
              </circle>
            ))}
            <circle cx={x(found.value)} cy={y} r={5} className="fill-accent" />
          </g>
        );
      })}
    </svg>
  );
}
