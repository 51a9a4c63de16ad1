// A recording on the stage: the body as it was read, the model's joints, and trails, as three.js objects.

import {
  BufferAttribute, BufferGeometry, Color, CylinderGeometry, Group, IcosahedronGeometry, InstancedMesh, LineBasicMaterial,
  LineSegments, Matrix4, MeshBasicMaterial, MeshStandardMaterial, OctahedronGeometry, Quaternion, Vector3,
} from "three";
import type { Status } from "./data";
import { type Body, Recording } from "./recording";

export type Show = "over" | "beside" | "read" | "model";

export interface Palette {
  people: string[];
  bone: string;
  status: Record<Status, string>;
  chosen: string;
  trail: string;
}

const TRAIL = 1.5; // seconds
const UP = new Vector3(0, 1, 0);
const HIDDEN = new Matrix4().makeScale(0, 0, 0);

const ball = new IcosahedronGeometry(1, 3);
const rod = new CylinderGeometry(1, 1, 1, 8, 1, true);
const gem = new OctahedronGeometry(1);

// Joints and bones of one person, updated frame by frame.
class Figure {
  readonly joints: InstancedMesh;
  readonly bones: InstancedMesh;
  private readonly links: [number, number][];
  private readonly matrix = new Matrix4();
  private readonly a = new Vector3();
  private readonly b = new Vector3();
  private readonly scale = new Vector3();
  private readonly turn = new Quaternion();

  constructor(group: Group, readonly body: Body, readonly person: number, readonly radius: number, readonly thickness: number) {
    this.links = body.layout.parents.flatMap((parent, v) => (parent >= 0 ? [[v, parent] as [number, number]] : []));
    this.joints = new InstancedMesh(ball, new MeshStandardMaterial({ roughness: 0.55 }), body.layout.joints.length);
    this.bones = new InstancedMesh(rod, new MeshStandardMaterial({ roughness: 0.7 }), Math.max(1, this.links.length));
    for (const mesh of [this.joints, this.bones]) {
      mesh.frustumCulled = false;
      group.add(mesh);
    }
    if (!this.links.length) this.bones.visible = false;
  }

  show(visible: boolean): void {
    this.joints.visible = visible;
    this.bones.visible = visible && this.links.length > 0;
  }

  pose(frame: number, shift: Vector3, sizes: ((joint: number) => number) | null): void {
    const { body, matrix } = this;
    for (let v = 0; v < body.layout.joints.length; v++) {
      if (!this.point(frame, v, shift, this.a)) this.joints.setMatrixAt(v, HIDDEN);
      else {
        const r = this.radius * (sizes ? sizes(v) : 1);
        this.joints.setMatrixAt(v, matrix.makeScale(r, r, r).setPosition(this.a));
      }
    }
    this.links.forEach(([v, parent], i) => {
      if (!this.point(frame, v, shift, this.a) || !this.point(frame, parent, shift, this.b)) {
        this.bones.setMatrixAt(i, HIDDEN);
        return;
      }
      const length = this.a.distanceTo(this.b);
      this.scale.set(this.thickness, length, this.thickness);
      this.b.add(this.a).multiplyScalar(0.5);
      const direction = this.a.sub(this.b);
      this.turn.setFromUnitVectors(UP, length > 1e-6 ? direction.normalize() : UP);
      this.bones.setMatrixAt(i, matrix.compose(this.b, this.turn, this.scale));
    });
    this.joints.instanceMatrix.needsUpdate = this.bones.instanceMatrix.needsUpdate = true;
  }

  point(frame: number, joint: number, shift: Vector3, out: Vector3): boolean {
    const i = this.body.at(this.person, frame, joint);
    if (!this.body.tracked[i]) return false;
    const p = this.body.positions;
    out.set(p[3 * i] + shift.x, p[3 * i + 1] + shift.y, p[3 * i + 2] + shift.z);
    return true;
  }

