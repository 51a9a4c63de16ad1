// The webcam, through MediaPipe's pose landmarker: world landmarks as a recording that grows.

const LEAST_VISIBLE = 0.5;

/**
 * World landmarks (x right, y down, z away from the camera, metres) as one frame [33, 3], y up; NaN where not visible.
 * @param {{x: number, y: number, z: number, visibility?: number}[]} landmarks
 */
export function frameOf(landmarks) {
  return landmarks.flatMap(({ x, y, z, visibility }) =>
    (visibility ?? 1) >= LEAST_VISIBLE ? [x, -y, -z] : [NaN, NaN, NaN],
  );
}

/**
 * A recording of the last frames that were seen.
 * @param {{time: number, frame: number[]}[]} frames milliseconds and landmarks
 * @param {object} layout joints and parents of the landmarks
 * @returns {import("./bvh.js").Recording}
 */
export function recordingOf(frames, layout) {
  const seconds = (frames.at(-1).time - frames[0].time) / 1000;
  return {
    joints: layout.joints,
    parents: layout.parents,
    positions: Float64Array.from(frames.flatMap(({ frame }) => frame)),
    frames: frames.length,
    fps: seconds > 0 ? (frames.length - 1) / seconds : 30,
    known: true,
  };
}

/**
 * Follow the camera until stopped.
 * @param {HTMLVideoElement} video shows the picture
 * @param {(time: number, frame: number[] | null) => void} seen called for each picture, with null for nobody
 * @returns {Promise<() => void>} stops the camera
 */
export async function follow(video, seen) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
  await script("mediapipe/pose.js");
  const pose = new globalThis.Pose({ locateFile: (file) => `mediapipe/${file}` });
  pose.setOptions({ modelComplexity: 0, smoothLandmarks: true });
  pose.onResults(({ poseWorldLandmarks }) => seen(performance.now(), poseWorldLandmarks ? frameOf(poseWorldLandmarks) : null));
  video.srcObject = stream;
  await video.play();
  let going = true;
  (async () => {
    while (going) {
      await pose.send({ image: video });
      await new Promise(requestAnimationFrame);
    }
    pose.close();
  })();
  return () => {
    going = false;
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
}

function script(src) {
  return new Promise((resolve, reject) => {
    const element = Object.assign(document.createElement("script"), { src, onload: resolve });
    element.onerror = () => reject(new Error(`${src} cannot be loaded.`));
    document.head.append(element);
  });
}
