// Rows over time: motion, what was tracked, the embedding, segments, windows; scrub by dragging, Shift-drag loops.

import type { Clock } from "./clock";
import { bytesOf } from "./data";
import { clockTime, css, find, make, sharpen } from "./dom";
import type { Recording } from "./recording";

interface Row { canvas: HTMLCanvasElement; draw: (context: CanvasRenderingContext2D, width: number, height: number) => void; value: (time: number) => string }

export class Timeline {
  private readonly box = find("rows");
  private readonly track = find("timeline");
  private readonly playhead = find("playhead");
  private readonly part = find("part");
  private readonly tip = find("tip");
  private rows: Row[] = [];
  private left = 0;
  private width = 1;
  onWindow: (start: number, end: number) => void = () => {};

  constructor(private readonly clock: Clock, private readonly block: Uint8Array) {
    new ResizeObserver(() => this.redraw()).observe(this.track);
    this.listen();
    clock.onChange(() => this.follow());
  }

  private x(time: number): number {
    return (time / this.clock.duration) * this.width;
  }

  show(recording: Recording): void {
    this.box.replaceChildren();
    this.rows = [];
    const { source } = recording, fps = recording.fps;
    this.add("", "ruler", (c, w, h) => this.drawRuler(c, w, h), () => "");
    const motions = [...Array(recording.read.people).keys()].map((m) => recording.motion(m));
    const top = Math.max(0.05, ...motions.map((one) => quantile(one, 0.995)));
    this.add("Motion", "tall", (c, w, h) => motions.forEach((one, m) => this.area(c, w, h, one, fps, top, css(`--person-${(m % 4) + 1}`))),
      (t) => motions.map((one) => `${show(one[recording.frame(t)])} m/s`).join(", "), `mean speed of the tracked joints, up to ${top.toFixed(2)} m/s`);
    const coverage = motions.map((_, m) => recording.coverage(m));
    this.add("Tracked", coverage.length > 2 ? "tall" : "", (c, w, h) => coverage.forEach((one, m) => this.tracked(c, w, h, one, fps, m, coverage.length)),
      (t) => coverage.map((one) => `${Math.round(100 * one[recording.frame(t)])} %`).join(", ") + " of the joints", "share of the joints that were tracked");
    if (source.trace) {
      const change = bytesOf(this.block, source.trace.change), colour = bytesOf(this.block, source.trace.colour);
      const values = Float32Array.from(change, (one) => (one === 255 ? NaN : one / 254));
      const scale = source.trace.top;
      this.add("Embedding", "tall", (c, w, h) => {
        this.strip(c, w, h, colour, fps);
        this.area(c, w, h - 8, values, fps, 1, css("--accent"));
      }, (t) => `change ${show(values[recording.frame(t)] * scale, 3)}`, `${source.trace.note}; the strip: first three principal components as colours`);
    }
    if (source.segments?.length) {
      const segments = source.segments;
      const named = segments.some((one) => one.label);
      this.add("Segments", "", (c, w, h) => segments.forEach((one, i) => this.bar(c, w, one.start, one.end, 2, h - 4, i % 2 ? "--bar-1" : "--bar-2", one.label || `${i + 1}`)),
        (t) => {
          const i = segments.findIndex((one) => one.start <= t && t < one.end);
          return i < 0 ? "" : `${segments[i].label || `stretch ${i + 1}`}${segments[i].score === null ? "" : ` (${segments[i].score!.toFixed(2)})`}`;
        }, named ? "segments" : "stretches between the peaks of the embedding's change");
    }
    if (source.windows && source.windows.spans.length > 0) {
      const { spans } = source.windows, lanes = Math.min(3, spans.length);
      this.add("Windows", spans.length > 1 ? "tall" : "", (c, w, h) => spans.forEach(([start, end], i) => {
        const now = this.clock.time >= start && this.clock.time < end;
        this.bar(c, w, start, end, 2 + ((i % lanes) * (h - 4)) / lanes, (h - 4) / lanes - 2, now ? "--bar-on" : "--bar-1", "");
      }), (t) => spans.filter(([start, end]) => start <= t && t < end).map(([start, end]) => `${start.toFixed(1)}–${end.toFixed(1)} s`).join(", "),
        source.windows.note + (source.nearest ? "; a click shows the nearest of one" : ""));
    }
    this.redraw();
  }