  paint(colour: (joint: number) => string, bone: string): void {
    for (let v = 0; v < this.body.layout.joints.length; v++) this.joints.setColorAt(v, new Color(colour(v)));
    this.joints.instanceColor!.needsUpdate = true;
    (this.bones.material as MeshStandardMaterial).color.set(bone);
  }
}

export class Actor {
  readonly group = new Group(); // in the middle of its place on the stage, looking towards +z
  private readonly inner = new Group();
  private readonly read: Figure[] = [];
  private readonly model: Figure[] = [];
  private readonly absent: InstancedMesh[] = [];
  private readonly trails: LineSegments[] = [];
  private readonly shift = new Vector3();
  private readonly aside = new Vector3();
  private readonly parents: number[];
  show: Show = "over";
  inPlace = false;
  trail = true;
  chosen = -1; // a joint of the model
  heat: ((joint: number) => string) | null = null;
  private shown = -1;

  constructor(
    readonly recording: Recording,
    readonly offset: number,
    readonly wraps: boolean,
    palette: Palette,
    readonly only = -1,
  ) {
    this.group.add(this.inner);
    this.inner.rotation.y = recording.turn;
    this.parents = recording.model?.layout.parents ?? [];
    for (let m = 0; m < recording.read.people; m++) {
      if (only >= 0 && m !== only) continue;
      this.read.push(new Figure(this.inner, recording.read, m, 0.022, 0.012));
      if (recording.model) {
        this.model.push(new Figure(this.inner, recording.model, m, 0.034, 0.008));
        const absent = new InstancedMesh(gem, new MeshBasicMaterial({ wireframe: true }), recording.model.layout.joints.length);
        absent.frustumCulled = false;
        this.absent.push(absent);
        this.inner.add(absent);
      }
      const trail = new LineSegments(new BufferGeometry(), new LineBasicMaterial({ transparent: true, opacity: 0.75 }));
      trail.frustumCulled = false;
      this.trails.push(trail);
      this.inner.add(trail);
    }
    this.repaint(palette);
    this.rebuild();
  }

  get width(): number {
    const body = this.inPlace ? 0.6 : this.recording.reach;
    return 2 * body + (this.show === "beside" ? 1.1 : 0);
  }

  get several(): boolean {
    return this.read.length > 1;
  }

  time(time: number): number {
    const { duration } = this.recording;
    const mine = time - this.offset;
    return this.wraps ? ((mine % duration) + duration) % duration : mine;
  }

  repaint(palette: Palette): void {
    const status = this.recording.source.conversion?.status;
    this.read.forEach((figure, i) => {
      const colour = palette.people[i % palette.people.length];
      figure.paint(() => colour, colour);
    });
    this.model.forEach((figure) => {
      figure.paint(
        (v) => (this.heat ? this.heat(v) : v === this.chosen ? palette.chosen : palette.status[status![v]]),
        palette.bone,
      );
    });
    for (const one of this.absent) (one.material as MeshBasicMaterial).color.set(palette.status.absent);
    this.trails.forEach((one) => (one.material as LineBasicMaterial).color.set(palette.trail));
    this.shown = -1;
  }

