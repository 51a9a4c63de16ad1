"""A picture of a recording as it was read, beside the joints of the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import DataError
from mamp.figures import LIGHT, new_figure, save_figure
from mamp.layouts import Layout, body_of
from mamp.skeleton import Skeleton
from mamp.stick import UP, Look, draw_body, most_seen, to_the_left

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    person = most_seen(recording)
    there = np.flatnonzero(recording.tracked[person].any(-1))
    chosen = there[np.linspace(0, len(there) - 1, min(frames, len(there))).round().astype(int)]
    model = body_of(recording.layout)
    bodies = ((recording, "as read"), (recording.to_layout(model), "the model's joints"))
    lines = [recording.name, *words]
    below = 0.3 + 0.17 * len(lines)  # inches
    height = 2.9 * len(chosen) + 0.3 + below
    figure = new_figure(figsize=(11, height))
    axes = figure.subplots(len(chosen), 4, squeeze=False)
    for row, frame in zip(axes, chosen, strict=True):
        across = to_the_left(bodies[1][0].positions[person, frame], model)
        ahead = np.cross(across, UP)
        seen = recording.positions[person, frame][recording.tracked[person, frame]]
        middle = (seen.min(0) + seen.max(0)) / 2
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


def _draw(axis: Axes, points: Array, layout: Layout, view: str) -> None:
    """One body [V, 2] with its bones, its height, and its sides."""
    draw_body(axis, points, layout, Look(joints=3))
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
    axis.axhline(low, color=LIGHT.line, linewidth=0.8, zorder=1)
    bar = centre[0] - 0.9 * half
    axis.annotate("", (bar, high), (bar, low), arrowprops={"arrowstyle": "<->", "color": LIGHT.faint})
    axis.text(bar + 0.03 * half, (low + high) / 2, f"{high - low:.2f} m", fontsize=7, color=LIGHT.faint, rotation=90)
    ends = (("right", LIGHT.right), ("left", LIGHT.left))
    if view != "front":
        ends = (("back", LIGHT.middle), ("ahead", LIGHT.middle))
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
    absent = recording.layout.absent(body_of(recording.layout))
    return words | ({"absent": ", ".join(absent)} if absent else {})