  private add(label: string, kind: string, draw: Row["draw"], value: Row["value"], note = ""): void {
    const canvas = make("canvas", { class: kind, "aria-hidden": "true" });
    if (label === "Windows") canvas.dataset.windows = "true";
    const title = make("span", { class: "label", title: note }, label);
    this.box.append(make("div", { class: `row ${kind}`, "data-row": label.toLowerCase() }, title, canvas));
    if (note) title.append(make("span", { class: "sr" }, `: ${note}`));
    this.rows.push({ canvas, draw, value });
  }

  redraw(): void {
    if (!this.rows.length) return;
    for (const { canvas, draw } of this.rows) {
      const [context, width, height] = sharpen(canvas);
      draw(context, width, height);
    }
    const outer = this.track.getBoundingClientRect(), inner = this.rows[0].canvas.getBoundingClientRect();
    this.left = inner.left - outer.left;
    this.width = Math.max(1, inner.width);
    this.follow();
  }

  private windowAt = -1;

  private follow(): void {
    const { clock } = this;
    this.playhead.style.transform = `translateX(${(this.left + this.x(clock.time)).toFixed(2)}px)`;
    const [start, end] = clock.part ?? [0, 0];
    this.part.hidden = !clock.part;
    if (clock.part) {
      this.part.style.left = `${this.left + this.x(start)}px`;
      this.part.style.width = `${this.x(end - start)}px`;
      this.part.classList.toggle("off", !clock.loop);
    }
    this.track.setAttribute("aria-valuenow", clock.time.toFixed(2));
    this.track.setAttribute("aria-valuetext", `${clockTime(clock.time)} of ${clockTime(clock.duration)}, frame ${clock.frame}`);
    const row = this.rows.find((one) => one.canvas.dataset.windows);
    const key = Math.floor(clock.time * 4);
    if (row && key !== this.windowAt) {
      this.windowAt = key; // which windows are lit changes rarely
      const [context, width, height] = sharpen(row.canvas);
      row.draw(context, width, height);
    }
  }

