// A stick figure on a canvas; the left side is drawn thicker.

export class Stage {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.pose = null;
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const draw = (time) => {
      if (this.pose) this.draw(time);
      requestAnimationFrame(draw);
    };
    requestAnimationFrame(draw);
  }

  /** Play a recording in a loop; y is up. */
  play(pose) {
    this.pose = pose;
    this.begin = performance.now();
    const [low, high] = [[Infinity, Infinity], [-Infinity, -Infinity]];
    for (let i = 0; i < pose.positions.length; i += 3)
      for (const axis of [0, 1]) {
        const value = pose.positions[i + axis];
        if (!Number.isFinite(value)) continue;
        low[axis] = Math.min(low[axis], value);
        high[axis] = Math.max(high[axis], value);
      }
    this.box = { low, high };
  }

  draw(time) {
    const { canvas, pose, box } = this;
    const context = canvas.getContext("2d");
    const ratio = devicePixelRatio;
    const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const scale = 0.85 * Math.min(width / Math.max(box.high[0] - box.low[0], 1e-6), height / Math.max(box.high[1] - box.low[1], 1e-6));
    const passed = this.still ? 0 : ((time - this.begin) / 1000) * pose.fps;
    const frame = Math.floor(Math.max(passed, 0)) % pose.frames;
    canvas.dataset.frame = frame;
    const at = (joint) => {
      const first = (frame * pose.joints.length + joint) * 3;
      const [x, y] = [pose.positions[first], pose.positions[first + 1]];
      return [width / 2 + (x - (box.low[0] + box.high[0]) / 2) * scale, height / 2 - (y - (box.low[1] + box.high[1]) / 2) * scale];
    };
    context.clearRect(0, 0, width, height);
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineCap = "round";
    pose.parents.forEach((parent, joint) => {
      if (parent < 0) return;
      const [from, to] = [at(parent), at(joint)];
      if (![...from, ...to].every(Number.isFinite)) return;
      context.lineWidth = (pose.joints[joint].endsWith("_left") ? 5 : 2.5) * ratio;
      context.beginPath();
      context.moveTo(...from);
      context.lineTo(...to);
      context.stroke();
    });
  }
}
