import { fileURLToPath } from "node:url";

import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// `npm run dev` talks to a `droidft serve` of its own; DROIDFT_URL names another one.
const target = process.env["DROIDFT_URL"] ?? "http://127.0.0.1:8323";

export default defineConfig({
  plugins: [react(), tailwindcss()],
  // Addresses relative to the page's <base>: the server may show the application below a path.
  base: "./",
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  build: {
    outDir: "../src/droidft/server/static",
    emptyOutDir: true,
    // The page may load nothing but files of its own server, so no asset may become a data: URL.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 800,
  },
  // The server checks Origin against Host, so both have to be its own.
  server: { proxy: { "/api": { target, ws: true, changeOrigin: true, headers: { origin: target } } } },
  test: {
    environment: "jsdom",
    globals: true,
    setupFiles: ["./src/test/setup.ts"],
    css: false,
    include: ["src/**/*.test.{ts,tsx}"],
  },
});
