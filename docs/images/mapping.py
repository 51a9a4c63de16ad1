"""Draw docs/images/mapping-*.png: what `mamp info FILE --picture` shows of one movement, as four tools write it.

python docs/images/mapping.py
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mamp import Skeleton, load
from mamp.cli.picture import draw_recording, say_inferred
from mamp.layouts import MODEL_LAYOUT, get_layout
from mamp.synthetic import synthesize

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from layouts import seen_by

HERE = Path(__file__).parent
Array = NDArray[np.floating]
FRAME = 40  # the hand is up
GAP = 14  # rows of pixels
# Markers of Plug-in Gait, as (joint, sideways, up, ahead) in metres for the left side; sideways is away from the body.
SIDED = {
    "ASI": ("hip", 0.04, 0.08, 0.09), "PSI": ("hip", -0.03, 0.1, -0.1), "KNE": ("knee", 0.05, 0, 0),
    "ANK": ("ankle", 0.04, 0, 0), "HEE": ("ankle", 0, -0.06, -0.06), "TOE": ("foot", 0, 0.02, 0.02),
    "SHO": ("shoulder", 0, 0.04, 0), "ELB": ("elbow", 0.04, 0, 0), "WRA": ("wrist", 0.02, 0, 0.03),
    "WRB": ("wrist", 0.02, 0, -0.03), "FIN": ("hand", 0, 0, 0), "FHD": ("head", 0.07, 0.05, 0.09),
    "BHD": ("head", 0.07, 0.05, -0.09),
}  # fmt: skip
CENTRAL = {
    "C7": ("spine_shoulder", 0, 0.04, -0.08), "CLAV": ("spine_shoulder", 0, -0.02, 0.06),
    "T10": ("spine_mid", 0, 0.05, -0.1), "STRN": ("spine_mid", 0, 0.08, 0.1),
}  # fmt: skip


def in_layout(body: Array, name: str) -> Array:
    """Joints [T, V, 3] of a layout from those of the model; NaN for joints that no joint of the model depends on."""
    seen = seen_by(get_layout(name))
    return np.where(np.abs(seen).sum(1)[:, None] > 0, np.einsum("tjc,vj->tvc", body, seen), np.nan)


def bvh(folder: Path, body: Array) -> Path:
    """The recording as `mamp demo` writes it: a file of motion capture, in centimetres."""
    path = folder / "wave.bvh"
    path.write_text(synthesize("wave"))
    return path


def mediapipe(folder: Path, body: Array) -> Path:
    """World landmarks: metres from the hips, y down; the landmarks of the face are not visible."""
    x = in_layout(body, "mediapipe33")
    hips = x[:, 23:25].mean(axis=1, keepdims=True)
    frames = [
        [
            dict(zip("xyz", map(float, np.nan_to_num(mark)), strict=True)) | {"visibility": float(mark[0] == mark[0])}
            for mark in frame
        ]
        for frame in (x - hips) * (1, -1, -1)
    ]
    path = folder / "wave.json"
    path.write_text(json.dumps({"fps": 30, "frames": [{"poseWorldLandmarks": [marks]} for marks in frames]}))
    return path


def lifted(folder: Path, body: Array) -> Path:
    """An array without names, of 17 joints, z up, in pixels, as lifters give it."""
    path = folder / "wave.npy"
    np.save(path, in_layout(body, "h36m17")[..., [0, 2, 1]] * (220, -220, 220))
    return path


def markers(folder: Path, body: Array) -> Path:
    """Markers of Plug-in Gait as TRC, in millimetres, z up."""
    index = MODEL_LAYOUT.joints.index
    across = body[:1, index("shoulder_left")] - body[:1, index("shoulder_right")]
    across = across * (1, 0, 1) / np.linalg.norm(across * (1, 0, 1))
    ahead = np.cross(across, (0, 1, 0))
    points = {}
    for label, (joint, out, up, front) in CENTRAL.items():
        points[label] = body[:, index(joint)] + out * across + (0, up, 0) + front * ahead
    for side, sign, name in (("L", 1, "left"), ("R", -1, "right")):
        for label, (joint, out, up, front) in SIDED.items():
            at = body[:, index(joint if joint == "head" else f"{joint}_{name}")]
            points[side + label] = at + sign * out * across + (0, up, 0) + front * ahead
    rows = 1000 * np.stack(list(points.values()), axis=1)[..., [0, 2, 1]] * (1, -1, 1)
    head = [
        "PathFileType\t4\t(X/Y/Z)\twave.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"30\t30\t{len(rows)}\t{len(points)}\tmm\t30\t1\t{len(rows)}",
        "Frame#\tTime\t" + "\t\t\t".join(points),
        "\t\t" + "\t".join(f"X{i}\tY{i}\tZ{i}" for i in range(1, len(points) + 1)),
    ]
    lines = [f"{i + 1}\t{i / 30:.4f}\t" + "\t".join(f"{v:.2f}" for v in row.ravel()) for i, row in enumerate(rows)]
    path = folder / "wave.trc"
    path.write_text("\n".join([*head, "", *lines]) + "\n")
    return path


def draw(recording: Skeleton, name: str) -> None:
    """The picture of one frame, without most of its empty rows, and with fewer colours than matplotlib writes."""
    words = [f"{key}: {text}" for key, text in say_inferred(recording).items()]
    chosen = np.arange(recording.num_frames)[:, None, None] == FRAME
    one = recording.replace(positions=np.where(chosen, recording.positions, np.nan))
    with tempfile.TemporaryDirectory() as folder:
        raw = io.BytesIO(draw_recording(one, Path(folder) / "body.png", words, frames=1).read_bytes())
    pixels = np.asarray(Image.open(raw).convert("RGB"))
    empty = (pixels > 250).all((1, 2))
    run = np.array([row >= GAP and empty[row - GAP : row + 1].all() for row in range(len(empty))])
    picture = Image.fromarray(pixels[~run]).quantize(64)
    picture.save(HERE / f"mapping-{name}.png", format="png", optimize=True)


def main() -> None:
    """Write the files, read them, draw."""
    with tempfile.TemporaryDirectory() as folder:
        body = load(bvh(Path(folder), np.zeros(0))).to_layout(MODEL_LAYOUT).positions[0]
        for write in (bvh, mediapipe, lifted, markers):
            draw(load(write(Path(folder), body)), write.__name__)


if __name__ == "__main__":
    main()
