// The nearest recordings of the window at the current time, as small players; a click takes one to the stage.

import type { Clock } from "./clock";
import type { Payload, Source } from "./data";
import { css, make } from "./dom";
import { drawFigure } from "./figure";
import { Recording } from "./recording";

type Window = NonNullable<Source["nearest"]>[number];

export class NeighbourPanel {
  private readonly loaded = new Map<number, Recording>();
  private players: { canvas: HTMLCanvasElement; recording: Recording; button: HTMLElement; clip: number }[] = [];
  private source: Source | null = null;
  private window: Window | null = null;
  private held = false; // a window that was clicked stays
  onStage: number | null = null;
  onClick: (clip: number, recording: Recording, start: number) => void = () => {};

  constructor(private readonly box: HTMLElement, private readonly clock: Clock, private readonly page: Payload, private readonly block: Uint8Array) {
    clock.onChange(() => this.follow());
  }

  clip(number: number): Recording {
    if (!this.loaded.has(number)) this.loaded.set(number, new Recording(this.page.clips[number], this.page, this.block));
    return this.loaded.get(number)!;
  }

  show(source: Source): void {
    this.source = source;
    this.window = null;
    this.held = false;
    this.players = [];
    if (!source.nearest) {
      this.box.replaceChildren(make("p", { class: "muted" }, "No index was given. mamp view FILE --index INDEX shows the nearest recordings of an archive here."));
      return;
    }
    this.follow();
  }

  // The window that is most in the middle at a time.
  private at(time: number): Window | null {
    const windows = this.source?.nearest ?? [];
    const off = (one: Window) => Math.abs((one.start + one.end) / 2 - time);
    return windows.reduce<Window | null>((best, one) => (!best || off(one) < off(best) ? one : best), null);
  }

  hold(time: number): void {
    this.held = true;
    this.open(this.at(time));
  }

  release(): void {
    this.held = false;
    this.follow();
  }

  private open(window: Window | null): void {
    if (!window || window === this.window) return;
    this.window = window;
    const free = make("button", { type: "button", class: "small", "aria-pressed": String(!this.held) }, this.held ? "Follow the time again" : "Follows the time");
    free.addEventListener("click", () => {
      this.held = !this.held;
      this.window = null;
      this.open(this.at(this.clock.time));
    });
    const list = make("ul", { class: "players" });
    this.box.replaceChildren(
      make("p", { class: "muted" }, `Nearest to seconds ${window.start.toFixed(1)} to ${window.end.toFixed(1)}, by the cosine of the embeddings. `, free), list,
    );
    this.players = window.hits.map(({ clip, score }) => {
      const source = this.page.clips[clip], recording = this.clip(clip);
      const canvas = make("canvas", { "aria-hidden": "true" });
      const when = `${source.start!.toFixed(1)}–${source.end!.toFixed(1)} s`;
      const button = make("button", { type: "button", title: source.file!, "data-clip": String(clip) }, canvas, make("span", { class: "file" }, source.file!), make("span", { class: "muted" }, `${score.toFixed(3)}, ${when}`));
      button.addEventListener("click", () => this.onClick(clip, recording, window.start));
      list.append(make("li", {}, button));
      return { canvas, recording, button, clip };
    });
    if (!window.hits.length) list.replaceWith(make("p", {}, "Nothing in the index."));
    this.mark();
    this.draw();
  }

  mark(): void {
    for (const { button, clip } of this.players) button.setAttribute("aria-pressed", String(clip === this.onStage));
  }

  private follow(): void {
    if (!this.source?.nearest) return;
    if (!this.held) this.open(this.at(this.clock.time));
    this.draw();
  }

  draw(): void {
    if (!this.box.clientWidth || !this.window) return;
    const look = { line: css("--person-2"), joint: css("--person-2"), floor: css("--line") };
    for (const { canvas, recording } of this.players) {
      const time = this.clock.time - this.window.start, { duration } = recording;
      drawFigure(canvas, recording, ((time % duration) + duration) % duration, look);
    }
  }
}