  // After what is shown has changed: the trails are drawn anew, the rest follows with the next pose.
  rebuild(): void {
    this.read.forEach((one) => one.show(this.show !== "model" || !this.model.length));
    this.model.forEach((one) => one.show(this.show !== "read"));
    this.absent.forEach((one) => (one.visible = this.show !== "read"));
    this.aside.set(this.show === "beside" ? 1.1 : 0, 0, 0).applyAxisAngle(UP, -this.recording.turn);
    this.shown = -1;
    this.trails.forEach((line, i) => {
      line.visible = this.trail;
      const figure = this.chosen >= 0 && this.model.length ? this.model[i] : this.read[i];
      const joint = this.chosen >= 0 && this.model.length ? this.chosen : Math.max(0, figure.body.layout.parents.indexOf(-1));
      const { frames } = this.recording, points = new Float32Array(frames * 3), index = new Uint32Array(2 * Math.max(frames - 1, 0));
      const point = new Vector3(), shift = new Vector3();
      let known = false;
      for (let t = 0; t < frames; t++) {
        const here = figure.point(t, joint, this.shiftAt(t, shift), point);
        if (here) point.toArray(points, 3 * t);
        if (t > 0) index.set(here && known ? [t - 1, t] : [t, t], 2 * (t - 1));
        known = here;
      }
      line.geometry.dispose();
      line.geometry = new BufferGeometry();
      line.geometry.setAttribute("position", new BufferAttribute(points, 3));
      line.geometry.setIndex(new BufferAttribute(index, 1));
    });
  }

  private shiftAt(frame: number, out: Vector3): Vector3 {
    const { recording } = this;
    let [x, z] = recording.centre;
    if (this.inPlace) {
      const middle = recording.middle(this.only >= 0 ? this.only : 0, frame);
      if (middle) [x, , z] = middle;
    }
    return out.set(-x, -recording.floor, -z);
  }

  // Where the bodies are in the middle of this actor's place, for a camera that follows.
  // Several people stay where they are: which of them is seen may change from frame to frame.
  middle(time: number): Vector3 {
    if (this.several && !this.inPlace) return this.group.position.clone();
    const frame = this.recording.frame(this.time(time));
    const at = this.recording.middle(this.only >= 0 ? this.only : 0, frame) ?? [this.recording.centre[0], 0, this.recording.centre[1]];
    const shift = this.shiftAt(frame, new Vector3());
    return new Vector3(at[0] + shift.x, 0, at[2] + shift.z).applyAxisAngle(UP, this.recording.turn).add(this.group.position);
  }

  pose(time: number): void {
    const mine = this.time(time), frame = this.recording.frame(mine);
    if (frame === this.shown) return;
    this.shown = frame;
    this.shiftAt(frame, this.shift);
    if (this.show !== "model" || !this.model.length) for (const figure of this.read) figure.pose(frame, this.shift, null);
    if (this.show !== "read") {
      const beside = this.shift.clone().add(this.aside);
      const status = this.recording.source.conversion?.status;
      this.model.forEach((figure, i) => {
        figure.pose(frame, beside, (v) => (v === this.chosen ? 1.7 : 1));
        this.placeAbsent(figure, this.absent[i], frame, beside, status!);
      });
    }
    const span = Math.round(TRAIL * this.recording.fps);
    for (const line of this.trails) line.geometry.setDrawRange(2 * Math.max(0, frame - span), 2 * Math.min(span, frame));
  }

  // Absent joints have no place: they are marked where the nearest joint on the way to the root is.
  private placeAbsent(figure: Figure, marks: InstancedMesh, frame: number, shift: Vector3, status: Status[]): void {
    const point = new Vector3(), matrix = new Matrix4();
    status.forEach((one, v) => {
      let anchor = this.parents[v];
      while (anchor >= 0 && status[anchor] === "absent") anchor = this.parents[anchor];
      if (one !== "absent" || anchor < 0 || !figure.point(frame, anchor, shift, point)) marks.setMatrixAt(v, HIDDEN);
      else marks.setMatrixAt(v, matrix.makeScale(0.06, 0.06, 0.06).setPosition(point));
    });
    marks.instanceMatrix.needsUpdate = true;
  }

  targets(): InstancedMesh[] {
    return this.show === "read" ? [] : this.model.map((figure) => figure.joints);
  }

  dispose(): void {
    for (const figure of [...this.read, ...this.model])
      for (const mesh of [figure.joints, figure.bones]) {
        (mesh.material as MeshStandardMaterial).dispose();
        mesh.dispose();
      }
    for (const line of this.trails) line.geometry.dispose();
  }
}
