import { defineConfig } from "vite";

// The API of a running `baicai serve`, for `npm run dev`.
const api = "http://127.0.0.1:8000";

export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { proxy: { "/v1": api, "/health": api } },
  build: {
    outDir: "../src/baicai/serving/page",
    emptyOutDir: true,
    license: { fileName: "licences.md" }, // Of what is bundled, as these ask for.
    target: ["chrome123", "firefox120", "safari17.5"], // The first with light-dark() in style sheets.
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      output: { entryFileNames: "page.js", assetFileNames: "page[extname]", codeSplitting: false },
    },
  },
});
