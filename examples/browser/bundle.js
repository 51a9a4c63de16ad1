// Bundle src/ and put beside it what it loads: ONNX Runtime's WebAssembly and MediaPipe's pose solution.
//     node bundle.js FOLDER

import { build } from "esbuild";
import { cp, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";

const folder = process.argv[2];
await build({
  entryPoints: ["src/main.js"],
  bundle: true,
  format: "esm",
  minify: true,
  outdir: folder,
  external: ["node:*", "module", "fs", "path", "url"],
});
for (const name of ["index.html", "style.css"]) await cp(name, join(folder, name));
const runtime = "node_modules/onnxruntime-web/dist";
for (const name of ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]) await cp(join(runtime, name), join(folder, name));
await mkdir(join(folder, "mediapipe"), { recursive: true });
const solution = "node_modules/@mediapipe/pose";
const parts = (await readdir(solution)).filter((name) => /^pose(_|\.js)/.test(name) && !/(full|heavy)\.tflite$/.test(name));
for (const name of parts) await cp(join(solution, name), join(folder, "mediapipe", name));
