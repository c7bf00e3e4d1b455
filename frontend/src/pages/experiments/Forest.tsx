/** Differences with their intervals, below one another: the margin as a band, zero as a line, seeds as small dots. */

import type { ContrastResult } from "@/api";
import { cx } from "@/lib/cx";

import { signed, ticks, withInterval } from "./numbers";

const ROW = 56;
const LINE = 16;
const TOP = 8;
const BOTTOM = 42;
/** Characters of a contrast that a phone shows in one line. */
const FITTING = 42;

/** As wide as there is room: places are shares of the width, so that texts keep their size and zero stays in sight. */
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
  const share = (value: number) => (100 * (value - low)) / (high - low || 1);
  const x = (value: number) => `${share(value)}%`;
  const zero = marks.indexOf(0);
  const crowded = marks.length > 6;
  const long = drawn.some(({ contrast: { first, second } }) => first.length + second.length + 3 > FITTING);
  const row = long ? ROW + LINE : ROW;
  const base = TOP + row * drawn.length;
  const text = drawn.map(({ contrast }) => contrast.sentence).join(" ");
  return (
    <div className="max-w-3xl px-5">
      <svg
        height={base + BOTTOM}
        role="img"
        aria-label={`Differences of the test loss with 95 % intervals. ${text}`}
        className="block w-full overflow-visible"
      >
        <rect
          x={x(-margin)}
          y={TOP}
          width={`${share(margin) - share(-margin)}%`}
          height={base - TOP}
          className="fill-sunken"
        />
        {marks.map((mark, at) => (
          <g key={mark}>
            <line
              x1={x(mark)}
              x2={x(mark)}
              y1={TOP}
              y2={base}
              className={mark === 0 ? "stroke-edge" : "stroke-line"}
              strokeWidth={mark === 0 ? 1.5 : 1}
            />
            <text
              x={x(mark)}
              y={base + 16}
              textAnchor="middle"
              className={cx("fill-muted text-[11px]", crowded && (at - zero) % 2 !== 0 && "max-sm:hidden")}
            >
              {String(mark).replace("-", "−")}
            </text>
          </g>
        ))}
        <text x="0" y={base + 36} className="fill-muted text-[11px]">
          ← first arm better
        </text>
        <text x="100%" y={base + 36} textAnchor="end" className="fill-muted text-[11px]">
          second arm better →
        </text>
        {drawn.map(({ contrast, found }, index) => {
          const y = TOP + row * (index + 1) - 22;
          const { first, second, per_seed: perSeed } = contrast;
          return (
            <g key={`${first} ${second}`}>
              <title>{`${first} − ${second}: ${withInterval(found)}`}</title>
              <text x="0" y={y - 17} className="fill-ink text-[12px]">
                {long ? (
                  <>
                    <tspan x="0" dy={-LINE}>
                      {first}
                    </tspan>
                    <tspan x="0" dy={LINE}>
                      − {second}
                    </tspan>
                  </>
                ) : (
                  `${first} − ${second}`
                )}
              </text>
              {found.low !== null && found.high !== null && (
                <line
                  x1={x(found.low)}
                  x2={x(found.high)}
                  y1={y}
                  y2={y}
                  className="stroke-accent"
                  strokeWidth={2.5}
                />
              )}
              {perSeed.length > 1 &&
                perSeed.map((value, seed) => (
                  <circle key={seed} cx={x(value)} cy={y + 9} r={2.5} className="fill-warn">
                    <title>{`One seed: ${signed(value)}`}</title>
                  </circle>
                ))}
              <circle cx={x(found.value)} cy={y} r={5} className="fill-accent" />
            </g>
          );
        })}
      </svg>
    </div>
  );
}
