/**
 * src/api/generatedSchemas.ts from openapi.json: zod schemas of what is parsed at run time, and the limits of the numbers
 * that a comparison is asked with. What a frame carries is `OPAQUE`: taken as it is, because a log holds thousands of
 * records, and one that a newer server wrote is shown by its name.
 */
import { format, resolveConfig } from "prettier";

const PARSED = ["RecordsFrame", "ResetFrame", "UpdateFrame", "StreamEvent", "DataFile", "CompareRequest"];
const OPAQUE = new Set(["Record", "RunSummary", "QueueView", "Job"]);
const LIMITED = "CompareRequest";

const PLAIN = { string: "z.string()", integer: "z.int()", number: "z.number()", boolean: "z.boolean()" };
const camel = (name) => name.charAt(0).toLowerCase() + name.slice(1);

/** The schema of `name` and of all that it refers to, each after what it needs, into `done`. */
function declare(name, known, done) {
  if (done.has(name)) return;
  done.set(name, null);
  const text = written(known[name], (other) => declare(other, known, done));
  done.delete(name);
  done.set(name, `export const ${camel(name)} = ${text};`);
}

function written(schema, refer) {
  const inner = (part) => written(part, refer);
  const list = (parts) => `[${parts.map(inner).join(", ")}]`;
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1);
    if (OPAQUE.has(name)) return `z.custom<${name}>()`;
    refer(name);
    return camel(name);
  }
  if (schema.const !== undefined) return `z.literal(${JSON.stringify(schema.const)})`;
  if (schema.enum) return `z.enum(${JSON.stringify(schema.enum)})`;
  if (schema.oneOf) return `z.discriminatedUnion("${schema.discriminator.propertyName}", ${list(schema.oneOf)})`;
  if (schema.anyOf) {
    const parts = schema.anyOf.filter(({ type }) => type !== "null");
    const text = parts.length === 1 ? inner(parts[0]) : `z.union(${list(parts)})`;
    return parts.length < schema.anyOf.length ? `z.nullable(${text})` : text;
  }
  if (schema.type === "array") return `z.array(${inner(schema.items)})`;
  if (schema.properties) {
    const fields = Object.entries(schema.properties).map(([name, field]) => {
      const text = inner(field);
      return `${name}: ${schema.required?.includes(name) ? text : `z.optional(${text})`}`;
    });
    return `z.object({ ${fields.join(", ")} })`;
  }
  if (schema.type === "object" && schema.additionalProperties === true) return "z.record(z.string(), z.unknown())";
  if (PLAIN[schema.type]) return PLAIN[schema.type];
  throw new Error(`schemas.mjs cannot write ${JSON.stringify(schema)}`);
}

/** What a number may be, as `parseNumber` takes it, with its default. */
function limits({ anyOf, ...schema }) {
  const number = anyOf?.find(({ type }) => type !== "null") ?? schema;
  if (number.type !== "integer" && number.type !== "number") return null;
  const rules = {
    ...(number.type === "integer" ? { integer: true } : {}),
    min: number.minimum ?? number.exclusiveMinimum,
    ...(number.exclusiveMinimum === undefined ? {} : { above: true }),
    max: number.maximum ?? number.exclusiveMaximum,
    ...(number.exclusiveMaximum === undefined ? {} : { below: true }),
  };
  return { initial: schema.default ?? 0, rules };
}

export async function schemas(document, target) {
  const known = document.components.schemas;
  const done = new Map();
  for (const name of PARSED) declare(name, known, done);
  const numbers = Object.entries(known[LIMITED].properties).flatMap(([name, schema]) => {
    const limited = limits(schema);
    return limited ? [[name, limited]] : [];
  });
  const text = [
    "/** Generated from openapi.json by `npm run generate`: what is parsed at run time. Not to be edited. */\n",
    'import * as z from "zod/mini";\n',
    `import type { ${[...OPAQUE].sort().join(", ")} } from "./generated";\n`,
    ...done.values(),
    "/** Default and limits of each number that a comparison is asked with. */",
    `export const ${camel(LIMITED)}Numbers = ${JSON.stringify(Object.fromEntries(numbers))};\n`,
  ].join("\n");
  return format(text, { ...(await resolveConfig(target)), filepath: target });
}
