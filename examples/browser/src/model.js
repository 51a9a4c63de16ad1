// The network, on ONNX Runtime's WebAssembly, and what it is compared with.

import * as ort from "onnxruntime-web/wasm";

ort.env.wasm.numThreads = 1; // several need headers that a static page does not have
ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;

/** An encoder: clips to embeddings. */
export class Encoder {
  /** @param {URL | string} folder where model.json and model.onnx are */
  static async load(folder) {
    const [model, bytes] = await Promise.all([
      fetch(new URL("model.json", folder)).then((answer) => answer.json()),
      fetch(new URL("model.onnx", folder)).then((answer) => answer.arrayBuffer()),
    ]);
    return new Encoder(model, await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] }));
  }

  constructor(model, session) {
    this.model = model;
    this.session = session;
  }

  /**
   * @param {{bodies: Float32Array, there: Uint8Array}} clip of :func:`prepare`
   * @returns {Promise<Float32Array>} the embedding [D]
   */
  async encode({ bodies, there }) {
    const { frames, joints } = this.model;
    const feeds = {
      bodies: new ort.Tensor("float32", bodies, [1, frames, joints.length, 3]),
      there: new ort.Tensor("bool", there, [1, there.length]),
    };
    return (await this.session.run(feeds, ["person"])).person.data;
  }

  /**
   * The known actions, most similar first.
   * @param {Float32Array} embedding [D]
   * @returns {{label: string, cosine: number}[]} cosine of the embeddings, centred on the mean of the known ones
   */
  nearest(embedding) {
    const { mean, known } = this.model.library;
    const centred = Array.from(embedding, (value, index) => value - mean[index]);
    const size = Math.hypot(...centred);
    const best = new Map();
    for (const { label, vector } of known) {
      const cosine = vector.reduce((sum, value, index) => sum + value * centred[index], 0) / size;
      best.set(label, Math.max(best.get(label) ?? -1, cosine));
    }
    return [...best].map(([label, cosine]) => ({ label, cosine })).sort((a, b) => b.cosine - a.cosine);
  }
}
