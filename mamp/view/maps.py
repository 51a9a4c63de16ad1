"""Maps of embeddings: a page on which the movement behind each point plays, or a picture."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Mapping
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ConfigError, DataError
from mamp.figures import css_variables, find_theme, group_colours, new_figure, save_figure
from mamp.layouts import MODEL_LAYOUT
from mamp.outputs import write_whole
from mamp.stick import Look, draw_body
from mamp.view.clips import RATE, Clip, Finder, bones
from mamp.view.points import Points
from mamp.view.project import choose_method, project

METHODS = {"umap": "UMAP", "tsne": "t-SNE", "pca": "principal components"}
MARKERS = "os^D"
CLIPS = 3000  # that a page holds at most: about 2 kB each
POSES = 12  # in a picture


def draw_map(
    points: Points,
    path: str | PathLike[str],
    method: str = "auto",
    *,
    theme: str = "light",
    clips: int = CLIPS,
    reading: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Draw a map of embeddings: near points have a high cosine.

    Args:
        points: Of :func:`mamp.view.points.read_points`, grouped.
        path: ``.html`` is a page of its own that needs no network: pointing at a point plays its movement, where the
            recording can be found. ``.png``, ``.svg`` and ``.pdf`` are pictures with the poses of a few points.
        method: ``umap``, ``tsne``, ``pca``, or ``auto``, the first of these that is installed.
        theme: Of a picture, ``light`` or ``dark``; a page follows its reader.
        clips: Movements in a page at most.
        reading: Options of :func:`mamp.load`.

    Returns:
        The method, the number of points, of groups and of movements that were found, and what is wrong with recordings
        that cannot be read.

    Raises:
        ConfigError: The suffix or an option makes no sense.
        MissingExtraError: What the method or a picture needs is not installed.
        DataError: The file cannot be written.
    """
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in (".html", ".png", ".svg", ".pdf"):
        raise ConfigError(f"{target}: expected a name that ends in .html, .png, .svg or .pdf, found {kind!r}.")
    find_theme(theme)
    method = choose_method(method, len(points))
    place, finder = project(points.vectors, method), Finder(points, reading or {})
    if kind == ".html":
        found = _packed(points, finder, clips)
        write_whole(target, _page(points, place, method, found))
    else:
        found = _picture(points, place, method, finder, target, theme)
    return {
        "method": method,
        "points": len(points),
        "groups": len(set(points.groups) - {""}),
        "clips": len(found),
        "failed": finder.failed,
    }


def _groups(points: Points) -> tuple[list[str], list[int]]:
    """Names of the groups, largest first, and the group of each point."""
    names, counts = np.unique(points.groups or [""] * len(points), return_counts=True)
    order = [str(names[i]) for i in np.argsort(-counts, kind="stable")]
    return order, [order.index(name) for name in points.groups or [""] * len(points)]


def _note(points: Points, method: str) -> str:
    recordings = len({(part.folder, part.name) for part in points.parts})
    some = f" of {points.total:,}" if points.total > len(points) else ""
    of = "" if recordings == len(points) else f" of {recordings:,} recordings"
    by = f" by {points.weights}" if points.weights else ""
    return f"{len(points):,}{some} embeddings{of}{by}, {METHODS[method]}"


def _packed(points: Points, finder: Finder, most: int) -> dict[int, Clip]:
    """Movements of the points, or of some that are spread over them."""
    chosen = np.unique(np.linspace(0, len(points) - 1, min(len(points), max(most, 0))).round().astype(int))
    found: dict[int, Clip] = {}
    for i in chosen:
        movement = finder.movement(points.parts[i])
        clip = None if movement is None else Clip.of(movement)
        if clip is not None and clip.body == next(iter(found.values()), clip).body:
            found[int(i)] = clip
    return found


