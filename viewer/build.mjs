// Builds the page: one script with three.js, one style sheet, one template, into mamp/view/assets.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const assets = join(here, "..", "mamp", "view", "assets");
const read = (...parts) => readFileSync(join(here, ...parts), "utf8");
mkdirSync(assets, { recursive: true });

await build({
  entryPoints: { viewer: join(here, "src", "main.ts"), players: join(here, "src", "players.ts") },
  outdir: assets,
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  charset: "ascii",
  legalComments: "none",
  logLevel: "warning",
});
await build({ entryPoints: [join(here, "src", "viewer.css")], outdir: assets, minify: true, logLevel: "warning" });
writeFileSync(join(assets, "page.html"), read("src", "page.html"));

// What is in the files, for those who ask; tests compare the hash with the sources.
const used = Object.fromEntries(
  ["three", "esbuild"].map((name) => {
    const { version, license } = JSON.parse(read("node_modules", name, "package.json"));
    return [name, { version, licence: license }];
  }),
);
used.three.role = "bundled";
used.esbuild.role = "build tool";
const sources = readdirSync(join(here, "src")).sort();
const hash = createHash("sha256");
for (const name of [...sources.map((one) => join("src", one)), "build.mjs", "package-lock.json"]) hash.update(readFileSync(join(here, name)));
writeFileSync(join(assets, "built.json"), JSON.stringify({ packages: used, sources: hash.digest("hex") }, null, 2) + "\n");
const three = JSON.parse(read("node_modules", "three", "package.json")).version;
writeFileSync(join(assets, "LICENSES.txt"), `viewer.js contains three.js ${three} (https://threejs.org):\n\n${read("node_modules", "three", "LICENSE")}`);
