/** Test loss over the share of the data, with intervals; the share on a logarithmic axis. */

import type { Curve } from "@/api";
import { loss } from "@/lib/format";

import { ticks } from "./numbers";

const WIDTH = 720;
const HEIGHT = 280;
const LEFT = 58;
const BOTTOM = 36;
const TOP = 10;
const COLOURS = ["text-s1", "text-s2", "text-s3", "text-s4", "text-s5", "text-s6"];
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "1 4"];

function colour(index: number): string {
  return COLOURS[index % COLOURS.length] ?? "text-s1";
}

export function Efficiency({ curves }: { curves: readonly Curve[] }) {
  const points = curves.flatMap((curve) => curve.points);
  if (points.length === 0) return null;
  const ends = points.flatMap(({ loss: { value, low, high } }) => [value, low ?? value, high ?? value]);
  const marks = ticks(Math.min(...ends), Math.max(...ends));
  const low = marks[0] ?? 0;
  const high = marks.at(-1) ?? 1;
  const shares = [...new Set(points.map(({ share }) => share))].sort((a, b) => a - b);
  const first = Math.log(Math.min(shares[0] ?? 1, 0.999));
  const base = HEIGHT - BOTTOM;
  const y = (value: number) => base - ((base - TOP) * (value - low)) / (high - low || 1);
  const x = (share: number) => LEFT + 24 + ((WIDTH - LEFT - 60) * (Math.log(share) - first)) / -first;
  const said = curves.map(
    (curve) =>
      `${curve.arm}: ${curve.points.map((point) => `${loss(point.loss.value)} with ${percentOf(point.share)}`).join(", ")}`,
  );
  return (
    <figure>
      <div className="overflow-x-auto" role="region" aria-label="Test loss over the share of the data" tabIndex={0}>
        <svg
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          role="img"
          aria-label={`Test loss over the share of the data. ${said.join("; ")}`}
          className="block h-auto w-full max-w-3xl min-w-130"
        >
          {marks.map((mark) => (
            <g key={mark}>
              <line x1={LEFT} x2={WIDTH - 10} y1={y(mark)} y2={y(mark)} className="stroke-line" />
              <text x={LEFT - 6} y={y(mark) + 4} textAnchor="end" className="fill-muted text-[11px]">
                {mark}
              </text>
            </g>
          ))}
          {shares.map((share) => (
            <text key={share} x={x(share)} y={base + 18} textAnchor="middle" className="fill-muted text-[11px]">
              {percentOf(share)}
            </text>
          ))}
          {curves.map((curve, index) => {
            const shift = 5 * (index - (curves.length - 1) / 2);
            const at = (share: number) => x(share) + shift;
            return (
              <g key={curve.arm} className={colour(index)} stroke="currentColor" fill="currentColor">
                <polyline
                  points={curve.points.map((point) => `${at(point.share)},${y(point.loss.value)}`).join(" ")}
                  fill="none"
                  strokeWidth={1.8}
                  strokeDasharray={DASHES[index % DASHES.length]}
                />
                {curve.points.map((point) => (
                  <g key={point.share}>
                    <title>{`${curve.arm}, ${percentOf(point.share)}: ${loss(point.loss.value)}`}</title>
                    {point.loss.low !== null && point.loss.high !== null && (
                      <line
                        x1={at(point.share)}
                        x2={at(point.share)}
                        y1={y(point.loss.low)}
                        y2={y(point.loss.high)}
                        strokeWidth={1.5}
                      />
                    )}
                    <circle cx={at(point.share)} cy={y(point.loss.value)} r={4} />
                  </g>
                ))}
              </g>
            );
          })}
        </svg>
      </div>
      <figcaption className="mt-1 flex flex-wrap gap-x-5 gap-y-1 text-xs">
        {curves.map((curve, index) => (
          <span key={curve.arm} className={colour(index)}>
            <svg width="26" height="8" aria-hidden className="mr-1.5 inline-block">
              <line
                x1="0"
                x2="26"
                y1="4"
                y2="4"
                stroke="currentColor"
                strokeWidth="2"
                strokeDasharray={DASHES[index % DASHES.length]}
              />
            </svg>
            {curve.arm}
          </span>
        ))}
      </figcaption>
    </figure>
  );
}

function percentOf(share: number): string {
  return `${Number((share * 100).toPrecision(3))} %`;
}
