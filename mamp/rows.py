"""Recordings and files to rows of numbers: one for each recording, person or window.

:func:`embed_frame` gives them as a data frame; labelling and scikit-learn's transformer take them as arrays.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mamp.encoder import MAMPEncoder
from mamp.errors import MAMPError, MissingExtraError, RecordingError
from mamp.readers import load
from mamp.skeleton import Skeleton, take_frames
from mamp.windows import window_starts

if TYPE_CHECKING:
    from pandas import DataFrame

FloatArray = NDArray[np.float32]
Source = Skeleton | str | PathLike[str]


class Part(NamedTuple):
    """What a row stands for.

    Attributes:
        file: Path that was read, or the name of a recording that was given.
        person: Index of the person in the recording; ``None`` for all of them.
        start: Seconds; ``None`` where the frame rate is unknown.
        end: Seconds.
    """

    file: str
    person: int | None
    start: float | None
    end: float | None


def read(source: Source) -> Skeleton:
    """Read a path with :func:`mamp.load`; a recording is returned as it is."""
    return source if isinstance(source, Skeleton) else load(source)


def name_of(source: Any) -> str:
    """What a row says of where it is from."""
    return source.name if isinstance(source, Skeleton) else str(source)


def frames_of(recording: Skeleton, seconds: float, what: str) -> int:
    """Frames in so many seconds of a recording, at least one.

    Raises:
        RecordingError: The number makes no sense, or the frame rate is unknown.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float, np.number)) or not 0 < seconds < np.inf:
        raise RecordingError(f"{what}: expected seconds above zero, found {seconds!r}.")
    if recording.fps is None:
        raise RecordingError(
            f"{recording.name}: {what} is in seconds, and the frame rate of the recording is unknown; give fps."
        )
    return max(1, round(float(seconds) * recording.fps))


def cut_seconds(recording: Skeleton, start: float | None, end: float | None) -> Skeleton:
    """The part of a recording from ``start`` to ``end`` seconds; an end that is ``None`` is that of the recording.

    Raises:
        RecordingError: There is no frame between the two, or the frame rate is unknown.
    """
    if start is None and end is None:
        return recording
    first = 0 if not start else frames_of(recording, start, "start")
    last = recording.num_frames if end is None else frames_of(recording, end, "end")
    if not first < min(last, recording.num_frames):
        raise RecordingError(
            f"{recording.name}: expected a part of its {recording.duration:g} seconds, found {start} to {end}."
        )
    return take_frames(recording, slice(first, last))


def embed_parts(
    encoder: MAMPEncoder,
    recordings: Sequence[Skeleton],
    *,
    window: float | None = None,
    stride: float | None = None,
    people: bool = False,
    batch_size: int = 32,
    **options: Any,
) -> list[tuple[list[Part], FloatArray]]:
    """Embed recordings, each as the parts that it has; windows and people of whom nothing was tracked are left out.

    Args:
        encoder: The encoder.
        recordings: The recordings.
        window: Seconds of a window, at each recording's own rate; the whole recording by default.
        stride: Seconds from one window to the next; the window by default.
        people: A row for each person, embedded as if alone, in place of one for all of them.
        batch_size: Clips that are encoded at a time.
        options: Of :meth:`mamp.MAMPEncoder.encode`.

    Returns:
        For each recording its n parts, and their embeddings [n, D].

    Raises:
        RecordingError: A recording holds nobody, an option makes no sense, or the frame rate that it needs is unknown.
        LayoutError: A recording cannot be expressed in the model's joints.
    """
    if window is None and stride is not None:
        raise RecordingError(f"stride: expected a window too, found none beside {stride!r}.")
    if people:
        persons = [_persons(recording) for recording in recordings]
        rows = iter(
            embed_parts(
                encoder,
                [alone for some in persons for _, alone in some],
                window=window,
                stride=stride,
                batch_size=batch_size,
                **options,
            )
        )
        return [_together([(number, *next(rows)) for number, _ in some]) for some in persons]
    if window is None:
        arrays = encoder.encode(recordings, batch_size=batch_size, **options)
        return [_parts(one, x[None], [0], one.num_frames) for one, x in zip(recordings, arrays, strict=True)]
    found = []
    for one in recordings:
        size = frames_of(one, window, "window")
        step = size if stride is None else frames_of(one, stride, "stride")
        x = encoder.encode(one, batch_size=batch_size, window=size, stride=step, **options)
        found.append(_parts(one, x, window_starts(one.num_frames, size, step), size))
    return found


def _persons(recording: Skeleton) -> list[tuple[int, Skeleton]]:
    """Everybody who is ever tracked, and the recording of them alone."""
    there = np.flatnonzero(recording.tracked.any(axis=(1, 2))).tolist()
    if not there:
        raise RecordingError(f"{recording.name}: expected at least one tracked joint, found none (all NaN).")
    return [
        (
            person,
            recording.replace(
                positions=recording.positions[[person]],
                confidence=None if recording.confidence is None else recording.confidence[[person]],
            ),
        )
        for person in there
    ]


def _together(rows: Sequence[tuple[int, list[Part], FloatArray]]) -> tuple[list[Part], FloatArray]:
    """Rows of the people of a recording, in the order of time."""
    parts = [part._replace(person=person) for person, some, _ in rows for part in some]
    order = sorted(range(len(parts)), key=lambda row: (parts[row].start or 0.0, parts[row].person or 0))
    return [parts[row] for row in order], np.concatenate([x for _, _, x in rows])[order]


