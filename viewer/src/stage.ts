// The 3D view: recordings side by side on a floor, a camera to orbit, pan and zoom.

import {
  AmbientLight, Color, DirectionalLight, GridHelper, HemisphereLight, type InstancedMesh, type LineBasicMaterial, Matrix4, PerspectiveCamera,
  Raycaster, Scene, Vector2, Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import { Actor, type Palette, type Show } from "./actor";

export type View = "free" | "front" | "side" | "top";

export class Stage {
  readonly actors: Actor[] = [];
  private readonly renderer: WebGLRenderer;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(35, 1, 0.05, 500);
  private readonly controls: OrbitControls;
  private grid: GridHelper | null = null;
  private names: HTMLElement[] = [];
  private readonly ray = new Raycaster();
  private readonly label = new Vector3();
  view: View = "free";
  show: Show = "over";
  inPlace = false;
  trail = true;
  follow = true;
  dirty = true;
  private followed = new Vector3();
  onPick: (actor: number, joint: number) => void = () => {};
  onView: () => void = () => {};

  constructor(readonly canvas: HTMLCanvasElement, private readonly overlay: HTMLElement, private palette: Palette, private colours: { floor: string; cell: string }) {
    this.renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true, powerPreference: "low-power" });
    this.scene.add(new AmbientLight(0xffffff, 1), new HemisphereLight(0xffffff, 0x8088a0, 1.6));
    const sun = new DirectionalLight(0xffffff, 1.6);
    sun.position.set(2, 5, 4);
    this.scene.add(sun);
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.maxPolarAngle = Math.PI / 2 + 0.15;
    this.controls.minDistance = 0.4;
    this.controls.maxDistance = 120;
    this.controls.addEventListener("change", () => (this.dirty = true));
    this.controls.addEventListener("start", () => this.setFree());
    this.listenForClicks();
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement!);
    this.resize();
  }

  private setFree(): void {
    if (this.view === "free") return;
    this.view = "free";
    this.onView();
  }

  add(actor: Actor): void {
    this.actors.push(actor);
    this.scene.add(actor.group);
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = actor.recording.source.name;
    this.names.push(name);
    this.overlay.append(name);
    this.arrange();
  }

  remove(actor: Actor): void {
    const at = this.actors.indexOf(actor);
    this.actors.splice(at, 1);
    this.names.splice(at, 1)[0].remove();
    this.scene.remove(actor.group);
    actor.dispose();
    this.arrange();
  }

  // Lay the actors out from left to right, and the floor beneath them.
  arrange(): void {
    for (const actor of this.actors) {
      Object.assign(actor, { show: this.show, inPlace: this.inPlace, trail: this.trail });
      actor.rebuild();
    }
    const gap = 0.4, total = this.actors.reduce((sum, one) => sum + one.width, 0) + gap * (this.actors.length - 1);
    let x = -total / 2;
    for (const actor of this.actors) {
      const beside = this.show === "beside" ? 0.55 : 0;
      actor.group.position.set(x + actor.width / 2 - beside, 0, 0);
      x += actor.width + gap;
    }
    const size = Math.max(6, 2 * Math.ceil(total / 2 + 1), ...this.actors.map((one) => 2 * Math.ceil(one.recording.reach + 1)));
    if (this.grid) {
      this.scene.remove(this.grid);
      this.grid.dispose();
    }
    this.grid = new GridHelper(size, size * 2, this.colours.floor, this.colours.cell);
    (this.grid.material as LineBasicMaterial).transparent = true;
    (this.grid.material as LineBasicMaterial).opacity = 0.7;
    this.scene.add(this.grid);
    for (const name of this.names) name.style.maxWidth = `min(14rem, ${Math.floor(96 / this.names.length)}%)`;
    this.dirty = true;
  }

  repaint(palette: Palette, colours: { floor: string; cell: string }): void {
    this.palette = palette;
    this.colours = colours;
    for (const actor of this.actors) actor.repaint(palette);
    this.arrange();
  }

  choose(joint: number): void {
    for (const actor of this.actors) {
      actor.chosen = joint;
      actor.repaint(this.palette);
      actor.rebuild();
    }
    this.dirty = true;
  }

  // Look from a side at all that is on the stage.
  look(view: View, time: number): void {
    this.view = view;
    const middle = new Vector3();
    this.actors.forEach((one) => middle.add(one.middle(time)));
    if (this.actors.length) middle.divideScalar(this.actors.length);
    const tall = Math.max(1, ...this.actors.map((one) => one.recording.height));
    const from = { free: this.actors.length > 1 ? [0.22, 0.26, 1] : [0.45, 0.28, 0.85], front: [0, 0.02, 1], side: [-1, 0.02, 0.0001], top: [0, 1, 0.0001] }[view];
    const target = new Vector3(middle.x, tall * 0.5, middle.z), direction = new Vector3(...from).normalize();
    this.camera.position.copy(direction).multiplyScalar(this.distance(direction, target, time)).add(target);
    this.controls.target.copy(target);
    this.controls.update();
    this.followed.copy(middle);
    this.dirty = true;
    this.onView();
  }

  // How far away all bodies are in the picture: their boxes, seen along a direction.
  private distance(direction: Vector3, target: Vector3, time: number): number {
    const right = new Vector3(0, 1, 0).cross(direction).normalize(), up = direction.clone().cross(right);
    const half = Math.tan(((this.camera.fov / 2) * Math.PI) / 180), several = this.actors.length > 1, corner = new Vector3();
    let away = 1;
    for (const actor of this.actors) {
      const middle = several ? actor.group.position : actor.middle(time);
      const beside = this.show === "beside" ? 1.1 : 0;
      const aside = several ? (actor.width - beside) / 2 : actor.several ? Math.min(actor.recording.reach + 0.2, 6) : 0.75;
      const [left, wide] = [aside, aside + beside];
      for (const x of [-left, wide])
        for (const y of [-0.12, actor.recording.height + 0.12])
          for (const z of [-0.5, 0.5]) {
            corner.set(middle.x + x, y, middle.z + z).sub(target);
            const across = Math.abs(corner.dot(right)) / (half * this.camera.aspect), along = Math.abs(corner.dot(up)) / half;
            away = Math.max(away, Math.max(across, along * 1.12) + corner.dot(direction));
          }
    }
    return Math.min(away, 60);
  }

  render(time: number): void {
    for (const actor of this.actors) actor.pose(time);
    if (this.follow && this.actors.length) {
      const middle = this.actors[0].middle(time), moved = middle.clone().sub(this.followed);
      if (this.actors.length === 1 && moved.lengthSq() > 1e-8) {
        this.camera.position.add(moved);
        this.controls.target.add(moved);
        this.controls.update();
      }
      this.followed.copy(middle);
    }
    this.renderer.render(this.scene, this.camera);
    this.placeNames(time);
    this.dirty = false;
  }

  private placeNames(time: number): void {
    const box = this.canvas.getBoundingClientRect();
    this.actors.forEach((actor, i) => {
      const name = this.names[i];
      name.hidden = this.actors.length < 2;
      if (name.hidden) return;
      this.label.copy(actor.middle(time)).setY(actor.recording.height + 0.16).project(this.camera);
      const x = ((this.label.x + 1) / 2) * box.width, y = ((1 - this.label.y) / 2) * box.height;
      name.style.transform = `translate(-50%, -100%) translate(${x.toFixed(1)}px, ${Math.max(24, y).toFixed(1)}px)`;
      name.style.visibility = this.label.z < 1 ? "visible" : "hidden";
    });
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.canvas.parentElement!;
    if (!clientWidth || !clientHeight) return;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
    this.renderer.setSize(clientWidth, clientHeight, false);
    this.camera.aspect = clientWidth / clientHeight;
    this.camera.updateProjectionMatrix();
    this.dirty = true;
  }

  private listenForClicks(): void {
    let from: [number, number] | null = null;
    this.canvas.addEventListener("pointerdown", (event) => (from = [event.clientX, event.clientY]));
    this.canvas.addEventListener("pointerup", (event) => {
      if (!from || Math.hypot(event.clientX - from[0], event.clientY - from[1]) > 5) return;
      const box = this.canvas.getBoundingClientRect();
      const at = new Vector2(((event.clientX - box.left) / box.width) * 2 - 1, 1 - ((event.clientY - box.top) / box.height) * 2);
      this.ray.setFromCamera(at, this.camera);
      let best: { actor: number; joint: number; distance: number } | null = null;
      this.actors.forEach((actor, i) => {
        for (const mesh of actor.targets()) {
          mesh.computeBoundingSphere();
          const hit = this.ray.intersectObject(mesh)[0];
          if (hit && (!best || hit.distance < best.distance)) best = { actor: i, joint: hit.instanceId!, distance: hit.distance };
        }
      });
      if (best) this.onPick((best as { actor: number }).actor, (best as { joint: number }).joint);
    });
  }

  // Where a joint of the model is on the screen, for tests.
  where(actor: number, joint: number): [number, number] {
    this.scene.updateMatrixWorld();
    this.camera.updateMatrixWorld();
    const mesh = this.actors[actor].targets()[0], box = this.canvas.getBoundingClientRect();
    const at = new Vector3().setFromMatrixPosition(matrixOf(mesh, joint)).applyMatrix4(mesh.matrixWorld).project(this.camera);
    return [box.left + ((at.x + 1) / 2) * box.width, box.top + ((1 - at.y) / 2) * box.height];
  }

  background(colour: string): void {
    this.scene.background = new Color(colour);
  }
}


function matrixOf(mesh: InstancedMesh, index: number): Matrix4 {
  const matrix = new Matrix4();
  mesh.getMatrixAt(index, matrix);
  return matrix;
}
