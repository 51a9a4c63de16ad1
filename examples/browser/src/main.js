// The page: a file or the camera in, the moving body and the most similar actions out.

import { readBVH } from "./bvh.js";
import { follow, recordingOf } from "./camera.js";
import { prepare } from "./clip.js";
import { Encoder } from "./model.js";
import { Stage } from "./stage.js";

const SECONDS = 4; // of the camera that are embedded
const element = (id) => document.getElementById(id);
const stage = new Stage(element("stage"));
let encoder;
let stop = null;

async function show(name, recording) {
  const begin = performance.now();
  const clip = prepare(recording, encoder.model);
  const embedding = await encoder.encode(clip);
  const milliseconds = performance.now() - begin;
  stage.play(clip.pose);
  element("facts").textContent =
    `${name}: ${recording.frames} frames, ${(recording.frames / recording.fps).toFixed(1)} s; ` +
    `embedded in ${milliseconds.toFixed(0)} ms on this machine.`;
  element("nearest").replaceChildren(
    ...encoder.nearest(embedding).slice(0, 5).map(({ label, cosine }) => {
      const row = document.createElement("li");
      const bar = Object.assign(document.createElement("meter"), { min: -1, max: 1, value: cosine });
      row.append(Object.assign(document.createElement("span"), { textContent: label }), bar, cosine.toFixed(2));
      return row;
    }),
  );
  element("save").href = URL.createObjectURL(new Blob([JSON.stringify(Array.from(embedding))], { type: "application/json" }));
  element("save").hidden = false;
  return embedding;
}

async function open(file) {
  say(`Reading ${file.name} ...`);
  try {
    await show(file.name, readBVH(await file.text()));
    say("");
  } catch (error) {
    say(`${file.name}: ${error.message}`, true);
  }
}

function say(text, wrong = false) {
  element("say").textContent = text;
  element("say").classList.toggle("wrong", wrong);
}

async function camera() {
  if (stop) {
    stop();
    stop = null;
    element("camera").textContent = "Use the camera";
    element("video").hidden = true;
    return;
  }
  const layout = encoder.model.layouts.find(({ name }) => name === "mediapipe33");
  let frames = [];
  let shown = 0;
  let busy = false;
  say("Starting the camera ...");
  try {
    stop = await follow(element("video"), async (time, frame) => {
      element("video").dataset.pictures = Number(element("video").dataset.pictures ?? 0) + 1;
      if (!frame) return say("Nobody is seen.");
      frames = [...frames.filter((one) => time - one.time < SECONDS * 1000), { time, frame }];
      say(`Watching: ${((time - frames[0].time) / 1000).toFixed(1)} s`);
      if (busy || frames.length < 20 || time - shown < 1000) return;
      busy = true;
      shown = time;
      await show("camera", recordingOf(frames, layout)).catch((error) => say(error.message, true));
      busy = false;
    });
    element("camera").textContent = "Stop the camera";
    element("video").hidden = false;
  } catch (error) {
    say(`The camera cannot be used: ${error.message}`, true);
  }
}

async function start() {
  encoder = await Encoder.load(document.baseURI);
  const drop = element("drop");
  element("file").addEventListener("change", ({ target }) => target.files[0] && open(target.files[0]));
  drop.addEventListener("dragover", (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
  element("camera").addEventListener("click", camera);
  element("sample").addEventListener("click", async () => {
    const text = await (await fetch("sample.bvh")).text();
    await open(new File([text], "sample.bvh"));
  });
  for (const id of ["file", "camera", "sample"]) element(id).disabled = false;
  say("");
}

start().catch((error) => say(`The model cannot be loaded: ${error.message}`, true));
