"""A picture of a recording as it was read, beside the joints of the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import DataError
from mamp.layouts import MODEL_LAYOUT, Layout
from mamp.outputs import new_figure, save_figure
from mamp.skeleton import Skeleton

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEFT, RIGHT, MIDDLE = "#1f77b4", "#d62728", "#444444"

Array = NDArray[np.floating]


def draw_recording(recording: Skeleton, path: str | Path, words: list[str], frames: int = 3) -> Path:
    """Draw the person who is seen most, as read and in the joints of the model, from the front and from the side.

    The front is where the body faces, whatever the axes, so the left side (blue) is on the right of the picture. The
    side view looks from the person's right, so the front is on the right of the picture.

    Args:
        recording: What to draw.
        path: PNG (or PDF, SVG) to write.
        words: Lines below the picture.
        frames: Rows, spread over the frames in which the person is seen.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DataError: The picture cannot be written.
    """
    person = int(recording.tracked.sum((1, 2)).argmax())
    seen = np.flatnonzero(recording.tracked[person].any(-1))
    chosen = seen[np.linspace(0, len(seen) - 1, min(frames, len(seen))).round().astype(int)]
    bodies = ((recording, "as read"), (recording.to_layout(MODEL_LAYOUT), "the model's joints"))
    lines = [recording.name, *words]
    below = 0.3 + 0.17 * len(lines)  # inches
    height = 2.9 * len(chosen) + 0.3 + below
    figure = new_figure(figsize=(11, height))
    axes = figure.subplots(len(chosen), 4, squeeze=False)
    for row, frame in zip(axes, chosen, strict=True):
        model = bodies[1][0].positions[person, frame]
        middle, across, ahead = _directions(model, recording.positions[person, frame])
        for column, (body, title) in enumerate(bodies):
            for axis, sideways, view in ((row[2 * column], across, "front"), (row[2 * column + 1], ahead, "side")):
                points = body.positions[person, frame] - middle
                flat = np.stack([points @ sideways, points[:, 1] + middle[1]], axis=-1)
                _draw(axis, flat, body.layout, view)
                if frame == chosen[0]:
                    axis.set_title(f"{title} ({body.layout.name}), {view}", fontsize=9)
        row[0].set_ylabel(f"frame {frame}\n\nup (y) in m \u2192", fontsize=8)
    figure.tight_layout(rect=(0, below / height, 1, 1))
    figure.text(0.02, 0.15 / height, "\n".join(lines), fontsize=8, va="bottom")
    return save_figure(figure, Path(path), DataError)


def _directions(model: Array, body: Array) -> tuple[Array, Array, Array]:
    """Middle of the body [3], and horizontal directions to its left and ahead of it; x and z where it has no front."""
    across = np.zeros(3)
    for part in ("shoulder", "hip"):
        left, right = (model[MODEL_LAYOUT.joints.index(f"{part}_{side}")] for side in ("left", "right"))
        across = across + np.nan_to_num(left - right)
    across[1] = 0.0
    length = float(np.linalg.norm(across))
    across = across / length if length > 1e-6 else np.array([1.0, 0.0, 0.0])
    points = body[np.isfinite(body).all(-1)]
    return (points.min(0) + points.max(0)) / 2, across, np.cross(across, [0.0, 1.0, 0.0])


def _draw(axis: Axes, points: Array, layout: Layout, view: str) -> None:
    """One body [V, 2] with its bones, its height, and its sides."""
    sides = dict.fromkeys((left for left, _ in layout.pairs), LEFT) | dict.fromkeys((r for _, r in layout.pairs), RIGHT)
    for joint, parent in enumerate(layout.parents):
        colour = sides.get(layout.joints[joint], MIDDLE)
        if parent >= 0:
            axis.plot(*points[[joint, parent]].T, color=colour, linewidth=1.5, zorder=2)
        axis.plot(*points[joint], ".", color=colour, markersize=4, zorder=3)
    seen = points[np.isfinite(points).all(-1)]
    if not len(seen):
        axis.text(0.5, 0.5, "nobody", transform=axis.transAxes, ha="center")
        return
    low, high = seen[:, 1].min(), seen[:, 1].max()
    half = 0.62 * max(high - low, np.ptp(seen[:, 0]), 1e-3)
    centre = (seen.min(0) + seen.max(0)) / 2
    axis.set_xlim(centre[0] - half, centre[0] + half)
    axis.set_ylim(centre[1] - half, centre[1] + half)
    axis.set_aspect("equal")
    axis.axhline(low, color="#bbbbbb", linewidth=0.8, zorder=1)
    bar = centre[0] - 0.9 * half
    axis.annotate("", (bar, high), (bar, low), arrowprops={"arrowstyle": "<->", "color": "#888888"})
    axis.text(bar + 0.03 * half, (low + high) / 2, f"{high - low:.2f} m", fontsize=7, color="#666666", rotation=90)
    ends = (("right", RIGHT), ("left", LEFT)) if view == "front" else (("back", MIDDLE), ("ahead", MIDDLE))
    for (text, colour), x, align in zip(ends, (0.12, 0.98), ("left", "right"), strict=True):
        axis.text(x, 0.02, text, transform=axis.transAxes, fontsize=7, color=colour, ha=align)
    axis.tick_params(labelsize=6)
    axis.set_xticks([])


def say_inferred(recording: Skeleton) -> dict[str, str]:
    """Unit, axes and joints of a recording in words, and where each comes from."""
    info: dict[str, Any] = recording.info
    origin = {
        "given": "as you said", "format": "as the file or its format says", "inferred": "inferred from the body",
        "assumed": "assumed, for the body does not say", "doubtful": "in doubt: the body looks mirrored",
    }  # fmt: skip
    words = {}
    for key, what in (("unit", "unit"), ("up", "up"), ("handedness", "axes")):
        if (value := info.get(key)) is not None:
            value = f"{value:.4g} m" if isinstance(value, float) else f"{value}-handed" if what == "axes" else value
            words[what] = f"{value}, {origin.get(info.get(f'{key}_from', ''), 'unknown where from')}"
    how = {"bvh": "found by their names", "tree": "found by the shape of the tree and the body; the names say nothing"}
    layout = recording.layout.name
    words["joints"] = how.get(layout, f"those of layout {layout}")
    if info.get("joints_from"):
        words["joints"] = "placed among the markers of a usual marker set"
    absent = recording.layout.absent(MODEL_LAYOUT)
    return words | ({"absent": ", ".join(absent)} if absent else {})
