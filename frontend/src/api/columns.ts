/** Numbers in growing typed columns: cheap to append to, cheap to draw. */

const FIRST_CAPACITY = 256;

export class Column {
  #values = new Float64Array(FIRST_CAPACITY);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const larger = new Float64Array(this.#values.length * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#length++] = value;
  }

  /** The value at `index`, counted from the end when negative; NaN where there is none. */
  at(index: number): number {
    const place = index < 0 ? this.#length + index : index;
    return place >= 0 && place < this.#length ? (this.#values[place] ?? NaN) : NaN;
  }

  /** A view of the values, valid until the next change; do not write to it. */
  view(): Float64Array {
    return this.#values.subarray(0, this.#length);
  }

  truncate(length: number): void {
    this.#length = Math.min(this.#length, Math.max(0, length));
  }
}

/** How many leading values of an ascending column are at most `limit`. */
export function countUpTo(column: Column, limit: number): number {
  let low = 0;
  let high = column.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column.at(middle) <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
