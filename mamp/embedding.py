"""From recordings to embeddings: cut windows, prepare, have an engine encode and pool each body, combine people.

Everything here is numpy. :mod:`mamp.inference` is the engine on torch, :mod:`mamp.export` has those without it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from mamp.config import MAMPConfig, Pool, Preprocessing
from mamp.errors import RecordingError
from mamp.geometry import lerp, middle_crop, resample_index
from mamp.layouts import get_layout
from mamp.preprocessing import NormalizedClip, prepare_clip, token_presence
from mamp.relation import superpose
from mamp.skeleton import Skeleton
from mamp.tokens import most_moving
from mamp.windows import FrameMeans, check_window, cut_window, window_starts

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Precision = Literal["bfloat16"]


@dataclass(frozen=True)
class EncodeOptions:
    """Options of :meth:`mamp.MAMPEncoder.encode`, validated."""

    pool: Pool = "clip"
    batch_size: int = 32
    precision: Precision | None = None
    token_share: float = 1.0
    window: int | None = None
    stride: int | None = None
    preprocessing: Preprocessing | Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.window is not None:
            for name, value in zip(("window", "stride"), check_window(self.window, self.stride), strict=True):
                object.__setattr__(self, name, value)
        elif self.stride is not None:
            raise RecordingError(f"stride: expected a window too, found none beside {self.stride!r}.")
        if self.pool not in get_args(Pool):
            raise RecordingError(f"pool: expected one of {', '.join(get_args(Pool))}; found {self.pool!r}.")
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, (int, np.integer)):
            raise RecordingError(f"batch_size: expected a whole number, found {self.batch_size!r}.")
        if self.batch_size < 1:
            raise RecordingError(f"batch_size: expected at least 1, found {self.batch_size!r}.")
        if self.precision is not None and self.precision not in get_args(Precision):
            raise RecordingError(f"precision: expected 'bfloat16' or None, found {self.precision!r}.")
        if not isinstance(self.token_share, (int, float)) or not 0 < self.token_share <= 1:
            raise RecordingError(f"token_share: expected more than 0 and at most 1, found {self.token_share!r}.")
        if self.token_share < 1 and self.pool not in ("clip", "person"):
            raise RecordingError(
                f"token_share: expected 1 with pool {self.pool!r}, found {self.token_share!r}: only the pools 'clip' "
                "and 'person' can do without some of the tokens."
            )


class Engine(Protocol):
    """Whatever runs the network: pooled tokens, through the readout, of bodies that are encoded one by one."""

    def __call__(self, bodies: FloatArray, there: BoolArray, options: EncodeOptions, /) -> FloatArray:
        """Embed bodies [N, T, V, C] as if they had only their tokens ``there`` [N, L]: [N, ...] by ``options.pool``."""
        ...


def embed(
    engine: Engine,
    config: MAMPConfig,
    recordings: Iterable[Skeleton],
    options: EncodeOptions,
    progress: bool = False,
) -> list[FloatArray]:
    """Embed recordings; see :meth:`mamp.MAMPEncoder.encode`. Iterators are consumed one batch at a time."""
    if options.preprocessing:
        config = config.replace(preprocessing=config.preprocessing.changed(options.preprocessing))
    if isinstance(recordings, Sequence):  # find mistakes before the first batch
        recordings = list(_checked(recordings))
    if options.window is None:
        return _embed_whole(engine, config, recordings, options, progress)
    return [_embed_windows(engine, config, recording, options, progress) for recording in _checked(recordings)]


def one_or_several(
    embed_all: Callable[[Iterable[Skeleton]], list[FloatArray]],
    recordings: Skeleton | Iterable[Skeleton],
    options: EncodeOptions,
    config: MAMPConfig,
) -> FloatArray | list[FloatArray]:
    """Embed one recording, or several and stack what is all of one shape, as ``encode`` returns it."""
    if isinstance(recordings, Skeleton):
        return embed_all([recordings])[0]
    if not isinstance(recordings, Iterable):
        raise RecordingError(
            f"expected a mamp.Skeleton or several of them, found {type(recordings).__name__}. Read files with "
            "mamp.load(path)."
        )
    results = embed_all(recordings)
    if options.window is not None or options.pool not in ("clip", "joint"):
        return results
    joints = (config.grid[1],) if options.pool == "joint" else ()
    return np.stack(results) if results else np.zeros((0, *joints, config.embedding_dim), np.float32)


@contextmanager
def _bar(total: int | None, unit: str, show: bool) -> Iterator[Callable[[int], object]]:
    """A progress bar where one is wanted; yields what moves it on."""
    if not show:
        yield lambda count: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=unit) as bar:
        yield bar.update


def _checked(recordings: Iterable[Skeleton]) -> Iterator[Skeleton]:
    for recording in recordings:
        if not isinstance(recording, Skeleton):
            raise RecordingError(
                f"expected a mamp.Skeleton, found {type(recording).__name__}. Read files with mamp.load(path); wrap "
                "arrays as mamp.Skeleton(positions, layout='ntu25', fps=30)."
            )
        yield recording


def _embed_whole(
    engine: Engine,
    config: MAMPConfig,
    recordings: Iterable[Skeleton],
    options: EncodeOptions,
    progress: bool,
) -> list[FloatArray]:
    results: list[FloatArray] = []
    total = len(recordings) if isinstance(recordings, Sized) else None
    coming = _checked(recordings)
    with _bar(total, "clip", progress) as advance:
        while batch := list(islice(coming, min(options.batch_size, sys.maxsize))):
            results += _embed_batch(engine, config, batch, options)
            advance(len(batch))
    return results


def _embed_windows(
    engine: Engine, config: MAMPConfig, recording: Skeleton, options: EncodeOptions, progress: bool
) -> FloatArray:
    """Embed the windows of a recording, one batch at a time; NaN for windows without anybody."""
    assert options.window is not None and options.stride is not None
    starts = window_starts(recording.num_frames, options.window, options.stride)
    layout = get_layout(config.preprocessing.layout)
    shape = result_shape(options.pool, recording, config)
    frames = FrameMeans(recording.num_frames, *shape) if options.pool == "frame" else None
    rows = None if frames else np.full((len(starts), *shape), np.nan, np.float32)
    with _bar(len(starts), "window", progress) as advance:
        for first in range(0, len(starts), options.batch_size):
            batch = starts[first : first + options.batch_size]
            cuts = [cut_window(recording, start, options.window, layout) for start in batch]
            there = [index for index, cut in enumerate(cuts) if cut.tracked.any()]
            found = _embed_batch(engine, config, [cuts[index] for index in there], options)
            for index, embedding in zip(there, found, strict=True):
                if frames:
                    frames.add(batch[index], embedding)
                elif rows is not None:
                    rows[first + index] = embedding
            advance(len(batch))
    return frames.result() if rows is None and frames else np.asarray(rows)


def _embed_batch(
    engine: Engine, config: MAMPConfig, recordings: Sequence[Skeleton], options: EncodeOptions
) -> Iterator[FloatArray]:
    if not recordings:
        return
    everybody, part = options.pool == "person", options.window is not None
    expected, frames = config.preprocessing, config.num_frames
    clips = [prepare_clip(recording, expected, frames, everybody=everybody, part=part) for recording in recordings]
    # Copies of a person are encoded once.
    counts = [clip.num_present if clip.copied else len(x) for x, clip in clips]
    bodies = np.concatenate([x[:count] for (x, _), count in zip(clips, counts, strict=True)])
    there = np.concatenate([token_presence(clip, config)[:n] for (_, clip), n in zip(clips, counts, strict=True)])
    if options.token_share < 1:
        there = most_moving(bodies, there, config, options.token_share)
    pooled = np.split(engine(bodies, there, options), np.cumsum(counts)[:-1])
    for recording, (x, clip), mine in zip(recordings, clips, pooled, strict=True):
        if clip.copied:
            mine = np.concatenate([mine, np.repeat(mine[:1], len(x) - len(mine), axis=0)])
        yield pool_people(mine, clip, recording, options.pool, config)


def result_shape(pool: Pool, recording: Skeleton, config: MAMPConfig) -> tuple[int, ...]:
    """Shape of the embedding of a recording or window, without the time axis of ``pool="frame"``."""
    t, v = config.grid
    expected, people = config.preprocessing, recording.num_people
    if pool == "tokens" and expected.max_people is not None:
        people = expected.max_people if expected.absent_person != "none" else min(people, expected.max_people)
    inner = {"clip": (), "person": (people,), "frame": (), "joint": (v,), "tokens": (people, t, v)}[pool]
    return (*inner, config.dim_feat if pool == "tokens" else config.embedding_dim)


def pool_people(
    bodies: FloatArray, clip: NormalizedClip, recording: Skeleton, pool: Pool, config: MAMPConfig
) -> FloatArray:
    """Combine the embeddings [M, ...] of the people of a clip, with absent people if the weights expect them."""
    if pool == "person" or (pool == "tokens" and config.preprocessing.max_people is None):
        everybody = np.full((recording.num_people, *bodies.shape[1:]), np.nan, np.float32)
        everybody[clip.people] = bodies[: clip.num_present]
        return everybody
    if pool == "tokens":
        everybody = np.full((result_shape(pool, recording, config)[0], *bodies.shape[1:]), np.nan, np.float32)
        everybody[: len(bodies)] = bodies
        return everybody
    mean = _mean_of_present(bodies)
    if pool == "clip" and clip.relation is not None and config.readout_dim is not None:
        return superpose(mean, clip.relation)
    return _to_frames(mean, clip, recording.num_frames, config.preprocessing.crop) if pool == "frame" else mean


def _mean_of_present(bodies: FloatArray) -> FloatArray:
    """Mean over people [M, ...] of what is not NaN; NaN where nothing is left."""
    absent = np.isnan(bodies)
    if not absent.any():
        return bodies.sum(axis=0) / np.float32(len(bodies))
    with np.errstate(invalid="ignore"):
        return np.where(absent, np.float32(0), bodies).sum(axis=0) / (~absent).sum(axis=0).astype(np.float32)


def _to_frames(steps: FloatArray, clip: NormalizedClip, num_frames: int, crop: float) -> FloatArray:
    """Interpolate token steps [t, D] to the frames of the recording [T, D]."""
    start, length = middle_crop(len(clip.frames), crop)
    steps = _bridge_gaps(steps)
    low, high, share = resample_index(0, len(steps), length)
    rows = lerp(steps[low], steps[high], share[:, None])
    # Empty frames take the value of the next frame with anybody.
    kept = np.searchsorted(clip.frames, np.arange(num_frames)).clip(0, len(clip.frames) - 1)
    return rows[(kept - start).clip(0, length - 1)]


def _bridge_gaps(steps: FloatArray) -> FloatArray:
    """Interpolate steps [t, D] without tokens (NaN) between their neighbours in time."""
    missing = np.isnan(steps).any(axis=1)
    if not missing.any():
        return steps
    known, time = np.flatnonzero(~missing), np.arange(len(steps))
    after = np.searchsorted(known, time).clip(max=len(known) - 1)
    before = np.where(known[after] > time, after - 1, after).clip(min=0)
    gap = (known[after] - known[before]).clip(min=1)
    share = ((time - known[before]) / gap).clip(0, 1)[:, None].astype(np.float32)
    return lerp(steps[known[before]], steps[known[after]], share)
