// From a recording to what the network takes: joints of the model, metres, y up, centred, facing the camera, 120 frames.
// mamp/preprocessing.py for one person and the settings of the openmocap weights; `model.json` has the numbers.

import { mappingByNames } from "./names.js";
import { median } from "./numbers.js";

/** @typedef {import("./bvh.js").Recording} Recording */

/**
 * The clip of a recording.
 * @param {Recording} recording of one person
 * @param {object} model content of model.json
 * @returns {{bodies: Float32Array, there: Uint8Array, pose: Recording}} positions [T', V', 3] of the model, which of its
 *   tokens were tracked [T'/t, V'], and the whole recording in the joints of the model, in metres, y up
 * @throws {Error} the joints are not understood, or nothing was tracked
 */
export function prepare(recording, model) {
  const whole = toModel(recording, model);
  const kept = framesWithSomebody(whole);
  if (!kept.length) throw new Error("expected at least one tracked joint, found none.");
  const tracked = [...kept].map((frame) => whole.seen.subarray(frame * model.joints.length, (frame + 1) * model.joints.length));
  const positions = kept.map((frame) => whole.positions.slice(frame * model.joints.length * 3, (frame + 1) * model.joints.length * 3));
  fillGaps(positions, tracked, model);
  centre(positions, model);
  faceCamera(positions, tracked, model);
  return { ...resize(positions, tracked, model), pose: whole };
}

/** Positions in the joints of the model, in metres and y up. */
function toModel(recording, model) {
  const named = model.layouts.find(
    (layout) => layout.joints.length === recording.joints.length && layout.joints.every((joint) => recording.joints.includes(joint)),
  );
  const mapping = named ? named.mapping : mappingByNames(recording, model.rigs);
  const [V, W] = [recording.joints.length, model.joints.length];
  const rows = model.joints.map((joint) => {
    const source = mapping[joint] ?? {};
    const weights = typeof source === "string" ? { [source]: 1 } : source;
    return Object.entries(weights).map(([name, weight]) => [recording.joints.indexOf(name), weight]);
  });
  const positions = new Float64Array(recording.frames * W * 3).fill(NaN);
  const seen = new Uint8Array(recording.frames * W);
  for (let frame = 0; frame < recording.frames; frame++)
    rows.forEach((row, joint) => {
      if (!row.length) return;
      for (let axis = 0; axis < 3; axis++) {
        let sum = 0;
        for (const [index, weight] of row) sum += weight * recording.positions[(frame * V + index) * 3 + axis];
        positions[(frame * W + joint) * 3 + axis] = sum;
      }
      seen[frame * W + joint] = Number.isFinite(positions[(frame * W + joint) * 3]) ? 1 : 0;
    });
  const body = { joints: model.joints, parents: model.parents, positions, seen, frames: recording.frames, fps: recording.fps };
  if (!recording.known) {
    turnYUp(body);
    scaleToMetres(body, model.units);
  }
  return body;
}

const at = (body, frame, name) => {
  const first = (frame * body.joints.length + body.joints.indexOf(name)) * 3;
  return body.positions.subarray(first, first + 3);
};
const middle = (body, frame, name) => {
  const [left, right] = [at(body, frame, `${name}_left`), at(body, frame, `${name}_right`)];
  return [0, 1, 2].map((axis) => (left[axis] + right[axis]) / 2);
};

/** The axis that points up is the one among y, z and -y that lies along the way from the ankles to the head. */
function turnYUp(body) {
  const up = [0, 1, 2].map((axis) => {
    const found = [];
    for (let frame = 0; frame < body.frames; frame++) {
      const top = [at(body, frame, "head"), at(body, frame, "spine_shoulder")].find((point) => Number.isFinite(point[0]));
      const low = middle(body, frame, "ankle");
      if (top && Number.isFinite(low[0])) found.push(top[axis] - low[axis]);
    }
    return median(found);
  });
  const [x, y, z] = up;
  const turn = z > 2 * Math.hypot(x, y) ? [2, -1] : -y > 2 * Math.hypot(x, z) ? [-1, -2] : null;
  if (!turn) return;
  for (let i = 0; i < body.positions.length; i += 3) {
    const [py, pz] = [body.positions[i + 1], body.positions[i + 2]];
    [body.positions[i + 1], body.positions[i + 2]] = turn[0] === 2 ? [pz, -py] : [-py, -pz];
  }
}

/** The unit is the one in which the person is as tall as people are. */
function scaleToMetres(body, units) {
  const parts = [["head", "spine_shoulder"], ["spine_shoulder", "spine_base"], ["hip", "knee"], ["knee", "ankle"]];
  const size = parts.reduce((sum, [a, b]) => sum + length(body, a, b), 0);
  const unit = units.find(({ metres, low, high }) => size * metres >= low && size * metres <= high);
  const metres = unit ? unit.metres : size > 0 ? Number((1.56 / size).toPrecision(4)) : 1;
  if (metres !== 1) for (let i = 0; i < body.positions.length; i++) body.positions[i] *= metres;
}