def _page(points: Points, place: NDArray[np.float32], method: str, clips: Mapping[int, Clip]) -> str:
    order, group = _groups(points)
    colours = group_colours(len(order))
    body = next((clip.body for clip in clips.values()), MODEL_LAYOUT)
    values = {
        "x": place[:, 0].round(4).tolist(),
        "y": place[:, 1].round(4).tolist(),
        "names": [part.name for part in points.parts],
        "said": [str(part).removeprefix(part.name).lstrip(", ") for part in points.parts],
        "group": group,
        "groups": [
            [name, colours[i], i // 10 % len(MARKERS), group.count(i)] for i, name in enumerate(order)
        ],
        "clips": [
            [*clips[i].values.shape[:2], clips[i].metres] if i in clips else 0 for i in range(len(points))
        ],
        "rate": RATE,
        "joints": len(body.joints),
        "bones": bones(body),
        "head": body.joints.index("head") if "head" in body.joints else None,
    }  # fmt: skip
    here = files("mamp.view") / "assets"
    parts = {
        "title": html.escape(points.title),
        "note": html.escape(_note(points, method)),
        "colours": css_variables(),
        "data": _squeezed(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()),
        "clips": _squeezed(b"".join(clips[i].changes for i in sorted(clips))),
        "script": here.joinpath("map.js").read_text(encoding="utf-8"),
    }
    text = here.joinpath("map.html").read_text(encoding="utf-8")
    before, *rest = text.split("{{")  # once through, so that nothing inside a part is taken for one
    return before + "".join(parts[name] + after for name, _, after in (piece.partition("}}") for piece in rest))


def _squeezed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _picture(
    points: Points, place: NDArray[np.float32], method: str, finder: Finder, path: Path, theme_name: str
) -> dict[int, Clip]:
    theme = find_theme(theme_name)
    order, group = _groups(points)
    figure = new_figure(theme, figsize=(9, 7.2), layout="constrained")
    axes = figure.subplots()
    size = float(np.clip(6000 / len(points), 6, 60))
    numbers = np.array(group)
    for number, (name, colour) in enumerate(zip(order, group_colours(len(order)), strict=True)):
        own = place[numbers == number]
        label = f"{name or 'recordings'} ({len(own)})".replace("$", r"\$")
        marker = MARKERS[number // 10 % len(MARKERS)]
        axes.scatter(*own.T, s=size, c=colour, marker=marker, alpha=0.8, linewidths=0, label=label)
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    axes.axis("off")
    axes.set_title(f"{points.title}: {_note(points, method)}".replace("$", r"\$"), fontsize=10, color=theme.ink)
    if len(order) > 1:
        beside = axes.legend(
            loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False, labelcolor=theme.ink,
            ncols=1 + (len(order) - 1) // 25,
        )  # fmt: skip
        beside.set_zorder(1)
    found = {}
    for i in _far_apart(place, POSES):
        movement = finder.movement(points.parts[i])
        clip = None if movement is None else Clip.of(movement)
        if clip is None:
            continue
        found[i] = clip
        pose = clip.values[len(clip.values) // 2, 0].astype(float)
        pose[pose[:, 0] == -128] = np.nan
        pose = pose * clip.metres / 127 * 0.11
        pose -= np.nanmean(pose, axis=0)
        away = np.array([0.0, -0.14 if place[i, 1] < 0 else 0.14])
        draw_body(axes, place[i] + away + pose, clip.body, Look(theme, width=1.3, head=6))
    save_figure(figure, path, DataError, dpi=120)
    return found


def _far_apart(place: NDArray[np.float32], count: int) -> list[int]:
    """Points that are far from each other, so that what is drawn beside them does not overlap."""
    chosen = [int(np.abs(place - place.mean(0)).sum(1).argmax())]
    far = np.linalg.norm(place - place[chosen[0]], axis=1)
    while len(chosen) < count and far.max() > 0.3:
        chosen.append(int(far.argmax()))
        far = np.minimum(far, np.linalg.norm(place - place[chosen[-1]], axis=1))
    return chosen
