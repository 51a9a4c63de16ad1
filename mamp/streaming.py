"""``StreamingEncoder``: embed a live recording."""

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
    """Embed a sliding window over the frames of a stream.

    Returns the rows of ``encoder.encode(recording, window=window, stride=hop)`` as soon as their last frame arrives.
    Only ``window`` frames are kept.

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
        layout: Layout of the frames: a registered name, a layout, or the joint names. Can also be given with the first
            frame.
        pool: As in ``encode``.
        preprocessing: As in ``encode``.
        allow_2d: Accept frames without depth, as in :class:`mamp.Skeleton`.

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
        """Add a frame, and return an embedding if one is due.

        Args:
            frame: [V, 3], or [M, V, 3] for several people, in metres, y up; NaN marks joints that were not tracked, and
                ``None`` is an empty frame. People keep their index between frames; others can be added later.
            layout: Layout of the frame; needed once, here or in the constructor.

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
        """Embed the remaining frames at the end of a stream; the next frame starts a new one.

        Returns:
            The embedding of the last ``window`` frames, or of all if there were fewer; ``None`` if there were no
            frames since the last embedding.
        """
        result = self._embed() if self._waiting else None
        self.reset()
        return result

    def reset(self) -> None:
        """Discard all frames, for example when the camera was moved; the layout is kept."""
        self._frames.clear()
        self._pushed = self._waiting = 0

    def _checked(self, frame: ArrayLike | None, layout: str | Layout | Sequence[str] | None) -> FloatArray:
        """Validate a frame: [M, V, 3]; [0, V, 3] for an empty one."""
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
