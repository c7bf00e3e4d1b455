/**
 * `npm run generate`: src/api/generated.ts and generatedSchemas.ts from openapi.json; with `--check` only says whether one
 * is stale.
 *
 * The generator writes the types that an operation uses. What sockets and streams say belongs to none, so those
 * types come from a second pass over a document that has one made-up operation which takes them all.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { generateEndpoints } from "@rtk-query/codegen-openapi";
import ts from "typescript";

import { schemas } from "./schemas.mjs";

const TARGET = "src/api/generated.ts";
const SCHEMAS = "src/api/generatedSchemas.ts";
const SPOKEN = ["RecordsFrame", "ResetFrame", "UpdateFrame", "StreamEvent"];
const document = JSON.parse(readFileSync("openapi.json", "utf8"));

/** A header that may be null is one that may be left out: no request can carry null. */
function withoutNullHeaders(original) {
  const copy = structuredClone(original);
  for (const operations of Object.values(copy.paths)) {
    for (const { parameters = [] } of Object.values(operations)) {
      for (const { in: place, schema } of parameters) {
        if (place === "header" && schema.anyOf) schema.anyOf = schema.anyOf.filter((one) => one.type !== "null");
      }
    }
  }
  return copy;
}

function spokenOnly(original) {
  const schema = { oneOf: SPOKEN.map((name) => ({ $ref: `#/components/schemas/${name}` })) };
  const post = { operationId: "spoken", requestBody: { content: { "application/json": { schema } } }, responses: {} };
  return { ...original, paths: { "/spoken": { post } } };
}

async function generate(content) {
  const folder = mkdtempSync(path.join(tmpdir(), "openapi-"));
  const schemaFile = path.join(folder, "openapi.json");
  writeFileSync(schemaFile, JSON.stringify(content));
  try {
    return await generateEndpoints({
      schemaFile,
      apiFile: "./base",
      apiImport: "baseApi",
      exportName: "api",
      hooks: { queries: true, lazyQueries: true, mutations: true },
      tag: true,
      useUnknown: true,
      encodePathParams: true,
      // Asked with POST because of their size, yet they change nothing: cached by argument like any other question.
      endpointOverrides: [{ pattern: ["checkDraft", "viewRows", "planExport"], type: "query" }],
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function types(source) {
  const parsed = ts.createSourceFile("generated.ts", source, ts.ScriptTarget.Latest, true);
  const aliases = parsed.statements.filter(ts.isTypeAliasDeclaration);
  return new Map(aliases.map((alias) => [alias.name.text, alias.getFullText().trim()]));
}

const main = await generate(withoutNullHeaders(document));
const known = types(main);
const further = [...types(await generate(spokenOnly(document)))].filter(
  ([name]) => !known.has(name) && !/^Spoken/.test(name),
);
const text = `${main.trimEnd()}\n\n// What sockets and streams say.\n\n${further.map(([, alias]) => alias).join("\n")}\n`;

for (const [file, wanted] of [
  [TARGET, text],
  [SCHEMAS, await schemas(document, SCHEMAS)],
]) {
  if (!process.argv.includes("--check")) {
    writeFileSync(file, wanted);
  } else if (!existsSync(file) || readFileSync(file, "utf8") !== wanted) {
    console.error(`${file} is stale: run \`npm run generate\``);
    process.exit(1);
  }
}
