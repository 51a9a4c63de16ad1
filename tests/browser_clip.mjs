// Clips of BVH files as the page makes them: node browser_clip.mjs model.json FILE... > lines of JSON.
import { readFileSync } from "node:fs";

import { readBVH } from "../examples/browser/src/bvh.js";
import { frameOf, recordingOf } from "../examples/browser/src/camera.js";
import { prepare } from "../examples/browser/src/clip.js";

const [path, ...files] = process.argv.slice(2);
const model = JSON.parse(readFileSync(path, "utf8"));
for (const file of files) {
  try {
    const text = readFileSync(file, "utf8");
    const recording = file.endsWith(".json") ? fromLandmarks(JSON.parse(text)) : readBVH(text);
    const { bodies, there } = prepare(recording, model);
    console.log(JSON.stringify({ bodies: Array.from(bodies), there: Array.from(there) }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message }));
  }
}

function fromLandmarks(pictures) {
  const layout = model.layouts.find(({ name }) => name === "mediapipe33");
  return recordingOf(pictures.map((landmarks, index) => ({ time: index * 40, frame: frameOf(landmarks) })), layout);
}
