import { defineConfig } from "vite";

// The bundle goes into the Python package and is committed: users need no Node.
export default defineConfig({
  base: "./",
  build: {
    outDir: "../src/bottega/studio/static",
    emptyOutDir: true,
    assetsDir: "assets",
    assetsInlineLimit: 0, // the Content-Security-Policy takes files only
    modulePreload: false,
    sourcemap: false,
    rollupOptions: { input: ["index.html", "touch.html", "words.html", "solvers.html", "restore.html"] },
  },
  server: { proxy: { "/api": "http://127.0.0.1:7420" } },
});
