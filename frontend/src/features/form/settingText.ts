import { typed } from "@/lib/numbers";

/** A setting's value as a person reads it. */
export function settingText(value: unknown): string {
  if (value === null || value === undefined) return "none";
  if (typeof value === "boolean") return value ? "on" : "off";
  if (typeof value === "number") return typed(value);
  if (Array.isArray(value)) return value.map(settingText).join(", ");
  if (typeof value === "object") return objectText(value);
  return typeof value === "string" ? value : "";
}

/** An object such as a reward: its kind, then its fields that are given. */
function objectText(value: object): string {
  const { kind, ...fields }: Readonly<Record<string, unknown>> = { ...value };
  const said = Object.entries(fields)
    .filter(([, own]) => own !== null)
    .map(([name, own]) => `${name.replaceAll("_", " ")} ${settingText(own)}`);
  return `${typeof kind === "string" ? `${kind} ` : ""}(${said.join(", ")})`;
}
