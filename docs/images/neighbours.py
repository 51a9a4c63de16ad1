"""Draw docs/images/neighbours.png: recordings of the demo and their nearest neighbours by `openmocap`.

python docs/images/neighbours.py
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image

mpl.use("Agg")
from matplotlib import pyplot as plt

from mamp import MAMPEncoder, Skeleton, get_layout, load
from mamp.cli.demo import nearest_neighbours
from mamp.figures import LIGHT, group_colours
from mamp.stick import Look, draw_body
from mamp.synthetic import write_recordings
from mamp.view.scene import Scene

PICTURE = Path(__file__).with_name("neighbours.png")
QUERIES = ("walk-1", "wave-1", "kick-1", "squat-1", "bow-1")
POSES = 7  # drawn of each recording
STEP = 0.75  # metres between two of them
COLOURS = group_colours(len(QUERIES))
MODEL = get_layout("ntu25")


def strip(axes: plt.Axes, recording: Skeleton, colour: str) -> None:
    """Draw poses of the first two seconds side by side, seen a little from the left of the person's front."""
    beginning = recording.to_layout(MODEL).replace(positions=recording.to_layout(MODEL).positions[:, : 2 * 30])
    row = Scene.of(beginning, level=True).strip(POSES)
    for number, pose in enumerate(row.points):
        look = Look(colour=colour, width=1.2, head=6, alpha=0.35 + 0.65 * number / (POSES - 1))
        draw_body(axes, pose[0] + np.array([STEP * number, -row.low]), MODEL, look)
    axes.set(xlim=(-0.4, STEP * (POSES - 1) + 0.65), ylim=(-0.05, 1.95), aspect="equal")
    axes.axis("off")


def main() -> None:
    """Make the recordings, embed them, draw."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_recordings(folder, variations=4)
        recordings = [load(path, unit="cm", up="y") for path in paths]
    names = [path.stem for path in paths]
    order, cosine = nearest_neighbours(np.asarray(MAMPEncoder.from_pretrained().encode(recordings)))
    figure, panels = plt.subplots(len(QUERIES), 3, figsize=(10.5, 6.6), dpi=100, layout="constrained")
    for row, (query, colour) in enumerate(zip(QUERIES, COLOURS, strict=True)):
        i = names.index(query)
        strip(panels[row, 0], recordings[i], colour)
        panels[row, 0].set_title(query, fontsize=10, loc="left")
        for column in (0, 1):
            j = order[i, column]
            strip(panels[row, column + 1], recordings[j], LIGHT.middle)
            panels[row, column + 1].set_title(f"{names[j]}   {cosine[i, column]:+.2f}", fontsize=10, loc="left")
    for panel, title in zip(panels[0], ("recording", "nearest of 35 others", "second"), strict=True):
        panel.text(0.5, 1.32, title, transform=panel.transAxes, ha="center", fontsize=11, weight="bold")
    raw = io.BytesIO()
    figure.savefig(raw, format="png")
    Image.open(raw).convert("RGB").quantize(200).save(PICTURE, format="png", optimize=True)


if __name__ == "__main__":
    main()
