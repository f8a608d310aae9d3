import react from "@vitejs/plugin-react";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

declare const process: { env: Record<string, string | undefined> };

/** Where `npm run dev` finds a server; the built page is served by the server itself. */
const server = process.env.SYNCLINE_SERVER ?? "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [react()],
  // The form library's own tests want another validator, which its entry point imports: ours stands there, and is dropped.
  resolve: { alias: { "@rjsf/validator-ajv8": fileURLToPath(new URL("src/form/validator.ts", import.meta.url)) } },
  build: {
    outDir: "../src/syncline/api/static",
    emptyOutDir: true,
    target: "es2022",
    // Inlined data: addresses would need a wider content policy than the server's.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { host: "127.0.0.1", proxy: { "/api": server, "/v1": server, "/health": server } },
  test: {
    // Through Vite, so that the alias above holds in it.
    server: { deps: { inline: [/@rjsf/] } },
    environment: "jsdom",
    globals: true,
    testTimeout: 60_000,
    setupFiles: ["src/testing/setup.ts"],
    include: ["src/**/*.test.{ts,tsx}"],
  },
});
