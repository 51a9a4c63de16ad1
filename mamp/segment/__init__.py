"""What untrimmed recordings show, and when: by a head trained on labelled ones, or, without labels, where they change.

>>> from mamp.segment import segment
>>> segment("session.bvh", labels="results/segment")
>>> segment("session.bvh")
"""

from __future__ import annotations

from os import PathLike
from typing import Any

from mamp.encoder import MAMPEncoder
from mamp.learnt import open_encoder
from mamp.rows import Source, read
from mamp.segment.changes import PENALTY, find_movements
from mamp.segment.features import features
from mamp.segment.head import HeadConfig
from mamp.segment.segmenter import Segmenter
from mamp.segment.segments import Segment, Segments

__all__ = ["HeadConfig", "Segment", "Segmenter", "Segments", "segment"]

WINDOW, STRIDE = 2.0, 1.0
"""Seconds that the encoder sees at a time, and from one such window to the next, where no labels are given."""


def segment(
    recording: Source,
    labels: Segmenter | str | PathLike[str] | None = None,
    encoder: MAMPEncoder | str | PathLike[str] | None = None,
    *,
    penalty: float = PENALTY,
    device: str = "cpu",
    **options: Any,
) -> Segments:
    """Divide an untrimmed recording into segments.

    Args:
        recording: A recording with a frame rate, or a path.
        labels: A :class:`Segmenter`, or the folder of one, whose classes are looked for. ``None`` looks for changes
            instead (extra ``segment``), and gives segments that show the same movement the same letter.
        encoder: The encoder, or the name of its weights; by default those of the segmenter, or ``openmocap``.
        penalty: Without labels, the price of a segment; higher gives fewer.
        device: Where to compute, if ``encoder`` is a name.
        options: Of :meth:`mamp.MAMPEncoder.encode`.

    Returns:
        Segments. With labels, the score is the mean probability of the label, and what shows none of the classes is
        left out. Without labels, segments cover the recording, and the score is how alike a segment is to the others
        with its letter, 0 where there are none.

    Raises:
        RecordingError: Nobody is tracked, or the frame rate is unknown.
        WeightsError: There is no such segmenter or encoder, or the two do not fit.
        MissingExtraError: Without labels, ``ruptures`` is not installed.
    """
    opened = read(recording)
    if labels is not None:
        chosen = labels if isinstance(labels, Segmenter) else Segmenter.load(labels, encoder, device=device)
        return chosen.predict(opened, **options)
    network = open_encoder("openmocap" if encoder is None else encoder, device)
    steps, edges = features(opened, network, WINDOW, STRIDE, **options)
    assert opened.fps is not None  # features says so
    return find_movements(steps, edges, opened.fps, penalty)
