import { readdirSync } from "node:fs";

import { createNodeResolver, importX } from "eslint-plugin-import-x";
import hooks from "eslint-plugin-react-hooks";
import a11y from "eslint-plugin-jsx-a11y";
import tseslint from "typescript-eslint";

/** The folders of `src`: each may import from those before it, and from itself. */
const LAYERS = ["lib", "api", "components", "state", "features", "pages", "app"];

const folders = (of) =>
  readdirSync(of, { withFileTypes: true }).flatMap((one) => (one.isDirectory() ? one.name : []));
const unplaced = folders("src").filter((name) => name !== "test" && !LAYERS.includes(name));
if (unplaced.length > 0) throw new Error(`src/${unplaced[0]} has no place in LAYERS of eslint.config.js`);
const zones = [
  ...LAYERS.slice(0, -1).map((layer, at) => ({
    target: `./src/${layer}`,
    from: LAYERS.slice(at + 1).map((higher) => `./src/${higher}`),
    message: `${layer} may import only from: ${LAYERS.slice(0, at).join(", ") || "nothing"}.`,
  })),
  ...folders("src/pages").map((page) => ({
    target: `./src/pages/${page}`,
    from: "./src/pages",
    except: [`./${page}`],
    message: "A page imports no other page: what they share belongs into features.",
  })),
];

export default tseslint.config(
  {
    ignores: [
      "node_modules",
      "src/api/generated.ts",
      "src/api/generatedSchemas.ts",
      "public",
      "scripts",
      "*.config.*",
    ],
  },
  ...tseslint.configs.strictTypeChecked,
  a11y.flatConfigs.strict,
  hooks.configs.flat["recommended-latest"] ?? hooks.configs["recommended-latest"],
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { "import-x": importX },
    settings: {
      "import-x/extensions": [".ts", ".tsx"],
      "import-x/parsers": { "@typescript-eslint/parser": [".ts", ".tsx"] },
      "import-x/resolver-next": [
        createNodeResolver({ extensions: [".ts", ".tsx", ".js"], alias: { "@": [`${import.meta.dirname}/src`] } }),
      ],
    },
    rules: {
      "import-x/no-restricted-paths": ["error", { zones }],
      "import-x/no-cycle": "error",
      "import-x/order": [
        "error",
        {
          groups: ["builtin", "external", "internal", ["parent", "sibling", "index"]],
          pathGroups: [{ pattern: "@/**", group: "internal" }],
          "newlines-between": "always",
          alphabetize: { order: "asc", caseInsensitive: true },
        },
      ],
      "@typescript-eslint/consistent-type-assertions": ["error", { assertionStyle: "never" }],
      "@typescript-eslint/no-non-null-assertion": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/no-misused-promises": ["error", { checksVoidReturn: { attributes: false } }],
      // What scrolls has to be reachable by keyboard.
      "jsx-a11y/no-noninteractive-tabindex": "off",
      "max-lines": ["error", 500],
      "no-console": "error",
    },
  },
);
