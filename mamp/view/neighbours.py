"""What is nearest to the windows of a recording in an index, as short clips of one person to play."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from mamp.errors import MAMPError
from mamp.layouts import Layout
from mamp.search import Hit, Index
from mamp.search.embedder import Embedder
from mamp.skeleton import Skeleton
from mamp.sources import Source, known_source
from mamp.view.content import cut, describe, rate_of, thinning
from mamp.view.packing import Block
from mamp.view.trace import window_spans

logger = logging.getLogger(__name__)

CLIP_FPS = 30.0
LONGEST = 20.0  # seconds of a clip
MOST_WINDOWS = 40
_SAME = 0.9999  # cosine of a window with itself


class Clips:
    """The clips of a page, each once; read when they are first asked for.

    Args:
        model: Joints of the model.
        block: Takes the arrays.
        reading: Options of :func:`mamp.load`.
    """

    def __init__(self, model: Layout, block: Block, reading: Mapping[str, Any]) -> None:
        self.described: list[dict[str, Any]] = []
        self._model, self._block, self._reading = model, block, reading
        self._known: dict[tuple[Any, ...], int | None] = {}
        self._stores: dict[str, dict[str, Source]] = {}
        self._read: tuple[tuple[str, str], Skeleton] | None = None

    def number(self, hit: Hit) -> int | None:
        """Where the clip of a hit is among those of the page; ``None`` if its recording cannot be read any more."""
        key = (hit.folder, hit.file, hit.start, hit.end, hit.person)
        if key not in self._known:
            try:
                self._known[key] = self._add(hit)
            except (MAMPError, OSError) as error:
                logger.warning("%s: a hit that cannot be shown: %s", hit.file, error)
                self._known[key] = None
        return self._known[key]

    def _add(self, hit: Hit) -> int:
        recording = self._load(hit)
        part = cut(recording, hit.start, min(hit.end, hit.start + LONGEST))
        who = [min(hit.person, part.num_people - 1)]
        confidence = None if part.confidence is None else part.confidence[who]
        one = part.replace(positions=part.positions[who], confidence=confidence, name=os.path.basename(hit.file))  # noqa: PTH119
        about = describe(one, self._model, self._block, thinning(one, CLIP_FPS))
        self.described.append({**about, "file": hit.file, "start": hit.start, "end": hit.end, "person": hit.person})
        return len(self.described) - 1

    def _load(self, hit: Hit) -> Skeleton:
        if self._read is None or self._read[0] != (hit.folder, hit.file):
            if not hit.folder:
                raise MAMPError(f"{hit.file}: expected a recording on disk, found one that was added from memory.")
            self._read = (hit.folder, hit.file), known_source(hit.folder, hit.file, self._reading, self._stores).load()
        return self._read[1]


def nearest(recording: Skeleton, index: Index, k: int, clips: Clips, progress: bool = False) -> list[dict[str, Any]]:
    """The ``k`` nearest of each window of a recording, without the window itself.

    Of a long recording, 40 windows spread over it are searched for.
    """
    settings = index.settings
    embedder = Embedder(index.encoder, settings.window, settings.stride)
    spans = window_spans(recording, settings.window, settings.stride)
    chosen = [spans[round(i)] for i in np.linspace(0, len(spans) - 1, min(len(spans), MOST_WINDOWS))]
    found = []
    for start, end in tqdm(chosen, unit="search", delay=2, disable=None if progress else True):
        part = cut(recording, start, end)
        hits: list[Hit] = []
        if part.tracked.any():
            vectors = embedder.windows(part.replace(fps=rate_of(part)))[3]
            hits = [hit for hit in index.search(vectors, k + 2) if not _is_itself(hit, recording, start, end)]
        found.append({"start": start, "end": end, "hits": _numbered(hits[:k], clips)})
    return found


def given(recording: Skeleton, hits: Sequence[Hit], clips: Clips) -> list[dict[str, Any]]:
    """Hits that were found for a whole recording."""
    return [{"start": 0.0, "end": recording.num_frames / rate_of(recording), "hits": _numbered(hits, clips)}]


def _numbered(hits: Iterable[Hit], clips: Clips) -> list[dict[str, Any]]:
    numbers = [(clips.number(hit), hit.score) for hit in hits]
    return [{"clip": number, "score": round(score, 4)} for number, score in numbers if number is not None]


def _is_itself(hit: Hit, recording: Skeleton, start: float, end: float) -> bool:
    """Whether a hit is the window that was searched for: the same name, a time that overlaps, and the same vector."""
    same = os.path.basename(hit.file) == os.path.basename(recording.name)  # noqa: PTH119
    return same and hit.score >= _SAME and hit.start < end and start < hit.end
