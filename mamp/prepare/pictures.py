"""Contact sheet of a store: frames of some clips as stick figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mamp.data import ClipStore
from mamp.errors import DataError
from mamp.figures import new_figure, save_figure
from mamp.stick import Look, draw_body


def contact_sheet(store: ClipStore, path: str | Path, clips: int = 6, frames: int = 8) -> Path:
    """Draw clips spread over the store, one per row, with frames spread over each clip.

    All figures have the same scale. The view is along z, with x to the left, so the left side of a person who faces the
    camera is on the right. Left limbs are blue, right ones red; further people are paler.

    Args:
        store: The store.
        path: PNG, PDF or SVG file to write; also returned.
        clips: Maximum number of rows.
        frames: Frames per clip.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DataError: The picture cannot be written.
    """
    chosen = choose_clips(store, clips)
    rows = [_frames(store, clip, frames) for clip in chosen]
    size = max(float(np.ptp(_seen(people[:, k]), axis=0)[:2].max()) for people in rows for k in range(frames))
    half = 0.55 * size or 1.0
    figure = new_figure(figsize=(1.3 * frames, 1.6 * len(rows)))
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.18 / len(rows), wspace=0.02, hspace=0.2)
    axes = figure.subplots(len(rows), frames, squeeze=False)
    for row, clip, people in zip(axes, chosen, rows, strict=True):
        for column, axis in enumerate(row):
            pose = people[:, column]
            for number, person in enumerate(pose):
                draw_body(axis, person[:, :2], store.layout, Look(width=1.2, alpha=1.0 if number == 0 else 0.4))
            x, y, _ = (_seen(pose).min(0) + _seen(pose).max(0)) / 2
            axis.set_xlim(x + half, x - half)
            axis.set_ylim(y - half, y + half)
            axis.set_aspect("equal")
            axis.axis("off")
        row[0].set_title(_title(store, clip), fontsize=7, loc="left", pad=2)
    return save_figure(figure, Path(path), DataError, dpi=120)


def choose_clips(store: ClipStore, count: int) -> list[int]:
    """Choose clips spread over the store, with different labels if possible."""
    count = min(count, len(store))
    by = next((store.columns[name] for name in ("label", "content", "corpus") if name in store.columns), None)
    if by is not None:
        _, first = np.unique(by, return_index=True)
        if len(first) >= count:
            first = np.sort(first)
            return [int(first[index * len(first) // count]) for index in range(count)]
    return [index * len(store) // count for index in range(count)]


def _frames(store: ClipStore, clip: int, count: int) -> NDArray[np.float32]:
    """Positions [M, count, V, 3] of equidistant frames; NaN where a person is absent."""
    people = store.recording(clip).positions
    return people[:, np.linspace(0, people.shape[1] - 1, count).round().astype(int)]


def _seen(people: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tracked joints [N, 3] of all people; the origin if there are none."""
    seen = people[np.isfinite(people).all(-1)]
    return seen if len(seen) else np.zeros((1, 3), np.float32)


def _title(store: ClipStore, clip: int) -> str:
    name = str(store.columns["name"][clip])
    frames, fps = int(store.columns["frames"][clip]), float(store.columns["fps"][clip])
    title = f"{name}, {frames} frames" + (f" at {fps:g}" if fps > 0 else "")
    if "label" in store.columns:
        label = str(store.columns["label"][clip])
        classes = store.info.get("classes") or []
        known = label.isdecimal() and int(label) < len(classes)
        title += f", {classes[int(label)] if known else f'label {label}'}"
    return title.replace("$", r"\$")