def _parts(recording: Skeleton, array: FloatArray, starts: Sequence[int], frames: int) -> tuple[list[Part], FloatArray]:
    """Rows of one recording, of its embeddings [windows, D]; ``frames`` is the window."""
    there = np.asarray(np.isfinite(array).all(axis=1))
    if not there.any():
        raise RecordingError(f"{recording.name}: expected at least one tracked joint, found none (all NaN).")
    parts = []
    for first in [start for start, seen in zip(starts, there, strict=True) if seen]:
        last = min(first + frames, recording.num_frames)
        start, end = (None if recording.fps is None else frame / recording.fps for frame in (first, last))
        parts.append(Part(recording.name, None, start, end))
    return parts, array[there]


def embed_each(
    encoder: MAMPEncoder,
    sources: Iterable[Any],
    *,
    reader: Callable[[Any], Skeleton] = read,
    batch_size: int = 32,
    **options: Any,
) -> Iterator[tuple[str, tuple[list[Part], FloatArray] | Exception]]:
    """Embed paths and recordings, ``batch_size`` in memory at a time: of each the name, and its rows or its error.

    Args:
        encoder: The encoder.
        sources: Paths or recordings, or what ``reader`` takes and ``str`` names.
        reader: Makes a recording of a source.
        batch_size: Recordings in memory at a time.
        options: Of :func:`embed_parts`.
    """
    coming = iter(sources)
    while batch := list(islice(coming, batch_size)):
        found: list[Skeleton | Exception] = []
        for source in batch:
            try:
                found.append(reader(source))
            except (MAMPError, OSError) as error:
                found.append(error)
        good = [one for one in found if isinstance(one, Skeleton)]
        rows = iter(_embed_or_fail(encoder, good, batch_size=batch_size, **options))
        for source, one in zip(batch, found, strict=True):
            name, result = name_of(source), next(rows) if isinstance(one, Skeleton) else one
            if isinstance(result, tuple):
                result = [part._replace(file=name) for part in result[0]], result[1]
            yield name, result


def _embed_or_fail(
    encoder: MAMPEncoder, recordings: Sequence[Skeleton], **options: Any
) -> list[tuple[list[Part], FloatArray] | MAMPError]:
    """Embed a batch; when a recording in it cannot be embedded, one by one, to find out which."""
    if not recordings:
        return []
    try:
        return [*embed_parts(encoder, recordings, **options)]
    except MAMPError as error:
        if len(recordings) == 1:
            return [error]
        return [one for recording in recordings for one in _embed_or_fail(encoder, [recording], **options)]


def embed_frame(
    sources: Source | Iterable[Source],
    encoder: MAMPEncoder | str | PathLike[str] = "openmocap",
    *,
    window: float | None = None,
    stride: float | None = None,
    people: bool = False,
    wide: bool = True,
    errors: Literal["warn", "raise"] = "warn",
    batch_size: int = 32,
    **options: Any,
) -> DataFrame:
    """Embed files or recordings into a data frame.

    Args:
        sources: Paths, recordings, or both.
        encoder: The encoder, or the name of its weights.
        window: Seconds of a window; a row for each. Without it a recording is one row.
        stride: Seconds from one window to the next; the window by default.
        people: A row for each person, embedded as if alone, in place of one for all of them.
        wide: A column for each number of the embedding, ``e0``, ``e1``, ...; otherwise one column ``vector`` of arrays.
        errors: What becomes of a file that cannot be embedded: ``"warn"`` leaves it out with a warning, and keeps the
            message in ``frame.attrs["failed"]`` under its name; ``"raise"`` raises it.
        batch_size: Recordings in memory at a time.
        options: Of :meth:`mamp.MAMPEncoder.encode`, such as ``precision`` and ``preprocessing``.

    Returns:
        Columns ``file``, ``person`` (missing for all of them), ``start`` and ``end`` (seconds, NaN where the
        frame rate is unknown), then the embedding.

    Raises:
        MissingExtraError: pandas is not installed.
        MAMPError: A file failed and ``errors`` is ``"raise"``, or an option makes no sense.
    """
    pd = need_pandas()
    if errors not in ("warn", "raise"):
        raise RecordingError(f"errors: expected 'warn' or 'raise', found {errors!r}.")
    if not isinstance(encoder, MAMPEncoder):
        encoder = MAMPEncoder.from_pretrained(encoder)
    if isinstance(sources, Skeleton | str | PathLike):
        sources = [sources]
    parts: list[Part] = []
    vectors, failed = [np.zeros((0, encoder.config.embedding_dim), np.float32)], {}
    settings: dict[str, Any] = {"window": window, "stride": stride, "people": people, "batch_size": batch_size}
    for name, found in embed_each(encoder, sources, **settings, **options):
        if isinstance(found, Exception):
            if errors == "raise":
                raise found
            failed[name] = str(found)
            line = str(found).partition("\n")[0]
            warnings.warn(f"left out: {line if name in line else f'{name}: {line}'}", stacklevel=2)
            continue
        parts += found[0]
        vectors.append(found[1])
    x = np.concatenate(vectors)
    columns = list(zip(*parts, strict=True)) if parts else [()] * len(Part._fields)
    kinds = ("str", "Int64", "float64", "float64")
    frame = pd.DataFrame(
        {name: pd.array(column, dtype=kind) for name, column, kind in zip(Part._fields, columns, kinds, strict=True)}
    )
    if wide:
        frame = pd.concat([frame, pd.DataFrame(x, columns=[f"e{k}" for k in range(x.shape[1])])], axis=1)
    else:
        frame["vector"] = pd.Series(list(x), dtype=object)
    frame.attrs["failed"] = failed
    return frame


def need_pandas() -> Any:
    """pandas.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("data frames need pandas: pip install 'mamp[sklearn]'.") from None
    return pd
