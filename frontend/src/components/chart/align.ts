/** Series with their own x made into the one table that uPlot draws. */

export type Numbers = ArrayLike<number>;

export interface XY {
  x: Numbers;
  y: Numbers;
}

export type Aligned = [Numbers, ...ArrayLike<number | null>[]];

/** Columns over the union of all x; null where a series has no point. Each x must ascend. */
export function align(series: readonly XY[]): Aligned {
  const [first] = series;
  if (!first) return [[]];
  if (series.every((one) => one.x === first.x || sameNumbers(one.x, first.x)))
    return [first.x, ...series.map((one) => one.y)];
  const x = union(series.map((one) => one.x));
  return [x, ...series.map((one) => spread(one, x))];
}

function sameNumbers(a: Numbers, b: Numbers): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function union(lists: readonly Numbers[]): Float64Array {
  const all = new Float64Array(lists.reduce((sum, list) => sum + list.length, 0));
  let end = 0;
  for (const list of lists) {
    for (let i = 0; i < list.length; i++) all[end++] = list[i] ?? NaN;
  }
  all.sort();
  let kept = 0;
  for (const value of all) if (kept === 0 || value !== all[kept - 1]) all[kept++] = value;
  return all.subarray(0, kept);
}

function spread({ x: own, y }: XY, x: Float64Array): (number | null)[] {
  const column = new Array<number | null>(x.length).fill(null);
  let at = 0;
  for (let i = 0; i < own.length; i++) {
    const place = own[i] ?? NaN;
    while (at < x.length && (x[at] ?? Infinity) < place) at++;
    if (x[at] === place) column[at] = y[i] ?? null;
  }
  return column;
}

/** What cannot stand on a logarithmic axis left out. */
export function positive(column: ArrayLike<number | null>): (number | null)[] {
  return Array.from({ length: column.length }, (_, i) => {
    const value = column[i];
    return value !== null && value !== undefined && value > 0 ? value : null;
  });
}

/**
 * An exponential moving average, corrected for its start; `weight` in [0, 1) is that of the past. With 0 the values
 * themselves.
 */
export function smooth(values: Numbers, weight: number): Float64Array {
  const out = new Float64Array(values.length);
  let mean = 0;
  let mass = 0;
  for (let i = 0; i < values.length; i++) {
    mean = weight * mean + (1 - weight) * (values[i] ?? NaN);
    mass = weight * mass + (1 - weight);
    out[i] = mean / mass;
  }
  return out;
}
