// A recording in the browser: positions as read and in the model's joints, and what is measured on them.

import { type Layout, type Payload, type Source, unpackBits, unpackPositions, bytesOf } from "./data";

export class Body {
  constructor(
    readonly layout: Layout,
    readonly frames: number,
    readonly people: number,
    readonly positions: Float32Array,
    readonly tracked: Uint8Array,
  ) {}

  // Index into tracked; three times it, into positions.
  at(person: number, frame: number, joint: number): number {
    return (person * this.frames + frame) * this.layout.joints.length + joint;
  }
}

export class Recording {
  readonly read: Body;
  readonly model: Body | null;
  readonly fps: number;
  readonly frames: number;
  readonly duration: number;
  readonly floor: number;
  readonly turn: number; // about the vertical, so that the person looks towards +z on average
  readonly centre: [number, number];
  readonly reach: number; // how far the middle of a body goes sideways from the centre, once turned
  readonly height: number;

  constructor(readonly source: Source, page: Payload, block: Uint8Array) {
    const { frames, people, layout } = source;
    const size = people * frames * layout.joints.length;
    const tracked = source.tracked ? unpackBits(bytesOf(block, source.tracked), size) : new Uint8Array(size).fill(1);
    this.read = new Body(layout, frames, people, unpackPositions(block, source), tracked);
    this.model = source.conversion && convert(this.read, page.model, source.conversion.rows);
    this.fps = source.fps;
    this.frames = frames;
    this.duration = frames / source.fps;
    const seen = this.sample();
    const low = seen.map((p) => p[1]).sort((a, b) => a - b);
    this.floor = low.length ? low[Math.floor(low.length * 0.005)] : 0;
    this.height = low.length ? Math.max(low[low.length - 1] - this.floor, 0.3) : 1.8;
    this.turn = this.facing();
    const [x, z] = [range(seen.map((p) => p[0])), range(seen.map((p) => p[2]))];
    this.centre = [(x[0] + x[1]) / 2, (z[0] + z[1]) / 2];
    const cos = Math.cos(this.turn), sin = Math.sin(this.turn);
    this.reach = Math.max(0.5, ...seen.map((p) => Math.abs((p[0] - this.centre[0]) * cos + (p[2] - this.centre[1]) * sin)));
  }

  frame(time: number): number {
    return Math.max(0, Math.min(this.frames - 1, Math.floor(time * this.fps + 1e-6)));
  }

  // Tracked points of up to a few hundred frames.
  private sample(): number[][] {
    const { read } = this, found: number[][] = [], step = Math.max(1, Math.floor(this.frames / 300));
    for (let m = 0; m < read.people; m++)
      for (let t = 0; t < read.frames; t += step)
        for (let v = 0; v < read.layout.joints.length; v++) {
          const i = read.at(m, t, v);
          if (read.tracked[i]) found.push([read.positions[3 * i], read.positions[3 * i + 1], read.positions[3 * i + 2]]);
        }
    return found;
  }

  private facing(): number {
    if (!this.model) return 0;
    const body = this.model, name = (joint: string) => body.layout.joints.indexOf(joint);
    let fx = 0, fz = 0;
    for (const [right, left] of [["hip_right", "hip_left"], ["shoulder_right", "shoulder_left"]])
      for (let t = 0; t < body.frames; t++) {
        const a = body.at(0, t, name(right)), b = body.at(0, t, name(left));
        if (!body.tracked[a] || !body.tracked[b]) continue;
        const x = body.positions[3 * a] - body.positions[3 * b], z = body.positions[3 * a + 2] - body.positions[3 * b + 2];
        const length = Math.hypot(x, z) || 1;
        fx += z / length; // up cross right
        fz -= x / length;
      }
    return fx || fz ? -Math.atan2(fx, fz) : 0;
  }

  // The middle of a person in a frame: the root, or the nearest frame that has it; null where there is nobody.
  middle(person: number, frame: number): [number, number, number] | null {
    const { read } = this, V = read.layout.joints.length;
    const sum = [0, 0, 0];
    let n = 0;
    for (let v = 0; v < V; v++) {
      const i = read.at(person, frame, v);
      if (!read.tracked[i]) continue;
      for (let c = 0; c < 3; c++) sum[c] += read.positions[3 * i + c];
      n++;
    }
    return n ? [sum[0] / n, sum[1] / n, sum[2] / n] : null;
  }

  // Mean speed of the tracked joints of a person, metres a second, [T]; NaN where nothing was tracked twice.
  motion(person: number): Float32Array {
    const { read } = this, out = new Float32Array(this.frames), V = read.layout.joints.length;
    for (let t = 0; t < this.frames; t++) {
      let sum = 0, n = 0;
      const before = Math.max(t - 1, 0), after = before + 1 < this.frames ? before + 1 : before;
      for (let v = 0; v < V; v++) {
        const a = read.at(person, before, v), b = read.at(person, after, v);
        if (!read.tracked[a] || !read.tracked[b]) continue;
        const p = read.positions;
        sum += Math.hypot(p[3 * b] - p[3 * a], p[3 * b + 1] - p[3 * a + 1], p[3 * b + 2] - p[3 * a + 2]);
        n++;
      }
      out[t] = n ? (sum / n) * this.fps : NaN;
    }
    return out;
  }

  // Share of the joints that were tracked, [T].
  coverage(person: number): Float32Array {
    const { read } = this, out = new Float32Array(this.frames), V = read.layout.joints.length;
    for (let t = 0; t < this.frames; t++) {
      let n = 0;
      for (let v = 0; v < V; v++) n += read.tracked[read.at(person, t, v)];
      out[t] = n / V;
    }
    return out;
  }
}

function convert(read: Body, model: Layout, rows: [number, number][][]): Body {
  const { people, frames } = read, V = model.joints.length;
  const positions = new Float32Array(people * frames * V * 3), tracked = new Uint8Array(people * frames * V);
  for (let m = 0; m < people; m++)
    for (let t = 0; t < frames; t++)
      for (let v = 0; v < V; v++) {
        const out = (m * frames + t) * V + v;
        let known = rows[v].length > 0;
        for (const [joint, weight] of rows[v]) {
          const i = read.at(m, t, joint);
          known &&= read.tracked[i] === 1;
          for (let c = 0; c < 3; c++) positions[3 * out + c] += weight * read.positions[3 * i + c];
        }
        tracked[out] = known ? 1 : 0;
      }
  return new Body(model, frames, people, positions, tracked);
}

function range(values: number[]): [number, number] {
  const sorted = values.sort((a, b) => a - b);
  return sorted.length ? [sorted[0], sorted[sorted.length - 1]] : [0, 0];
}
