// Which joint of a file is which of a body, by its name: mamp/layouts/names.py, with the same tables.
// Files whose names say nothing, and whose tree the package would ask, are refused here.

import { NOTHING, refine } from "./body.js";

const WORD = /[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+/g;
const NEEDED = ["shoulder", "elbow", "hip", "knee"].flatMap((role) => [`left_${role}`, `right_${role}`]);
const SHARED = 0.6; // share of the names from which a common first or last word is removed

const between = (a, b, share = 0.5) => {
  const point = {};
  for (const [end, part] of [[a, 1 - share], [b, share]])
    for (const [name, weight] of Object.entries(typeof end === "string" ? { [end]: 1 } : end))
      point[name] = (point[name] ?? 0) + part * weight;
  return point;
};
const beyond = (a, b, share) => between(a, b, 1 + share);

/**
 * The joints of the model as weighted sums of those of a file.
 * @param {import("./bvh.js").Recording} recording
 * @param {object} tables `rigs` of model.json
 * @returns {Record<string, string | Record<string, number>>} joint of the model to joint, or weights over joints
 * @throws {Error} shoulders, elbows, hips or knees are not recognised
 */
export function mappingByNames(recording, tables) {
  const { joints } = recording;
  const names = parseNames(joints, tables);
  const roles = rolesOf(joints, names, tables);
  const missing = NEEDED.filter((role) => !(role in roles));
  if (missing.length)
    throw new Error(`joint names not understood: no joint was recognised as ${missing.join(", ")}. Found: ${joints.slice(0, 60).join(", ")}.`);
  refine(roles, recording, names);
  const mapping = trunk(roles);
  for (const side of ["left", "right"]) {
    const own = Object.entries(roles).filter(([role]) => role.startsWith(`${side}_`));
    Object.assign(mapping, limbs(Object.fromEntries(own.map(([role, joint]) => [role.slice(side.length + 1), joint])), side));
  }
  return mapping;
}

function rolesOf(joints, names, tables) {
  const byName = new Map();
  const order = joints.map((_, index) => index).sort((a, b) => joints[a].length - joints[b].length);
  for (const index of order) if (!byName.has(names[index].key)) byName.set(names[index].key, joints[index]);
  const lookUp = (side, alias) => {
    const text = alias.replace(/\d+$/, "");
    const numbers = text === alias ? ["", 1, 0] : [Number(alias.slice(text.length))];
    return numbers.map((number) => byName.get(key(side, text, number))).find((joint) => joint !== undefined);
  };
  const found = {};
  for (const [side, roles] of [["", tables.centre], ["left", tables.side], ["right", tables.side]]) {
    const taken = new Set();
    for (const [role, aliases] of Object.entries(roles)) {
      const free = aliases.map((alias) => lookUp(side, alias)).find((joint) => joint !== undefined && !taken.has(joint));
      if (free === undefined) continue;
      taken.add(free);
      found[side ? `${side}_${role}` : role] = free;
    }
  }
  return found;
}

const key = (side, text, number) => `${side}|${text}|${number}`;

function parseNames(joints, tables) {
  const split = joints.map((joint) => words(joint, tables.japanese));
  const ends = split.map((one) => (one.length > 1 && one.at(-1) === "end" ? ["end"] : []));
  let bodies = split.map((one, index) => one.slice(0, one.length - ends[index].length));
  if (joints.length > 3) bodies = dropShared(dropShared(bodies, 0, tables), -1, tables);
  const texts = new Set(Object.values(tables.side).flat().map((alias) => alias.replace(/\d+$/, "")));
  const names = bodies.map((one, index) => nameOf(one, ends[index], tables, texts));
  const known = new Set(names.filter((name) => !name.side).map((name) => `${name.text}|${name.number}`));
  return names.map((name) => {
    const other = { l: "r", r: "l" }[name.text[0]];
    let { side, text } = name;
    if (!side && other && known.has(`${other}${text.slice(1)}|${name.number}`)) {
      side = other === "r" ? "left" : "right"; // lclavicle where there is an rclavicle
      text = text.slice(1);
    }
    return { side, text, number: name.number, key: key(side, text, name.number) };
  });
}

function words(joint, japanese) {
  const english = japanese.reduce((text, [from, to]) => text.replaceAll(from, ` ${to} `), joint).normalize("NFKC");
  const own = english.split(/[:|]/).at(-1).replace(/^mixamorig\d*/, "");
  return (own.match(WORD) ?? []).map((word) => word.toLowerCase());
}

function dropShared(split, end, tables) {
  for (;;) {
    const at = (one) => (end === 0 ? one[0] : one.at(-1));
    const counts = new Map();
    for (const one of split) if (one.length > 1) counts.set(at(one), (counts.get(at(one)) ?? 0) + 1);
    const [word, count] = [...counts].reduce((best, pair) => (pair[1] > best[1] ? pair : best), ["", 0]);
    if (count < SHARED * split.length || tables.bodyWords.includes(word) || (/^\d+$/.test(word) && end === -1)) return split;
    split = split.map((one) => {
      if (one.length < 2 || at(one) !== word) return one;
      return end === 0 ? one.slice(1) : one.slice(0, -1);
    });
  }
}

function nameOf(parts, end, tables, texts) {
  const all = [...parts];
  while (all.length > 1 && (tables.before.includes(all[0]) || tables.centreMarks.includes(all[0]))) {
    if (all[0] === "base" && !(all[1] in tables.sides) && !tables.bodyWords.includes(all[1])) break;
    all.shift();
    while (all.length > 1 && /^\d+$/.test(all[0])) all.shift();
  }
  const mark = Object.keys(tables.sides).find((one) => all.includes(one) && (all.length > 1 || one.length > 2));
  if (mark) all.splice(all.indexOf(mark), 1);
  let number = "";
  const idle = (word) => tables.after.includes(word) || tables.centreMarks.includes(word);
  while (all.length && (/^\d+$/.test(all.at(-1)) || (all.length > 1 && idle(all.at(-1))))) {
    const last = all.pop();
    if (/^\d+$/.test(last)) number = Number(last.slice(0, 9));
  }
  const text = [...all, ...end].join("");
  if (mark) return { side: tables.sides[mark], text, number };
  for (const side of ["left", "right"]) {
    if (text.startsWith(side)) return { side, text: text.slice(side.length), number };
    if (text.endsWith(side)) return { side, text: text.slice(0, -side.length), number };
  }
  for (const side of ["left", "right"]) {
    if (text[0] === side[0] && texts.has(text.slice(1))) return { side, text: text.slice(1), number };
    if (text.at(-1) === side[0] && texts.has(text.slice(0, -1))) return { side, text: text.slice(0, -1), number };
  }
  return { side: "", text, number };
}

function trunk(role) {
  const own = role.spine_shoulder; // such files name their joints like the model
  const neck = role.neck === NOTHING ? null : (role.neck ?? role.neck_end ?? role.chest);
  const top = own ?? neck ?? between(role.left_shoulder, role.right_shoulder);
  const pelvis = role.pelvis ?? between(between(role.left_hip, role.right_hip), top, 0.1);
  const mapping = { spine_base: pelvis, spine_mid: role.spine_mid ?? between(pelvis, top), spine_shoulder: top };
  const [head, point, share] = headOf(role, pelvis);
  if (head) Object.assign(mapping, { neck: own && role.neck ? role.neck : between(top, point, share), head });
  return mapping;
}

function headOf(role, pelvis) {
  if (role.left_ear && role.right_ear) {
    const ears = between(role.left_ear, role.right_ear);
    return [ears, ears, 0.4];
  }
  if (role.head) {
    if (role.spine_shoulder && role.head_end === undefined) return [role.head, role.head, 0.4];
    const past = role.head_end === NOTHING ? 0.16 : 0.12; // the head joint is the base of the head
    return [role.head_end ? between(role.head, role.head_end) : beyond(pelvis, role.head, past), role.head, 0.5];
  }
  const face = role.nose ?? (role.left_eye && role.right_eye ? between(role.left_eye, role.right_eye) : null);
  return [face, face ?? pelvis, 0.4];
}

function limbs(role, side) {
  const limb = {};
  for (const joint of ["shoulder", "elbow", "hip", "knee", "ankle"]) if (role[joint]) limb[`${joint}_${side}`] = role[joint];
  if (role.toe) limb[`foot_${side}`] = role.toe;
  if (role.wrist) {
    const { elbow, wrist, hand } = role;
    limb[`wrist_${side}`] = wrist;
    limb[`hand_${side}`] = hand ?? role.finger ?? beyond(elbow, wrist, 0.3);
    limb[`hand_tip_${side}`] = role.hand_tip ?? (hand ? beyond(wrist, hand, 0.8) : beyond(elbow, wrist, 0.6));
    limb[`thumb_${side}`] = role.thumb ?? hand ?? beyond(elbow, wrist, 0.3);
  }
  return limb;
}
