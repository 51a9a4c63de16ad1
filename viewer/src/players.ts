// Small players for other pages: window.mampPlayers.decode(base64) and .draw(canvas, recording, time, look).

import { inflate, type Layout, type Payload, type Source } from "./data";
import { drawFigure } from "./figure";
import { Recording } from "./recording";

const players = {
  inflate,
  recording: (source: Source, model: Layout, block: Uint8Array) => new Recording(source, { model } as Payload, block),
  draw: drawFigure,
};

declare global {
  interface Window { mampPlayers: typeof players }
}
window.mampPlayers = players;
