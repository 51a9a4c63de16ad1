// BVH: a hierarchy of joints with offsets and channels, then one row of channel values a frame.

/**
 * A recording of one person.
 * @typedef {object} Recording
 * @property {string[]} joints names of the V joints
 * @property {number[]} parents index of the parent of each joint, -1 for the root
 * @property {Float64Array} positions [T, V, 3]; NaN where a joint was not tracked
 * @property {number} frames T
 * @property {number} fps frames per second
 * @property {boolean} [known] whether the positions are in metres, y up; else the body says what they are in
 */

/**
 * Read a BVH file. End Sites become joints named `<parent>_end`.
 * @param {string} text
 * @returns {Recording} in the unit and axes of the file
 * @throws {Error} the file is cut or malformed
 */
export function readBVH(text) {
  const at = text.search(/^\s*MOTION\b/m);
  if (at < 0) throw new Error("expected HIERARCHY and MOTION as in BVH, found no line MOTION. Is the file cut?");
  const joints = readHierarchy(text.slice(0, at));
  const lines = text.slice(at).split(/\r?\n/).map((line) => line.trim()).filter(Boolean).slice(1);
  const frames = Number(/^Frames:\s*(\d+)/i.exec(lines[0] ?? "")?.[1]);
  const seconds = Number(/^Frame\s+Time:\s*(\S+)/i.exec(lines[1] ?? "")?.[1]);
  if (!(frames > 0) || !(seconds > 0)) throw new Error("expected Frames: and Frame Time: after MOTION, above zero.");
  const rows = lines.slice(2, 2 + frames).map((line) => line.split(/\s+/).map(Number));
  if (rows.length < frames) throw new Error(`the file is cut: ${frames} frames announced, ${rows.length} found.`);
  const channels = joints.reduce((sum, joint) => sum + joint.channels.length, 0);
  const bad = rows.findIndex((row) => row.length !== channels || !row.every(Number.isFinite));
  if (bad >= 0) throw new Error(`expected ${channels} numbers in each frame, found something else in frame ${bad + 1}.`);
  const positions = new Float64Array(frames * joints.length * 3);
  rows.forEach((row, frame) => poseOf(joints, row, positions.subarray(frame * joints.length * 3)));
  return {
    joints: joints.map((joint) => joint.name),
    parents: joints.map((joint) => joint.parent),
    positions,
    frames,
    fps: 1 / seconds,
  };
}

function readHierarchy(text) {
  const joints = [];
  const open = [];
  let pending = null;
  for (const line of text.replace(/[{}]/g, "\n$&\n").split(/\r?\n/)) {
    const words = line.trim().split(/\s+/);
    const word = words[0].toUpperCase();
    const joint = joints[open.at(-1)];
    if (word === "" || word === "HIERARCHY") continue;
    if (word === "ROOT" || word === "JOINT" || word === "END") {
      const parent = open.at(-1) ?? -1;
      const name = word === "END" ? `${joint?.name}_end` : words.slice(1).join(" ");
      pending = { name, parent, offset: [0, 0, 0], channels: [] };
    } else if (word === "{" && pending) {
      open.push(joints.length);
      joints.push(pending);
      pending = null;
    } else if (word === "}" && open.length) {
      open.pop();
    } else if (word === "OFFSET" && joint && words.length === 4) {
      joint.offset = words.slice(1).map(Number);
    } else if (word === "CHANNELS" && joint) {
      joint.channels = words.slice(2).map((channel) => {
        const match = /^([xyz])(position|rotation)$/i.exec(channel);
        if (!match) throw new Error(`the CHANNELS of ${joint.name} are malformed: found ${channel}.`);
        return { axis: "xyz".indexOf(match[1].toLowerCase()), turns: match[2].toLowerCase() === "rotation" };
      });
    } else {
      throw new Error(`the hierarchy is malformed at ${words.join(" ").slice(0, 60)}.`);
    }
  }
  if (open.length || pending || !joints.length) throw new Error("the hierarchy is cut: a bracket is never closed.");
  return joints;
}

/** Positions of the joints in one frame, by forward kinematics. */
function poseOf(joints, row, out) {
  let at = 0;
  const turns = [];
  joints.forEach((joint, index) => {
    const offset = [...joint.offset];
    let turn = [1, 0, 0, 0, 1, 0, 0, 0, 1];
    for (const { axis, turns: rotates } of joint.channels) {
      if (rotates) turn = product(turn, rotation(axis, (row[at] * Math.PI) / 180));
      else offset[axis] = row[at]; // takes the place of OFFSET
      at += 1;
    }
    const above = joint.parent < 0 ? null : turns[joint.parent];
    for (let axis = 0; axis < 3; axis++) {
      const moved = above
        ? above[3 * axis] * offset[0] + above[3 * axis + 1] * offset[1] + above[3 * axis + 2] * offset[2]
        : offset[axis];
      out[3 * index + axis] = moved + (above ? out[3 * joint.parent + axis] : 0);
    }
    turns.push(above ? product(above, turn) : turn);
  });
}

function rotation(axis, angle) {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  if (axis === 0) return [1, 0, 0, 0, cos, -sin, 0, sin, cos];
  if (axis === 1) return [cos, 0, sin, 0, 1, 0, -sin, 0, cos];
  return [cos, -sin, 0, sin, cos, 0, 0, 0, 1];
}

function product(a, b) {
  const out = new Array(9);
  for (let i = 0; i < 3; i++)
    for (let j = 0; j < 3; j++) out[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
  return out;
}
