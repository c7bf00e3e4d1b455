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

/** Columns by name that are all of one length; a name that a row lacks, or that comes up later, is NaN there. */
export class NamedColumns {
  readonly #columns = new Map<string, Column>();
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** In the order in which they came up. */
  get names(): string[] {
    return [...this.#columns.keys()];
  }

  push(row: Readonly<Record<string, number>>): void {
    for (const name of Object.keys(row)) {
      if (this.#columns.has(name)) continue;
      const column = new Column();
      for (let at = 0; at < this.#length; at++) column.push(NaN);
      this.#columns.set(name, column);
    }
    for (const [name, column] of this.#columns) column.push(row[name] ?? NaN);
    this.#length++;
  }

  has(name: string): boolean {
    return this.#columns.has(name);
  }

  /** As `Column.at`; NaN for a name that there is not. */
  at(name: string, index: number): number {
    return this.#columns.get(name)?.at(index) ?? NaN;
  }

  /** As `Column.view`; empty for a name that there is not. */
  view(name: string): Float64Array {
    return this.#columns.get(name)?.view() ?? new Float64Array();
  }

  /** The values of one row, without those that it lacks. */
  row(index: number): Record<string, number> {
    const values = [...this.#columns].map(([name, column]) => [name, column.at(index)] as const);
    return Object.fromEntries(values.filter(([, value]) => !Number.isNaN(value)));
  }

  truncate(length: number): void {
    for (const column of this.#columns.values()) column.truncate(length);
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
