// A stick figure on a flat canvas, for small players; needs no WebGL.

import type { Recording } from "./recording";

export interface Look { line: string; joint: string; floor: string }

// Draw a frame, seen from an angle about the vertical, as large as fits.
export function drawFigure(
  canvas: HTMLCanvasElement, recording: Recording, time: number, look: Look, person = -1, angle = 0.5,
): void {
  const context = canvas.getContext("2d")!;
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const [width, height] = [canvas.clientWidth || canvas.width, canvas.clientHeight || canvas.height];
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const body = recording.read, frame = recording.frame(time), turn = recording.turn - angle;
  const scale = (height * 0.82) / recording.height;
  const people = person >= 0 ? [person] : [...Array(body.people).keys()];
  const middle = people.map((one) => recording.middle(one, frame)).find((one) => one !== null) ?? [0, 0, 0];
  const cos = Math.cos(turn), sin = Math.sin(turn), base = height * 0.94;
  const place = (i: number): [number, number] => {
    const x = body.positions[3 * i] - middle[0], z = body.positions[3 * i + 2] - middle[2];
    const y = body.positions[3 * i + 1] - recording.floor, depth = z * cos - x * sin;
    return [width / 2 + (x * cos + z * sin) * scale, base - y * scale + depth * scale * 0.12];
  };
  context.strokeStyle = look.floor;
  context.lineWidth = 1;
  context.beginPath();
  context.ellipse(width / 2, base, width * 0.28, height * 0.035, 0, 0, 7);
  context.stroke();
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = look.line;
  context.lineWidth = Math.max(1.6, height / 55);
  for (const one of people) {
    context.beginPath();
    body.layout.parents.forEach((parent, v) => {
      const a = body.at(one, frame, v), b = parent >= 0 ? body.at(one, frame, parent) : -1;
      if (b < 0 || !body.tracked[a] || !body.tracked[b]) return;
      context.moveTo(...place(a));
      context.lineTo(...place(b));
    });
    context.stroke();
  }
}
