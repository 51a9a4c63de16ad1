// Roles found by names, corrected where they contradict the body: the first part of mamp/layouts/topology.py.

import { median } from "./numbers.js";

export const NOTHING = ""; // a role that is known to have no joint
const LOW = 0.75; // height over the trunk below which a neck is a joint of the chest
const SHORT = 0.02; // length over that of the trunk below which a bone has no direction
const ENDS = [["toe", "ankle"], ["finger", "wrist"], ["thumb", "wrist"], ["hand_tip", "wrist"]];
const WEAK = /^(root|reference|cog|center|)$/; // the pelvis only if the legs have no common ancestor

/**
 * Correct roles in place.
 * @param {Record<string, string>} roles role to joint
 * @param {import("./bvh.js").Recording} recording
 * @param {{side: string, text: string}[]} names of its joints, in parts
 */
export function refine(roles, recording, names) {
  const rig = new Rig(recording);
  dropEmptyEnds(rig, roles);
  findHub(rig, roles, names);
  if (roles.neck && !roles.spine_shoulder && rig.height(roles, roles.neck) < LOW) {
    const above = roles.neck_end;
    roles.neck = above && rig.height(roles, above) >= LOW ? above : NOTHING;
  }
  if (!roles.head && !roles.nose && !(roles.left_ear && roles.right_ear)) findHead(rig, roles, names);
}

/** Remove ends that coincide with their start, such as an End Site of length zero. */
function dropEmptyEnds(rig, roles) {
  const least = SHORT * rig.median((frame) => Math.hypot(...rig.trunk(roles, frame).up));
  const sides = ["left", "right"].flatMap((side) => ENDS.map((pair) => pair.map((role) => `${side}_${role}`)));
  for (const [end, start] of [["head_end", "head"], ...sides]) {
    if (!roles[end] || !roles[start] || !(rig.distance(roles[end], roles[start]) <= least)) continue;
    delete roles[end];
    if (end === "head_end") roles[end] = NOTHING;
  }
}

/** Use the common ancestor of the legs as pelvis if the names give none, or a weak one. */
function findHub(rig, roles, names) {
  const hips = ["left", "right"].map((side) => rig.joints.indexOf(roles[`${side}_hip`]));
  const hub = rig.meeting(...hips);
  const pelvis = names[rig.joints.indexOf(roles.pelvis)];
  if (hub >= 0 && !hips.includes(hub) && (!pelvis || (!pelvis.side && WEAK.test(pelvis.text)))) roles.pelvis = rig.joints[hub];
}

/** Find neck and head in the branch between the arms. */
function findHead(rig, roles, names) {
  const [shoulders, hips] = ["shoulder", "hip"].map((part) =>
    ["left", "right"].map((side) => rig.joints.indexOf(roles[`${side}_${part}`])),
  );
  const chest = rig.meeting(...shoulders);
  if (chest < 0) return;
  const limbs = new Set([...shoulders, ...hips].flatMap((joint) => rig.ancestors(joint)));
  const free = rig.children(chest).filter((child) => !limbs.has(child) && !names[child].side);
  if (!free.length) return;
  const first = free.reduce((best, child) => (rig.reach(child) > rig.reach(best) ? child : best));
  const chain = rig.chain(first);
  const own = chain.filter((joint) => !/_end_*$/i.test(rig.joints[joint]));
  if (!own.length) return;
  let head = chain.find((joint) => rig.children(joint).length > 1);
  if (head === undefined || !own.includes(head)) head = own.at(-1);
  const found = { head: rig.joints[head] };
  if (head !== first) found.neck = rig.joints[first];
  const rest = chain.slice(chain.indexOf(head) + 1);
  if (rest.length && rig.bone(rest[0]) > 0 && rig.children(head).length === 1) found.head_end = rig.joints[rest.at(-1)];
  for (const [role, joint] of Object.entries(found)) roles[role] ??= joint;
}

/** A kinematic tree in some poses. */
class Rig {
  constructor(recording) {
    this.recording = recording;
    this.joints = recording.joints;
    this.parents = recording.parents;
  }

  children(joint) {
    return [...this.parents.keys()].filter((child) => this.parents[child] === joint);
  }

  ancestors(joint) {
    const way = [];
    for (let one = joint; one >= 0; one = this.parents[one]) way.push(one);
    return way;
  }

  meeting(a, b) {
    const above = new Set(this.ancestors(b));
    return this.ancestors(a).find((joint) => above.has(joint)) ?? -1;
  }

  bone(joint) {
    return this.parents[joint] < 0 ? 0 : this.distance(joint, this.parents[joint]) || 0;
  }

  /** The longest chain of descendants, the joint first. */
  chain(joint) {
    const chains = this.children(joint).map((child) => this.chain(child));
    const best = chains.reduce((a, b) => (a === null || this.length(b) > this.length(a) ? b : a), null);
    return [joint, ...(best ?? [])];
  }

  length(chain) {
    return chain.reduce((sum, joint) => sum + this.bone(joint), 0);
  }

  reach(joint) {
    return this.length(this.chain(joint));
  }

  at(frame, joint) {
    const index = typeof joint === "string" ? this.joints.indexOf(joint) : joint;
    const first = (frame * this.joints.length + index) * 3;
    return this.recording.positions.subarray(first, first + 3);
  }

  /** Median of a measure over a sample of the frames; NaN, which compares false, if there is none. */
  median(measure) {
    const step = Math.max(1, Math.floor(this.recording.frames / 200));
    const found = [];
    for (let frame = 0; frame < this.recording.frames; frame += step) found.push(measure(frame));
    return median(found.filter(Number.isFinite));
  }

  distance(a, b) {
    return this.median((frame) => {
      const [p, q] = [this.at(frame, a), this.at(frame, b)];
      return Math.hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]);
    });
  }

  /** Midpoint of the hips, and the vector from there to that of the shoulders. */
  trunk(roles, frame) {
    const [hips, shoulders] = ["hip", "shoulder"].map((part) => {
      const [left, right] = ["left", "right"].map((side) => this.at(frame, roles[`${side}_${part}`]));
      return [0, 1, 2].map((axis) => (left[axis] + right[axis]) / 2);
    });
    return { hips, up: hips.map((value, axis) => shoulders[axis] - value) };
  }

  /** Height of a joint along the trunk: 0 at the hips, 1 at the shoulders. */
  height(roles, joint) {
    return this.median((frame) => {
      const { hips, up } = this.trunk(roles, frame);
      const point = this.at(frame, joint);
      const along = up.reduce((sum, value, axis) => sum + value * (point[axis] - hips[axis]), 0);
      return along / Math.max(up.reduce((sum, value) => sum + value * value, 0), 1e-12);
    });
  }
}
