"""``Segmenter``: name what untrimmed recordings show, and when, by a light head that is trained on labelled ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError, DataError, WeightsError
from mamp.learnt import encoder_of, open_encoder, read_learnt, write_learnt
from mamp.rows import Source, read
from mamp.segment.features import feature_width, features, step_labels
from mamp.segment.head import HeadConfig, TemporalHead, cheapest_path, step_logs, train_head
from mamp.segment.segments import Segment, Segments, label_frames, runs

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

NAME, WHAT = "segment", "segmenter"


class Segmenter:
    """Finds what it learnt from labelled recordings in untrimmed ones.

    >>> segmenter = Segmenter().fit(["a.bvh"], [Segments([0.0, 2.5], [1.5, 4.0], ["bow", "kick"])])
    >>> [(one.start, one.end, one.label) for one in segmenter.predict("b.bvh")]
    [(1.2, 2.4, 'kick')]

    The encoder stays as it is; a small network over its frame embeddings is trained (:mod:`mamp.segment.head`).

    Args:
        encoder: The encoder, or the name of its weights.
        config: Settings of the head.
        device: Where to compute embeddings, if ``encoder`` is a name. The head is trained on the CPU.

    Attributes:
        classes_: Names of the classes, after ``fit``.
        head_: The trained head.

    Raises:
        WeightsError: The weights cannot be found or loaded.
    """

    classes_: list[str]
    head_: TemporalHead

    def __init__(
        self,
        encoder: MAMPEncoder | str | PathLike[str] = "openmocap",
        config: HeadConfig | None = None,
        *,
        device: str = "cpu",
    ) -> None:
        self.weights = None if isinstance(encoder, MAMPEncoder) else str(encoder)
        self.encoder = open_encoder(encoder, device)
        self.config = config or HeadConfig()

    def fit(
        self, recordings: Iterable[Source], segments: Iterable[Segments], *, seed: int = 0, progress: bool = False
    ) -> Segmenter:
        """Learn from labelled recordings.

        Args:
            recordings: Recordings or paths.
            segments: What each shows, and when; what lies between is learnt as background.
            seed: Seed of the training.
            progress: Show a progress bar.

        Raises:
            DataError: There are no segments, or not as many lists of them as recordings.
            MAMPError: A recording cannot be read or embedded.
        """
        several, known = [read(source) for source in recordings], list(segments)
        if len(several) != len(known):
            raise DataError(f"expected segments of each of {len(several)} recordings, found {len(known)}.")
        classes = sorted({one.label for mine in known for one in mine})
        if not classes or "" in classes:
            raise DataError("expected segments with the names of their classes to learn from, found none.")
        steps, labels = [], []
        for recording, mine in zip(several, known, strict=True):
            x, edges = self._features(recording)
            assert recording.fps is not None  # features says so
            frames = label_frames(mine, classes, recording.num_frames, recording.fps)
            steps.append(x)
            labels.append(step_labels(frames, edges))
        return self.fit_steps(steps, labels, classes, seed=seed, progress=progress)

    def fit_steps(
        self,
        steps: Sequence[FloatArray],
        labels: Sequence[IntArray],
        classes: Sequence[str],
        *,
        seed: int = 0,
        progress: bool = False,
    ) -> Segmenter:
        """Learn from features [N, D] of recordings and the labels [N] of their steps, 0 for the background."""
        self.head_ = train_head(steps, labels, len(classes), self.config, seed, progress)
        self.classes_ = list(classes)
        return self

    def predict(self, recording: Source, **options: Any) -> Segments:
        """What an untrimmed recording shows, and when; what is between the segments is background.

        Args:
            recording: A recording or a path.
            options: Of :meth:`mamp.MAMPEncoder.encode`.

        Returns:
            Segments; the score is the mean probability of the label.

        Raises:
            MAMPError: Not fitted; or the recording cannot be read or embedded.
        """
        head, opened = self._fitted(), read(recording)
        x, edges = self._features(opened, **options)
        assert opened.fps is not None  # features says so
        return segments_of(*decode(head, self.config, x), edges, opened.fps, self.classes_)

    def save(self, directory: str | PathLike[str]) -> None:
        """Write ``segment.json`` and ``segment.safetensors`` into a folder, whole or not at all.

        The encoder is not in it: its name and its fingerprint are.

        Raises:
            WeightsError: Not fitted; the folder holds something else, or cannot be written.
        """
        head = self._fitted()
        record = {"classes": self.classes_, "weights": self.weights, "config": asdict(self.config)}
        write_learnt(directory, NAME, WHAT, self.encoder, record, head.state_dict())

    @classmethod
    def load(
        cls,
        directory: str | PathLike[str],
        encoder: MAMPEncoder | str | PathLike[str] | None = None,
        *,
        device: str = "cpu",
    ) -> Segmenter:
        """Read what :meth:`save` wrote, or what ``python -m mamp.evaluate segment`` did, of its first seed.

        Args:
            directory: The folder.
            encoder: The encoder, or the name of its weights; by default the name that the folder says.
            device: Where to compute.

        Raises:
            WeightsError: There is no segmenter, it is damaged or of a newer version, or the encoder is another.
        """
        folder = Path(directory).expanduser()
        inside = sorted(folder.glob(f"seed=*/head/{NAME}.json")) if not (folder / f"{NAME}.json").exists() else []
        folder = inside[0].parent if inside else folder
        record, tensors = read_learnt(folder, NAME, WHAT, "Segmenter.save or python -m mamp.evaluate segment")
        try:
            classes, config = [str(name) for name in record["classes"]], HeadConfig(**record["config"])
            record["weights"], record["fingerprint"]
            head = TemporalHead(tensors["mean"].shape[0], len(classes), config)
            head.load_state_dict(tensors)
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError, ConfigError) as error:
            raise WeightsError(f"{folder}: expected a segmenter, found it damaged ({error}).") from None
        loaded = cls(encoder_of(folder, WHAT, record, encoder, device), config)
        if feature_width(loaded.encoder, config.poses) != len(head.mean):
            raise WeightsError(f"{folder}: expected a head for these weights, found one for {len(head.mean)} numbers.")
        loaded.weights = record["weights"] if encoder is None or isinstance(encoder, MAMPEncoder) else str(encoder)
        loaded.classes_, loaded.head_ = classes, head.eval()
        return loaded

    def _features(self, recording: Any, **options: Any) -> tuple[FloatArray, IntArray]:
        config = self.config
        return features(recording, self.encoder, config.window, config.stride, poses=config.poses, **options)

    def _fitted(self) -> TemporalHead:
        if not hasattr(self, "head_"):
            raise WeightsError("expected a segmenter that was fitted, found one without classes; call fit first.")
        return self.head_


def decode(head: TemporalHead, config: HeadConfig, steps: FloatArray) -> tuple[IntArray, NDArray[np.floating]]:
    """Rows [n, 3] of class (from 1), first step and end (exclusive) of what a head finds, and the score [n] of each.

    The score is the mean probability of the class.
    """
    logs = step_logs(head, steps)
    rows = runs(cheapest_path(logs, config.change))
    return rows, np.array([np.exp(logs[first:end, label]).mean() for label, first, end in rows.tolist()])


def segments_of(
    rows: IntArray, scores: NDArray[np.floating], edges: IntArray, fps: float, classes: Sequence[str]
) -> Segments:
    """Rows and scores of :func:`decode` as segments; ``edges`` [N + 1] are the frames between the steps."""
    return Segments.of(
        Segment(float(edges[first] / fps), float(edges[end] / fps), classes[label - 1], value)
        for (label, first, end), value in zip(rows.tolist(), scores.tolist(), strict=True)
    )