  private listen(): void {
    let mode: "" | "scrub" | "part" = "", from = 0, moved = false, onWindows = false;
    const time = (event: PointerEvent) => {
      const x = event.clientX - this.track.getBoundingClientRect().left - this.left;
      return Math.max(0, Math.min(this.clock.duration, (x / this.width) * this.clock.duration));
    };
    this.box.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || (event.target as HTMLElement).tagName !== "CANVAS") return;
      this.box.setPointerCapture(event.pointerId);
      mode = event.shiftKey ? "part" : "scrub";
      from = time(event);
      moved = false;
      onWindows = !!(event.target as HTMLElement).dataset.windows;
      if (mode === "scrub") this.clock.seek(from);
    });
    this.box.addEventListener("pointermove", (event) => {
      this.hint(event, time(event));
      if (!mode) return;
      const now = time(event);
      moved ||= Math.abs(this.x(now) - this.x(from)) > 3;
      if (mode === "scrub") this.clock.seek(now);
      else if (moved) this.clock.setPart([Math.min(from, now), Math.max(from, now)]);
    });
    const done = (event: PointerEvent) => {
      if (mode === "part" && !moved) this.clock.setPart(null);
      if (mode === "scrub" && !moved && onWindows) this.onWindow(time(event), time(event));
      mode = "";
    };
    this.box.addEventListener("pointerup", done);
    this.box.addEventListener("pointercancel", () => (mode = ""));
    this.box.addEventListener("pointerleave", () => (this.tip.hidden = true));
  }

  private hint(event: PointerEvent, time: number): void {
    const row = this.rows.find((one) => one.canvas === document.elementFromPoint(event.clientX, event.clientY));
    const text = row?.value(Math.min(time, this.clock.last)) ?? "";
    this.tip.hidden = !text;
    if (!text) return;
    this.tip.textContent = `${clockTime(time)}: ${text}`;
    const box = this.track.getBoundingClientRect(), half = this.tip.offsetWidth / 2;
    const x = Math.max(half, Math.min(box.width - half, event.clientX - box.left));
    this.tip.style.transform = `translate(${x - half}px, ${row!.canvas.getBoundingClientRect().top - box.top - 28}px)`;
  }

  private drawRuler(context: CanvasRenderingContext2D, width: number, height: number): void {
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600].find((one) => (one / this.clock.duration) * width > 52) ?? 1200;
    context.fillStyle = css("--muted");
    context.font = `${css("--tiny")} system-ui, sans-serif`;
    context.textBaseline = "middle";
    for (let i = 0; i * step <= this.clock.duration + 1e-9; i++) {
      const x = (i * step * width) / this.clock.duration, text = step < 1 ? (i * step).toFixed(1) : clockTime(i * step, 0);
      context.fillRect(Math.min(x, width - 1), height - 5, 1, 5);
      const size = context.measureText(text).width;
      if (x + size + 3 < width) context.fillText(text, x + 3, height / 2);
    }
  }

  // A filled curve of values [T]; where several frames share a pixel, the largest.
  private area(context: CanvasRenderingContext2D, width: number, height: number, values: Float32Array, fps: number, top: number, colour: string): void {
    const wide = this.clock.duration, columns = Math.max(1, Math.min(Math.round(width), Math.round(wide * fps)));
    context.beginPath();
    context.moveTo(0, height);
    let x = 0;
    for (let i = 0; i < columns; i++) {
      const from = Math.round((i / columns) * wide * fps), to = Math.max(from + 1, Math.round(((i + 1) / columns) * wide * fps));
      let value = 0;
      for (let t = from; t < Math.min(to, values.length); t++) if (values[t] > value) value = values[t];
      if (from >= values.length) break;
      x = ((i + 0.5) / columns) * width;
      const y = height - Math.min(1, value / top) * (height - 2);
      if (i === 0) context.lineTo(0, y);
      context.lineTo(x, y);
    }
    context.strokeStyle = colour;
    context.lineWidth = 1.4;
    context.stroke();
    context.lineTo(x, height);
    context.globalAlpha = 0.22;
    context.fillStyle = colour;
    context.fill();
    context.globalAlpha = 1;
  }

  private tracked(context: CanvasRenderingContext2D, width: number, height: number, values: Float32Array, fps: number, lane: number, lanes: number): void {
    const tall = (height - 4) / lanes, y = 2 + lane * tall, columns = Math.ceil(width);
    const [full, none] = [css("--full"), css("--missing")];
    for (let i = 0; i < columns; i++) {
      const from = Math.floor((i / columns) * this.clock.duration * fps), to = Math.max(from + 1, Math.floor(((i + 1) / columns) * this.clock.duration * fps));
      let low = 1;
      for (let t = from; t < Math.min(to, values.length); t++) low = Math.min(low, values[t]);
      if (from >= values.length) break;
      context.fillStyle = none;
      context.fillRect(i, y, 1.5, tall - 1);
      context.fillStyle = full;
      context.fillRect(i, y + (1 - low) * (tall - 1), 1.5, low * (tall - 1));
    }
  }

  private strip(context: CanvasRenderingContext2D, width: number, height: number, colour: Uint8Array, fps: number): void {
    const columns = Math.ceil(width), frames = colour.length / 3;
    for (let i = 0; i < columns; i++) {
      const t = Math.floor(((i + 0.5) / columns) * this.clock.duration * fps);
      if (t >= frames) break;
      context.fillStyle = `rgb(${colour[3 * t]} ${colour[3 * t + 1]} ${colour[3 * t + 2]})`;
      context.fillRect(i, height - 7, 1.5, 7);
    }
  }

  private bar(context: CanvasRenderingContext2D, width: number, start: number, end: number, y: number, tall: number, colour: string, label: string): void {
    const x = (start / this.clock.duration) * width, wide = ((end - start) / this.clock.duration) * width;
    context.fillStyle = css(colour);
    context.beginPath();
    context.roundRect(x + 0.5, y, Math.max(1, wide - 1), tall, Math.max(0, Math.min(3, tall / 2)));
    context.fill();
    if (!label) return;
    context.fillStyle = css("--text");
    context.font = `${css("--tiny")} system-ui, sans-serif`;
    context.textBaseline = "middle";
    if (context.measureText(label).width + 8 < wide) context.fillText(label, x + 5, y + tall / 2 + 0.5);
  }
}

function quantile(values: Float32Array, share: number): number {
  const known = values.filter((one) => !Number.isNaN(one)).sort();
  return known.length ? known[Math.min(known.length - 1, Math.floor(known.length * share))] : 0;
}

const show = (value: number, digits = 2) => (Number.isNaN(value) ? "not tracked" : value.toFixed(digits));
