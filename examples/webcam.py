"""Embed what a webcam sees
========================

Embed what a webcam sees, with MediaPipe's pose landmarker.

Run it with::

    pip install mediapipe opencv-python
    python examples/webcam.py pose_landmarker_lite.task --like recordings/*.bvh

Needs a camera (or ``--video FILE``), and a model file of the pose landmarker, from the page of MediaPipe's pose
landmarker. Its world landmarks are metres about the middle of the hips, so that how a person moves through the room is
lost. Prints one JSON line for each embedding; Ctrl-C ends it. The part before the embedding needs hardware and is not
run by the tests.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mamp import MAMPEncoder, load
from mamp.errors import MissingExtraError
from mamp.streaming import StreamingEncoder

LEAST_VISIBLE = 0.5


# %%
# From landmarks to a frame
# -------------------------


def to_frame(people: Sequence[Sequence[Any]]) -> np.ndarray | None:
    """World landmarks of MediaPipe (x right, y down, z away from the camera) as [M, 33, 3], y up; None for nobody."""
    if not people:
        return None
    positions = np.array([[(mark.x, -mark.y, -mark.z) for mark in person] for person in people], np.float32)
    visible = np.array([[mark.visibility >= LEAST_VISIBLE for mark in person] for person in people])
    positions[~visible] = np.nan
    return positions


# %%
# From a camera to landmarks
# --------------------------


def landmarks(model: str, source: int | str, people: int) -> Iterator[Sequence[Sequence[Any]]]:
    """World landmarks of the people in each picture of a camera (a number) or of a video file."""
    try:
        import cv2
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise MissingExtraError(
            f"expected the packages mediapipe and opencv-python, found no {error.name}: "
            "pip install mediapipe opencv-python"
        ) from error
    options = vision.PoseLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=model), running_mode=vision.RunningMode.VIDEO, num_poses=people
    )
    camera = cv2.VideoCapture(source)
    if not camera.isOpened():
        raise SystemExit(f"expected a camera or video that opens, found none at {source!r}.")
    try:
        with vision.PoseLandmarker.create_from_options(options) as landmarker:
            start = time.monotonic()
            while True:
                there, picture = camera.read()
                if not there:
                    return
                image = mediapipe.Image(
                    image_format=mediapipe.ImageFormat.SRGB, data=cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
                )
                milliseconds = int((time.monotonic() - start) * 1000)
                yield landmarker.detect_for_video(image, milliseconds).pose_world_landmarks
    finally:
        camera.release()


# %%
# From frames to embeddings
# -------------------------


def main() -> None:
    """Watch, embed, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="pose_landmarker_*.task")
    parser.add_argument("--camera", type=int, default=0, help="number of the camera [%(default)s]")
    parser.add_argument("--video", help="a video file instead of a camera")
    parser.add_argument("--fps", type=float, default=30, help="frames per second [%(default)s]")
    parser.add_argument("--people", type=int, default=1, help="people to look for [%(default)s]")
    parser.add_argument("--window", type=int, default=120, help="frames of a window [%(default)s]")
    parser.add_argument("--hop", type=int, default=30, help="frames between two embeddings [%(default)s]")
    parser.add_argument("--like", nargs="*", default=[], metavar="FILE", help="recordings to compare with")
    args = parser.parse_args()

    encoder = MAMPEncoder.from_pretrained()
    live = StreamingEncoder(encoder, args.fps, args.window, args.hop, layout="mediapipe33")
    references = {file: encoder.encode(load(file)) for file in args.like}
    common = np.mean(list(references.values()), axis=0) if references else np.zeros(encoder.config.dim_feat)
    frames = 0
    try:
        for people in landmarks(args.model, args.video or args.camera, args.people):
            frames += 1
            embedding = live.push(to_frame(people))
            if embedding is None or np.isnan(embedding).any():  # not due, or nobody there
                continue
            line: dict[str, object] = {"frame": frames, "norm": round(float(np.linalg.norm(embedding - common)), 3)}
            if references:
                line["nearest"] = max(references, key=lambda file: cosine(references[file], embedding, common))
            print(json.dumps(line), flush=True)
    except MissingExtraError as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(130)


def cosine(a: np.ndarray, b: np.ndarray, common: np.ndarray) -> float:
    """Likeness of two embeddings without what all have in common."""
    a, b = a - common, b - common
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


if __name__ == "__main__":
    main()
