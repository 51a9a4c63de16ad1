// The panel of the method: the mask of one draw, true and predicted motion, attention of the chosen joint.

import type { Clock } from "./clock";
import { bytesOf, type Method, unpackBits } from "./data";
import { css, heat, make, sharpen } from "./dom";


export class MethodPanel {
  private pictures: { canvas: HTMLCanvasElement; mark: HTMLElement; draw: (canvas: HTMLCanvasElement) => void }[] = [];
  private method: Method | null = null;
  private levels: Uint8Array | null = null;
  private joint = 0;
  private step = -1;
  private caption: HTMLElement | null = null;
  onJoint: (joint: number) => void = () => {};

  constructor(private readonly box: HTMLElement, private readonly clock: Clock, private readonly block: Uint8Array) {
    new ResizeObserver(() => this.redraw()).observe(box);
    clock.onChange(() => this.follow());
  }

  show(method: Method | null | undefined, weights: string): void {
    this.pictures = [];
    this.method = method ?? null;
    this.caption = null;
    if (!method) {
      this.box.replaceChildren(make("p", { class: "muted" }, weights ? "The joints of this recording cannot be converted to those of the model." : "This page was made without weights, so there is nothing to show of the model."));
      return;
    }
    const { steps, joints } = method, intensity = bytesOf(this.block, method.intensity);
    const hidden = unpackBits(bytesOf(this.block, method.mask), steps * joints);
    const who = method.people > 1 ? ` Person ${method.person} of ${method.people} is shown.` : "";
    this.box.replaceChildren(make("p", { class: "muted" }, `Weights ${weights}; ${method.note}.${who} Time runs to the right, joints downward.`));
    this.figure("Motion of each token", "What the mask is drawn from: tokens that move more are masked more often.",
      (canvas) => this.grid(canvas, steps, joints, (t, v) => heat(intensity[t * joints + v] / 254)));
    this.figure("Mask of one draw", method.hidden + ". Seen tokens are filled.",
      (canvas) => this.grid(canvas, steps, joints, (t, v) => (hidden[t * joints + v] ? css("--hidden") : css("--accent"))), "mask");
    if (method.truth && method.predicted) {
      const scale = method.unit.startsWith("m ") || method.unit === "m" ? 1000 : 1;
      const unit = scale === 1000 ? method.unit.replace(/^m/, "mm") : method.unit;
      const truth = bytesOf(this.block, method.truth), predicted = bytesOf(this.block, method.predicted);
      const draw = (values: Uint8Array, blank: boolean) => (canvas: HTMLCanvasElement) =>
        this.grid(canvas, method.frames, joints, (t, v) => {
          const value = values[t * joints + v];
          return value === 255 || (blank && predicted[t * joints + v] === 255) ? css("--hidden") : heat(value / 254);
        });
      this.figure(`True ${method.target} of the masked joints`, `0 to ${(method.top * scale).toFixed(1)} ${unit}.`, draw(truth, true), "truth");
      this.figure(`Predicted ${method.target}`, method.why, draw(predicted, false), "prediction");
    } else this.box.append(make("p", { class: "note", id: "no-decoder" }, method.why + " Weights of a training run have a decoder: mamp view FILE --weights RUN."));
    if (method.attention) {
      const packed = bytesOf(this.block, method.attention.values);
      this.levels = new Uint8Array(packed.length * 2);
      packed.forEach((byte, i) => this.levels!.set([byte >> 4, byte & 15], 2 * i));
      this.caption = this.figure("Attention", "", (canvas) => this.attention(canvas), "attention");
    }
    this.step = -1;
    this.redraw();
  }

  choose(joint: number): void {
    this.joint = Math.max(0, joint);
    this.step = -1;
    this.follow();
  }

  private figure(title: string, text: string, draw: (canvas: HTMLCanvasElement) => void, name = ""): HTMLElement {
    const canvas = make("canvas", { role: "img", "aria-label": `${title}. ${text}`, "data-picture": name });
    const mark = make("i", { class: "mark" }), caption = make("span", { class: "muted" }, text);
    this.box.append(make("figure", {}, make("figcaption", {}, make("strong", {}, title), " ", caption), make("div", { class: "picture" }, canvas, mark)));
    this.pictures.push({ canvas, mark, draw });
    canvas.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect(), { method } = this;
      if (!method) return;
      this.clock.seek(method.start + ((event.clientX - box.left) / box.width) * (method.end - method.start));
      this.onJoint(Math.max(0, Math.min(method.joints - 1, Math.floor(((event.clientY - box.top) / box.height) * method.joints))));
    });
    return caption;
  }

  redraw(): void {
    if (!this.box.clientWidth) return;
    for (const { canvas, draw } of this.pictures) draw(canvas);
    this.follow();
  }

  private grid(canvas: HTMLCanvasElement, columns: number, rows: number, colour: (t: number, v: number) => string): void {
    const [context, width, height] = sharpen(canvas);
    const [w, h] = [width / columns, height / rows], gap = w > 4 ? 0.6 : 0;
    for (let t = 0; t < columns; t++)
      for (let v = 0; v < rows; v++) {
        context.fillStyle = colour(t, v);
        context.fillRect(t * w, v * h, w - gap + (gap ? 0 : 0.5), h - 0.5);
      }
  }

  private now(): number {
    const { method } = this;
    if (!method) return 0;
    return Math.max(0, Math.min(0.9999, (this.clock.time - method.start) / Math.max(method.end - method.start, 1e-6)));
  }

  private attention(canvas: HTMLCanvasElement): void {
    const method = this.method!, { steps, joints } = method, size = steps * joints;
    const step = Math.floor(this.now() * steps), from = (step * joints + Math.min(this.joint, joints - 1)) * size;
    this.grid(canvas, steps, joints, (t, v) => heat(this.levels![from + t * joints + v] / 15));
    const [context, width, height] = [canvas.getContext("2d")!, canvas.clientWidth, canvas.clientHeight];
    context.strokeStyle = css("--accent");
    context.lineWidth = 2;
    context.strokeRect((step * width) / steps, (this.joint * height) / joints, width / steps, height / joints);
  }

  private follow(): void {
    const { method } = this;
    if (!method || !this.box.clientWidth) return;
    const inside = this.clock.time >= method.start && this.clock.time <= method.end + 1e-6;
    for (const { mark } of this.pictures) {
      mark.style.left = `${this.now() * 100}%`;
      mark.hidden = !inside;
    }
    const step = Math.floor(this.now() * method.steps), last = this.pictures[this.pictures.length - 1];
    if (!method.attention || step === this.step) return;
    this.step = step;
    last.draw(last.canvas);
    const { low, high, note } = method.attention, name = method.names[this.joint] ?? `joint ${this.joint}`;
    this.caption!.textContent = `Where ${name} at this time looks (${note}): from ${2 ** low} or less to ${2 ** high} times the mean. Click a joint.`;
  }
}

