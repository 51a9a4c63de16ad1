"""``page``: recordings as one HTML page that needs no network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mamp
from mamp.errors import RecordingError
from mamp.layouts import get_layout
from mamp.layouts.layout import MODEL
from mamp.skeleton import Skeleton
from mamp.view.content import describe, describe_layout, thinning
from mamp.view.packing import Block
from mamp.view.template import whole_page

if TYPE_CHECKING:
    from mamp.search import Hit, Index
    from mamp.view.neighbours import Clips
    from mamp.view.weights import Model, Weights

MAX_FPS = 60.0
NEIGHBOURS = 6


def page(
    recordings: Skeleton | Iterable[Skeleton],
    *,
    weights: Weights | None = "openmocap",
    index: Index | str | os.PathLike[str] | None = None,
    hits: Sequence[Hit] | None = None,
    segments: Sequence[Sequence[Any]] | None = None,
    k: int = NEIGHBOURS,
    max_fps: float = MAX_FPS,
    title: str | None = None,
    device: str = "cpu",
    reading: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> str:
    """Write a page that plays recordings in 3D, side by side and in step. It is one file, and needs no network.

    Args:
        recordings: A recording, or several.
        weights: Weights that embed the recordings: a name, a folder or an encoder. The page then shows how fast the
            embedding changes, the mask of one draw and attention, and, with a run of ``python -m mamp.train``, what its
            decoder predicts. ``None`` shows the recordings only.
        index: An index, or the path of one, whose nearest recordings are shown for windows of each
            recording.
        hits: What a search for the first recording found, to be shown in place of a search.
        segments: Of each recording, ``(start, end, label)`` or objects with these attributes, and perhaps ``score``; in
            seconds. By default, what lies between the peaks of the change of the embedding.
        k: Neighbours of a window.
        max_fps: Frames of a second to keep, at most; of 120 frames a second, 60 are every second one.
        title: Of the page; by default the names of the recordings.
        device: Where weights that have a name are put.
        reading: Options of :func:`mamp.load` for the files of the neighbours.
        progress: Show progress bars.

    Returns:
        HTML text.

    Raises:
        RecordingError: There is no recording, or segments are not those of the recordings.
        WeightsError: There are no such weights.
        SearchError: There is no such index.
    """
    shown = [recordings] if isinstance(recordings, Skeleton) else list(recordings)
    _check(shown, segments)
    if not max_fps > 0:
        raise RecordingError(f"max_fps: expected a number above zero, found {max_fps!r}.")
    block, model = Block(), None
    if weights is not None:
        from mamp.view.weights import open_weights

        model = open_weights(weights, device)
    layout = get_layout(MODEL if model is None else model.encoder.config.preprocessing.layout)
    every = [thinning(one, max_fps) for one in shown]
    described = [describe(one, layout, block, step) for one, step in zip(shown, every, strict=True)]
    if model is not None:
        _add_traces(shown, described, every, model, block, progress)
    for about, mine in zip(described, segments or [], strict=False):
        about["segments"] = [_segment(one) for one in mine]
    clips: list[dict[str, Any]] = []
    if index is not None or hits is not None:
        from mamp.view.neighbours import Clips

        clips = _add_neighbours(shown, described, Clips(layout, block, reading or {}), index, hits, k, device, progress)
    title = title or ", ".join(one.name for one in shown[:3]) + (", ..." if len(shown) > 3 else "")
    description = {
        "title": title,
        "made": f"mamp {mamp.__version__}",
        "weights": "" if model is None else model.name,
        "index": "" if index is None else Path(getattr(index, "path", index)).resolve().name,  # type: ignore[arg-type]
        "model": describe_layout(layout),
        "recordings": described,
        "clips": clips,
    }
    return whole_page(title, description, block.text())


def _check(recordings: list[Skeleton], segments: Sequence[Sequence[Any]] | None) -> None:
    if not recordings:
        raise RecordingError("expected recordings to show, found none.")
    for one in recordings:
        if not isinstance(one, Skeleton):
            raise RecordingError(
                f"expected a mamp.Skeleton, found {type(one).__name__}. Read files with mamp.load(path)."
            )
    if segments is not None and len(segments) != len(recordings):
        raise RecordingError(
            f"segments: expected a list for each of {len(recordings)} recordings, found {len(segments)}."
        )


def _segment(one: Any) -> dict[str, Any]:
    if isinstance(one, Sequence):
        return {"start": float(one[0]), "end": float(one[1]), "label": str(one[2]), "score": None}
    score = getattr(one, "score", None)
    return {"start": float(one.start), "end": float(one.end), "label": str(one.label), "score": score}


def _add_traces(
    shown: list[Skeleton], described: list[dict[str, Any]], every: list[int], model: Model, block: Block, progress: bool
) -> None:
    """Add what the weights say: traces and windows of all recordings, and the method on each."""
    from mamp.view import trace
    from mamp.view.method import describe_method

    known = [i for i, about in enumerate(described) if about["conversion"] and shown[i].tracked.any()]
    frames = {i: trace.frame_embeddings(shown[i], model.encoder, progress) for i in known}
    colours = dict(zip(known, trace.colours(list(frames.values())), strict=True)) if known else {}
    for i in known:
        about = described[i]
        about["trace"] = trace.describe_trace(frames[i], colours[i], shown[i], block, every[i])
        found = about["trace"].pop("segments")
        about["segments"] = [{"start": start, "end": end, "label": "", "score": None} for start, end in found]
        window, stride = trace.default_window(shown[i])
        note = "embedded as one clip" if window is None else f"windows of {window:g} s that the embedding is made of"
        about["windows"] = {"spans": trace.window_spans(shown[i], window, stride), "note": note}
        about["method"] = describe_method(shown[i], model.backbone, block)


def _add_neighbours(
    shown: list[Skeleton],
    described: list[dict[str, Any]],
    clips: Clips,
    index: Index | str | os.PathLike[str] | None,
    hits: Sequence[Hit] | None,
    k: int,
    device: str,
    progress: bool,
) -> list[dict[str, Any]]:
    """Add the neighbours of each recording; returns their clips."""
    from mamp.search import Index
    from mamp.view.neighbours import given, nearest

    if hits is not None:
        described[0]["nearest"] = given(shown[0], hits, clips)
        return clips.described
    opened = index if isinstance(index, Index) else Index.open(index, device=device)  # type: ignore[arg-type]
    for recording, about in zip(shown, described, strict=True):
        about["nearest"] = nearest(recording, opened, k, clips, progress)
        spans = [(one["start"], one["end"]) for one in about["nearest"]]
        length = "whole recordings" if opened.settings.window is None else f"{opened.settings.window:g} s"
        about["windows"] = {"spans": spans, "note": f"windows of the index: {length}"}
    return clips.described