function length(body, a, b) {
  const found = [];
  const step = Math.max(1, Math.floor(body.frames / 200));
  const pairs = body.joints.includes(a) ? [[a, b]] : ["left", "right"].map((side) => [`${a}_${side}`, `${b}_${side}`]);
  for (const [one, other] of pairs)
    for (let frame = 0; frame < body.frames; frame += step) {
      const [p, q] = [at(body, frame, one), at(body, frame, other)];
      const distance = Math.hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]);
      if (Number.isFinite(distance)) found.push(distance);
    }
  return found.length ? median(found) : 0;
}

function framesWithSomebody(body) {
  const V = body.joints.length;
  const frames = [...Array(body.frames).keys()];
  const there = frames.filter((frame) => body.seen.subarray(frame * V, (frame + 1) * V).includes(1));
  return there.length ? frames.slice(there[0], there.at(-1) + 1) : [];
}

/** Interpolate missing joints over time; joints that are never there take the place of their parent. */
function fillGaps(positions, tracked, model) {
  const never = new Set();
  const seen = tracked.map((row) => row.includes(1));
  model.joints.forEach((_, joint) => {
    const known = [...tracked.keys()].filter((frame) => tracked[frame][joint]);
    if (!known.length) return never.add(joint);
    let next = 0;
    for (let frame = 0; frame < positions.length; frame++) {
      if (tracked[frame][joint] || !seen[frame]) continue;
      while (next < known.length && known[next] < frame) next++;
      const [low, high] = [known[Math.max(next - 1, 0)], known[Math.min(next, known.length - 1)]];
      const share = high > low ? Math.min(Math.max((frame - low) / (high - low), 0), 1) : 0;
      for (let axis = 0; axis < 3; axis++) {
        const [a, b] = [positions[low][joint * 3 + axis], positions[high][joint * 3 + axis]];
        positions[frame][joint * 3 + axis] = a + share * (b - a);
      }
    }
  });
  for (const joint of never) {
    let anchor = model.parents[joint];
    while (never.has(anchor)) anchor = model.parents[anchor];
    if (anchor < 0) throw new Error(`the joint ${model.joints[joint]} is missing, and it has no parent.`);
    for (const frame of positions) frame.copyWithin(joint * 3, anchor * 3, anchor * 3 + 3);
  }
  const first = seen.indexOf(true);
  for (let frame = first, held = first; frame < positions.length; frame++) {
    if (seen[frame]) held = frame;
    else positions[frame].set(positions[nearest(seen, frame, held)]); // nobody: the nearest pose in time
  }
}

function nearest(seen, frame, before) {
  let after = frame;
  while (!seen[after]) after++;
  return after - frame < frame - before ? after : before;
}

/** Move the middle of the spine in the first frame to the origin. */
function centre(positions, model) {
  const joint = model.joints.indexOf(model.center_joint);
  const origin = positions[0].slice(joint * 3, joint * 3 + 3);
  for (const frame of positions) for (let i = 0; i < frame.length; i++) frame[i] -= origin[i % 3];
}

/** Turn about the vertical, so that the person looks at the camera (negative z) on average. */
function faceCamera(positions, tracked, model) {
  const index = (name) => model.joints.indexOf(name);
  let [fx, fz] = [0, 0];
  positions.forEach((frame, time) => {
    let [x, z] = [0, 0];
    for (const part of ["hip", "shoulder"]) {
      const [right, left] = [index(`${part}_right`), index(`${part}_left`)];
      if (!tracked[time][right] || !tracked[time][left]) continue;
      x += frame[right * 3] - frame[left * 3];
      z += frame[right * 3 + 2] - frame[left * 3 + 2];
    }
    const size = Math.hypot(x, z);
    if (size > 1e-12) {
      fx += z / size;
      fz -= x / size;
    }
  });
  if (fx === 0 && fz === 0) return;
  const angle = Math.atan2(-fx, -fz);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  for (const frame of positions)
    for (let i = 0; i < frame.length; i += 3) {
      const [x, z] = [frame[i], frame[i + 2]];
      frame[i] = cos * x - sin * z;
      frame[i + 2] = sin * x + cos * z;
    }
}

/** Take the middle, and resample it to the frames of the model, between frames as the published code does. */
function resize(positions, tracked, model) {
  const [T, V] = [model.frames, model.joints.length];
  const start = Math.trunc(((1 - model.crop) * positions.length) / 2);
  const count = positions.length - 2 * start;
  const bodies = new Float32Array(T * V * 3);
  const weight = new Float64Array((T / model.t_patch_size) * V);
  for (let time = 0; time < T; time++) {
    const source = Math.max((count / T) * (time + 0.5) - 0.5, 0);
    const low = Math.trunc(source);
    const high = Math.min(low + 1, count - 1);
    const share = source - low;
    for (let i = 0; i < V * 3; i++)
      bodies[time * V * 3 + i] = positions[start + low][i] * (1 - share) + positions[start + high][i] * share;
    for (let joint = 0; joint < V; joint++)
      weight[Math.trunc(time / model.t_patch_size) * V + joint] +=
        tracked[start + low][joint] * (1 - share) + tracked[start + high][joint] * share;
  }
  const there = Uint8Array.from(weight, (sum) => (sum / model.t_patch_size > 1e-6 ? 1 : 0));
  return { bodies, there: there.includes(1) ? there : there.fill(1) };
}
