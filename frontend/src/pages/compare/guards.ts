/** Whether a value that came from outside (a stream, this browser's storage) has the shape it should have. */

export type Guard<T> = (value: unknown) => value is T;

export const isString: Guard<string> = (value) => typeof value === "string";
export const isNumber: Guard<number> = (value): value is number =>
  typeof value === "number" && Number.isFinite(value);
export const isBoolean: Guard<boolean> = (value) => typeof value === "boolean";

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function oneOf<const T extends string | number>(...allowed: T[]): Guard<T> {
  const known = new Set<unknown>(allowed);
  return (value): value is T => known.has(value);
}

export function nullable<T>(guard: Guard<T>): Guard<T | null> {
  return (value): value is T | null => value === null || guard(value);
}

export function listOf<T>(guard: Guard<T>): Guard<T[]> {
  return (value): value is T[] => Array.isArray(value) && value.every((item) => guard(item));
}

/** An object with at least these fields. */
export function shape<T extends object>(fields: { [Key in keyof T]-?: Guard<T[Key]> }): Guard<T> {
  return (value): value is T => {
    if (!isObject(value)) return false;
    for (const key in fields) if (!fields[key](value[key])) return false;
    return true;
  };
}
