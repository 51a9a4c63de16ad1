// Time: playing, speed, and the part that is looped. Everything on the page follows one clock.

export const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];

export class Clock {
  time = 0;
  playing = false;
  speed = 1;
  loop = true;
  part: [number, number] | null = null;
  private heard: (() => void)[] = [];

  constructor(readonly duration: number, readonly fps: number) {}

  onChange(hear: () => void): void {
    this.heard.push(hear);
  }

  private tell(): void {
    for (const hear of this.heard) hear();
  }

  get frame(): number {
    return Math.floor(this.time * this.fps + 1e-6);
  }

  get last(): number {
    return Math.max(0, this.duration - 1 / this.fps);
  }

  seek(time: number): void {
    this.time = Math.max(0, Math.min(this.last, time));
    this.tell();
  }

  step(frames: number): void {
    this.playing = false;
    this.seek((this.frame + frames) / this.fps);
  }

  toggle(playing = !this.playing): void {
    if (playing && !this.loop && this.time >= this.last) this.time = 0;
    this.playing = playing;
    this.tell();
  }

  setSpeed(speed: number): void {
    this.speed = speed;
    this.tell();
  }

  faster(steps: number): void {
    const at = SPEEDS.indexOf(this.speed);
    this.setSpeed(SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, at + steps))]);
  }

  toggleLoop(): void {
    this.loop = !this.loop;
    this.tell();
  }

  // One end of the looped part, here or at a time; a part that has no length is none.
  mark(which: 0 | 1, time = this.time): void {
    const part: [number, number] = this.part ? [...this.part] : [0, this.duration];
    part[which] = time;
    this.setPart(part[1] - part[0] > 0.5 / this.fps ? part : null);
  }

  setPart(part: [number, number] | null): void {
    this.part = part;
    if (part) this.loop = true;
    this.tell();
  }

  // Move on by some seconds of the wall clock.
  advance(seconds: number): void {
    if (!this.playing) return;
    const [start, end] = this.loop && this.part ? this.part : [0, this.duration];
    let time = this.time + seconds * this.speed;
    if (time >= end) {
      if (this.loop) time = start + ((time - start) % Math.max(end - start, 1 / this.fps));
      else {
        this.playing = false;
        time = this.last;
      }
    }
    this.time = time;
    this.tell();
  }
}
