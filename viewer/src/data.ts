// What the page was written with: the description as JSON, and one deflated block of arrays, which are decoded here.

export interface Ref { at: number; bytes: number }
export interface Packed extends Ref { order: number; planes: number }

export interface Layout { name: string; joints: string[]; parents: number[] }
export type Status = "taken" | "between" | "extrapolated" | "absent";

export interface Source {
  name: string;
  fps: number;
  rate: string;
  frames: number;
  people: number;
  every: number;
  layout: Layout;
  positions: Packed;
  tracked: Ref | null;
  conversion: { rows: [number, number][][]; status: Status[]; how: string[] } | null;
  facts: [string, string][];
  trace?: { change: Ref; top: number; colour: Ref; note: string } | null;
  windows?: { spans: [number, number][]; note: string } | null;
  segments?: { start: number; end: number; label: string; score: number | null }[] | null;
  nearest?: { start: number; end: number; hits: { clip: number; score: number }[] }[] | null;
  method?: Method | null;
  file?: string;
  start?: number;
  end?: number;
  person?: number;
}

// One clip as the model takes it: tokens [steps, joints], frames [frames, joints].
export interface Method {
  start: number;
  end: number;
  steps: number;
  joints: number;
  frames: number;
  people: number;
  person: number;
  names: string[];
  note: string;
  intensity: Ref;
  mask: Ref;
  hidden: string;
  target: string;
  unit: string;
  truth: Ref | null;
  predicted: Ref | null;
  top: number;
  why: string;
  attention: { values: Ref; low: number; high: number; note: string } | null;
}

export interface Payload {
  title: string;
  weights: string;
  made: string;
  model: Layout;
  recordings: Source[];
  clips: Source[];
  index: string;
}

export async function readPage(): Promise<{ page: Payload; block: Uint8Array }> {
  const page = JSON.parse(document.getElementById("data")!.textContent!) as Payload;
  return { page, block: await inflate(document.getElementById("block")!.textContent!.trim()) };
}

export async function inflate(base64: string): Promise<Uint8Array> {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export const bytesOf = (block: Uint8Array, ref: Ref) => block.subarray(ref.at, ref.at + ref.bytes);

// Tenths of millimetres from the parent, as differences of differences over time, zigzag, one plane of bytes after
// another, [M, V, C, T]; to metres [M, T, V, C].
export function unpackPositions(block: Uint8Array, source: Source): Float32Array {
  const { people: M, frames: T, layout } = source, V = layout.joints.length;
  const { order, planes } = source.positions;
  const bytes = bytesOf(block, source.positions), size = M * V * 3 * T;
  const steps = new Int32Array(size), last = new Float64Array(order);
  for (let i = 0; i < size; i++) {
    if (i % T === 0) last.fill(0);
    let code = 0;
    for (let p = planes - 1; p >= 0; p--) code = code * 256 + bytes[p * size + i];
    let value = code % 2 ? -(code + 1) / 2 : code / 2;
    for (let k = order - 1; k >= 0; k--) value = last[k] += value;
    steps[i] = value;
  }
  const out = new Float32Array(size), done = new Uint8Array(V);
  const add = (v: number): void => {
    if (done[v]) return;
    done[v] = 1;
    const parent = layout.parents[v];
    if (parent >= 0) add(parent);
    for (let m = 0; m < M; m++)
      for (let c = 0; c < 3; c++) {
        const from = ((m * V + v) * 3 + c) * T, above = ((m * V + parent) * 3 + c) * T;
        for (let t = 0; t < T; t++) {
          if (parent >= 0) steps[from + t] += steps[above + t];
          out[((m * T + t) * V + v) * 3 + c] = steps[from + t] * 1e-4;
        }
      }
  };
  for (let v = 0; v < V; v++) add(v);
  return out;
}

export function unpackBits(bytes: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(size);
  for (let i = 0; i < size; i++) out[i] = (bytes[i >> 3] >> (7 - (i & 7))) & 1;
  return out;
}
