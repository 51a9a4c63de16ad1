"""``Embedder``: a source to the embeddings of its windows; picklable, for engines of several processes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.encoder import MAMPEncoder
from mamp.errors import MAMPError, RecordingError
from mamp.hub import fingerprint
from mamp.rows import frames_of
from mamp.search.sources import Source
from mamp.skeleton import Skeleton
from mamp.windows import window_starts


@dataclass(frozen=True)
class Embedded:
    """The windows of one recording in which somebody is tracked, N in all, one for each window and person.

    Attributes:
        source: Which recording.
        content: Hash of it.
        layout: Name of its layout.
        fps: Frames per second.
        start: [N] seconds.
        end: [N] seconds.
        person: [N] index in the recording.
        vectors: [N, D] float32.
        fingerprint: Of the weights.
    """

    source: Source
    content: str
    layout: str
    fps: float
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    person: NDArray[np.int32]
    vectors: NDArray[np.float32]
    fingerprint: str


@dataclass(frozen=True)
class Task:
    """A recording to embed, the hash of its content, and that of the content that it replaces."""

    source: Source
    content: str
    replaced: str | None = None


@dataclass(frozen=True)
class Failed:
    """A recording that could not be embedded, and why."""

    source: Source
    error: str


@dataclass(frozen=True)
class Embedder:
    """Embeds recordings window by window.

    Args:
        weights: Name or folder of the weights, or an encoder.
        window: Seconds, or ``None`` for whole recordings.
        stride: Seconds from one window to the next.
        device: Where weights that have a name are put.
    """

    weights: str | MAMPEncoder
    window: float | None
    stride: float | None
    device: str = "cpu"

    @cached_property
    def encoder(self) -> MAMPEncoder:
        """The encoder, loaded when it is used."""
        if isinstance(self.weights, MAMPEncoder):
            return self.weights
        return MAMPEncoder.from_pretrained(self.weights, device=self.device)

    @cached_property
    def fingerprint(self) -> str:
        """Of the weights."""
        return fingerprint(self.encoder)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("weights", "window", "stride", "device")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def __call__(self, task: Task) -> Embedded | Failed:
        """Read and embed a recording, or say why it cannot be."""
        try:
            recording = task.source.load()
            start, end, person, vectors = self.windows(recording)
        except (MAMPError, OSError) as error:
            return Failed(task.source, str(error))
        layout, fps = recording.layout.name, float(recording.fps or 0)
        return Embedded(task.source, task.content, layout, fps, start, end, person, vectors, self.fingerprint)

    def windows(self, recording: Skeleton) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.float32]]:
        """Start, end and person [N] and vectors [N, D] of the windows of a recording.

        Raises:
            RecordingError: It cannot be embedded, holds nobody, or its rate is unknown.
            LayoutError: It cannot be expressed in the model's joints.
        """
        if recording.fps is None:
            raise RecordingError(
                f"{recording.name}: expected a frame rate, since an index counts in seconds, found none. Give fps."
            )
        if self.window is None:
            rows, starts, length = self.encoder.encode(recording, pool="person")[None], [0], recording.num_frames
        else:
            length = frames_of(recording, self.window, "window")
            stride = min(frames_of(recording, self.stride or self.window, "stride"), length)
            starts = list(window_starts(recording.num_frames, length, stride))
            rows = self.encoder.encode(recording, pool="person", window=length, stride=stride)
        window, person = np.nonzero(np.isfinite(rows).all(axis=-1))
        if not len(window):
            raise RecordingError(f"{recording.name}: expected somebody who is tracked, found nobody.")
        first = np.asarray(starts, np.float64)[window]
        end = np.minimum(first + length, recording.num_frames) / recording.fps
        return first / recording.fps, end, person.astype(np.int32), rows[window, person]
