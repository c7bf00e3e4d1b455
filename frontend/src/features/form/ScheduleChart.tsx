import { integer, rate } from "@/lib/format";

/** The learning rate over the run, as it will be. */
export function ScheduleChart({ points }: { points: readonly (readonly [number, number])[] }) {
  const last = points.at(-1);
  if (!last || points.length < 2) return null;
  const [first] = points;
  const peak = Math.max(...points.map(([, value]) => value)) || 1;
  const start = first?.[0] ?? 0;
  const span = last[0] - start || 1;
  const path = points.map(
    ([step, value]) => `${(((step - start) / span) * 100).toFixed(2)},${(31 - (value / peak) * 29).toFixed(2)}`,
  );
  const summary = `Learning rate from ${rate(first?.[1])} at step ${integer(start)} to ${rate(last[1])} at step ${integer(last[0])}, at most ${rate(peak)}.`;
  return (
    <figure>
      <figcaption className="mb-1 flex justify-between text-xs text-muted">
        <span className="font-medium text-ink">Learning rate over the run</span>
        <span>peak {rate(peak)}</span>
      </figcaption>
      <svg
        viewBox="0 0 100 32"
        preserveAspectRatio="none"
        role="img"
        aria-label={summary}
        className="h-20 w-full rounded-md bg-sunken"
      >
        <polygon points={`0,32 ${path.join(" ")} 100,32`} className="fill-s1 opacity-15" />
        <polyline
          points={path.join(" ")}
          fill="none"
          className="stroke-s1"
          strokeWidth="1.75"
          vectorEffect="non-scaling-stroke"
        />
      </svg>
      <p className="mt-1 flex justify-between text-xs text-muted">
        <span>step {integer(start)}</span>
        <span>ends at {rate(last[1])}</span>
        <span>step {integer(last[0])}</span>
      </p>
    </figure>
  );
}
