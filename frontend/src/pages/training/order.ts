/** Order of a list that is being rearranged. */

/** `items` with `item` at position `to`. */
export function moved<T>(items: readonly T[], item: T, to: number): T[] {
  const rest = items.filter((one) => one !== item);
  const place = Math.min(rest.length, Math.max(0, to));
  return [...rest.slice(0, place), item, ...rest.slice(place)];
}

/** Where a row at place `from`, held at height `y`, belongs among rows with these middles. */
export function placeAt(middles: readonly number[], from: number, y: number): number {
  let place = 0;
  middles.forEach((middle, at) => {
    if (at !== from && y > middle) place++;
  });
  return place;
}
