"""``StreamingEncoder``: embeddings of a recording while it is being made."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mamp.config import Preprocessing
from mamp.embedding import EncodeOptions
from mamp.errors import LayoutError, RecordingError
from mamp.layouts import Layout
from mamp.skeleton import Skeleton, check_fps, check_positions, real_numbers, resolve_layout
from mamp.windows import check_window

if TYPE_CHECKING:
    from mamp.config import Pool
    from mamp.encoder import MAMPEncoder

FloatArray = NDArray[np.float32]


class StreamingEncoder:
    """Embed the last frames of a stream every few frames.

    The embeddings are the rows of ``encoder.encode(recording, window=window, stride=hop)``, each as soon as its last
    frame is there. No more than ``window`` frames are kept.

    >>> live = StreamingEncoder(encoder, fps=30, window=120, hop=10)
    >>> for frame in camera:
    ...     embedding = live.push(frame)
    ...     if embedding is not None:
    ...         ...

    Args:
        encoder: The encoder.
        fps: Frames per second of the stream; a window lasts ``window / fps`` seconds.
        window: Frames of a window.
        hop: Frames between two embeddings, at most ``window``.
        layout: Of the frames that are pushed: a registered name, a layout, or the joint names. It may also come with
            the first frame.
        pool: As in ``encode``.
        preprocessing: As in ``encode``.
        allow_2d: Take frames that lie in one plane, as in :class:`mamp.Skeleton`.

    Raises:
        RecordingError: ``window`` or ``hop`` is not a number of frames, or there is no such pool.
        LayoutError: The layout is unknown.
        ConfigError: ``preprocessing`` names a field that does not exist, or gives it an impossible value.
    """

    def __init__(
        self,
        encoder: MAMPEncoder,
        fps: float | None = 30.0,
        window: int = 120,
        hop: int = 10,
        *,
        layout: str | Layout | Sequence[str] | None = None,
        pool: Pool = "clip",
        preprocessing: Preprocessing | Mapping[str, Any] | None = None,
        allow_2d: bool = False,
    ) -> None:
        self.window, self.hop = check_window(window, hop, stride_name="hop")
        EncodeOptions(pool)
        encoder.config.preprocessing.changed(preprocessing or {})
        self.encoder = encoder
        self.fps = check_fps(fps, "fps: ")
        self.pool = pool
        self.preprocessing = preprocessing
        self.allow_2d = allow_2d
        self.layout = None if layout is None else resolve_layout(layout)
        self._frames: deque[FloatArray] = deque(maxlen=self.window)
        self._pushed = 0
        self._waiting = 0

    def push(self, frame: ArrayLike | None, layout: str | Layout | Sequence[str] | None = None) -> FloatArray | None:
        """Take one frame, and return an embedding when one is due.

        Args:
            frame: [V, 3], or [M, V, 3] for several people, metres, y up; NaN marks what was not tracked, and ``None``
                is a frame in which nobody was. A person keeps their place from frame to frame; more may come in later.
            layout: Of the frame; needed once, here or when the stream is made.

        Returns:
            float32 of the shape that ``encode`` gives for one window, all NaN when nobody was tracked in it, or
            ``None`` when no embedding is due.

        Raises:
            RecordingError: The frame has another shape, holds infinity or is farther away than any body, and is then
                not taken; or all frames of the window lie in one plane.
            LayoutError: There is no layout yet, or another than before.
        """
        self._frames.append(self._checked(frame, layout))
        self._pushed += 1
        self._waiting += 1
        if self._pushed < self.window or (self._pushed - self.window) % self.hop:
            return None
        return self._embed()

    def flush(self) -> FloatArray | None:
        """Embed what came after the last embedding, at the end of a stream; the next frame begins a new one.

        Returns:
            The embedding of the last ``window`` frames, or of all when there were fewer, as ``encode`` ends a
            recording; ``None`` when nothing came since the last one.
        """
        result = self._embed() if self._waiting else None
        self.reset()
        return result

    def reset(self) -> None:
        """Forget all frames, as when the camera was moved; the layout stays."""
        self._frames.clear()
        self._pushed = self._waiting = 0

    def _checked(self, frame: ArrayLike | None, layout: str | Layout | Sequence[str] | None) -> FloatArray:
        """Frame as [M, V, 3]; nobody is [0, V, 3]."""
        if layout is not None:
            given = resolve_layout(layout)
            if self.layout is not None and given.joints != self.layout.joints:
                raise LayoutError(
                    f"expected frames in layout {self.layout.name!r} as before, found {given.name!r}. Make a "
                    "StreamingEncoder for each source."
                )
            self.layout = given
        if self.layout is None:
            raise LayoutError("expected the layout of the frames, found none: StreamingEncoder(..., layout='ntu25').")
        joints = len(self.layout.joints)
        if frame is None:
            return np.zeros((0, joints, 3), np.float32)
        array = real_numbers(frame, "the frame: positions")
        if array.ndim == 2:
            array = array[None]
        if array.ndim != 3 or array.shape[1:] != (joints, 3):
            raise RecordingError(
                f"expected a frame [joints, 3] or [people, joints, 3] with the {joints} joints of layout "
                f"{self.layout.name!r}, found shape {np.shape(frame)}."
            )
        check_positions(array, "the frame: ")
        while len(array) and np.isnan(array[-1]).all():
            array = array[:-1]
        return array.copy()  # the caller may write into theirs

    def _embed(self) -> FloatArray:
        self._waiting = 0
        assert self.layout is not None
        people = max(1, max(len(frame) for frame in self._frames))
        positions = np.full((people, len(self._frames), len(self.layout.joints), 3), np.nan, np.float32)
        for time, frame in enumerate(self._frames):
            positions[: len(frame), time] = frame
        recording = Skeleton(positions, self.layout, self.fps, name="stream", allow_2d=self.allow_2d)
        result = self.encoder.encode(
            recording, pool=self.pool, window=self.window, stride=self.hop, preprocessing=self.preprocessing
        )
        return result if self.pool == "frame" else result[0]
