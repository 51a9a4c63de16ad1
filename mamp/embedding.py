"""From recordings to embeddings: cut windows, prepare, choose tokens, encode a few bodies at a time, pool."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, get_args

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from mamp import kernels
from mamp.config import MAMPConfig, Preprocessing
from mamp.errors import RecordingError
from mamp.geometry import middle_crop
from mamp.layouts import get_layout
from mamp.masking import motion_intensity
from mamp.pooling import Pool, bridge_gaps, equal_counts, in_place, pool_tokens, reduce_present
from mamp.preprocessing import NormalizedClip, prepare_clip, token_presence
from mamp.skeleton import Skeleton
from mamp.transformer import Network
from mamp.windows import FrameMeans, check_window, cut_window, window_starts

FloatArray = NDArray[np.float32]
Precision = Literal["bfloat16"]


@dataclass(frozen=True)
class EncodeOptions:
    """Options of :meth:`mamp.MAMPEncoder.encode`.

    Raises:
        RecordingError: An option is not one of those described there.
    """

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


def embed_recordings(
    encoder: Network, recordings: Iterable[Skeleton], options: EncodeOptions, progress: bool = False
) -> list[FloatArray]:
    """Embed each recording; see :meth:`mamp.MAMPEncoder.encode`. An iterator is consumed a batch at a time."""
    config = encoder.config
    if options.preprocessing:
        config = config.replace(preprocessing=config.preprocessing.changed(options.preprocessing))
    if options.precision is not None:
        kernels.warn_if_bfloat16_is_slow(str(encoder.device))
    if isinstance(recordings, Sequence):  # a mistake in a list is found before the first batch
        recordings = list(_checked(recordings))
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            if options.window is None:
                return _embed_whole(encoder, config, recordings, options, progress)
            return [_embed_windows(encoder, config, recording, options, progress) for recording in _checked(recordings)]
    finally:
        encoder.train(was_training)


def _checked(recordings: Iterable[Skeleton]) -> Iterator[Skeleton]:
    for recording in recordings:
        if not isinstance(recording, Skeleton):
            raise RecordingError(
                f"expected a mamp.Skeleton, found {type(recording).__name__}. Read files with mamp.load(path); wrap "
                "arrays as mamp.Skeleton(positions, layout='ntu25', fps=30)."
            )
        yield recording


def _embed_whole(
    encoder: Network,
    config: MAMPConfig,
    recordings: Iterable[Skeleton],
    options: EncodeOptions,
    progress: bool,
) -> list[FloatArray]:
    results: list[FloatArray] = []
    total = len(recordings) if isinstance(recordings, Sized) else None
    coming = _checked(recordings)
    with tqdm(total=total, unit="clip", disable=not progress) as bar:
        while batch := list(islice(coming, min(options.batch_size, sys.maxsize))):
            results += _embed_batch(encoder, config, batch, options)
            bar.update(len(batch))
    return results


def _embed_windows(
    encoder: Network, config: MAMPConfig, recording: Skeleton, options: EncodeOptions, progress: bool
) -> FloatArray:
    """Embed the windows of a recording, a batch at a time; one without anybody is NaN."""
    assert options.window is not None and options.stride is not None
    starts = window_starts(recording.num_frames, options.window, options.stride)
    layout = get_layout(config.preprocessing.layout)
    shape = result_shape(options.pool, recording, config)
    frames = FrameMeans(recording.num_frames, *shape) if options.pool == "frame" else None
    rows = None if frames else np.full((len(starts), *shape), np.nan, np.float32)
    with tqdm(total=len(starts), unit="window", disable=not progress) as bar:
        for first in range(0, len(starts), options.batch_size):
            batch = starts[first : first + options.batch_size]
            cuts = [cut_window(recording, start, options.window, layout) for start in batch]
            there = [index for index, cut in enumerate(cuts) if cut.tracked.any()]
            found = _embed_batch(encoder, config, [cuts[index] for index in there], options)
            for index, embedding in zip(there, found, strict=True):
                if frames:
                    frames.add(batch[index], embedding)
                elif rows is not None:
                    rows[first + index] = embedding
            bar.update(len(batch))
    return frames.result() if rows is None and frames else np.asarray(rows)


def _embed_batch(
    encoder: Network, config: MAMPConfig, recordings: Sequence[Skeleton], options: EncodeOptions
) -> Iterator[FloatArray]:
    if not recordings:
        return
    everybody, part = options.pool == "person", options.window is not None
    expected, frames = config.preprocessing, config.num_frames
    clips = [prepare_clip(recording, expected, frames, everybody=everybody, part=part) for recording in recordings]
    # Who is a copy of another is encoded once.
    counts = [clip.num_present if clip.copied else len(x) for x, clip in clips]
    bodies = torch.cat([x[:count] for (x, _), count in zip(clips, counts, strict=True)])
    there = torch.cat([token_presence(clip, config)[:count] for (_, clip), count in zip(clips, counts, strict=True)])
    pooled = _pool_bodies(encoder, bodies, there, options)
    for recording, (x, clip), mine in zip(recordings, clips, pooled.split(counts), strict=True):
        if clip.copied:
            mine = torch.cat([mine, mine[:1].expand(len(x) - len(mine), *mine.shape[1:])])
        yield pool_people(mine, clip, recording, options.pool, config)


def _pool_bodies(encoder: Network, bodies: Tensor, there: Tensor, options: EncodeOptions) -> Tensor:
    """Encode bodies a few at a time and reduce their tokens to what the pool needs.

    Args:
        encoder: The encoder.
        bodies: [N, T, V, C].
        there: [N, L], true where a token is there.
        options: Of ``encode``.
    """
    whole = there.all(dim=1)
    absent = whole & (bodies == 0).flatten(1).all(dim=1)
    part = (~whole).nonzero()[:, 0]
    groups: list[tuple[Tensor, Tensor | None]] = [((whole & ~absent).nonzero()[:, 0], None)]
    groups += [(part[rows], ids) for rows, ids in equal_counts(there[part])]
    at_once = encoder.bodies_at_once(encoder.device)
    pooled: list[tuple[Tensor, Tensor]] = []
    with torch.autocast(encoder.device.type, torch.bfloat16) if options.precision else nullcontext():
        for rows, ids in groups:
            for first in range(0, len(rows), at_once):
                some = rows[first : first + at_once]
                kept = None if ids is None else ids[first : first + at_once]
                pooled.append((some, _encode_chunk(encoder, bodies[some], kept, options)))
        if bool(absent.any()):
            nobody = _encode_chunk(encoder, torch.zeros_like(bodies[:1]), None, EncodeOptions(options.pool))
            pooled.append((absent.nonzero()[:, 0], nobody))
    everybody = pooled[0][1].new_empty(len(bodies), *pooled[0][1].shape[1:])
    for some, values in pooled:
        everybody[some] = values
    return everybody


def _encode_chunk(encoder: Network, bodies: Tensor, ids: Tensor | None, options: EncodeOptions) -> Tensor:
    """Pooled tokens of bodies [n, T, V, C] that go through the blocks together, float32 and on the CPU.

    Args:
        encoder: The encoder.
        bodies: Bodies that have as many tokens.
        ids: [n, K], which tokens those are; all without it.
        options: Of ``encode``.
    """
    x, config = bodies.to(encoder.device, encoder.dtype), encoder.config
    if options.token_share < 1:
        ids = most_moving_tokens(bodies, config, options.token_share, ids)
    if ids is None:
        tokens = encoder(x[:, None])[:, 0]
    else:
        tokens = encoder.encode_tokens(x, ids.to(encoder.device))
        if options.pool in ("clip", "person"):
            return encoder.read_out(reduce_present(tokens, 1, config.pooling))
        tokens = in_place(tokens, ids.to(encoder.device), config)
    if options.pool == "tokens":
        return tokens.float().cpu()
    return encoder.read_out(pool_tokens(tokens, options.pool, config.pooling))


def most_moving_tokens(bodies: Tensor, config: MAMPConfig, share: float, ids: Tensor | None = None) -> Tensor:
    """Indices [N, K'] of the tokens of bodies [N, T, V, C] that move most, at least one, in the order of the tokens.

    Args:
        bodies: [N, T, V, C].
        config: Of the encoder.
        share: Share of the tokens.
        ids: [N, K], the tokens to choose among; all without it.
    """
    intensity = motion_intensity(bodies, config.t_patch_size, config.patch_size)
    if ids is not None:
        intensity = intensity.gather(1, ids)
    kept = max(1, int(intensity.shape[1] * share))
    chosen = intensity.argsort(dim=1, descending=True, stable=True)[:, :kept].sort(dim=1).values  # ties: the earlier
    return chosen if ids is None else ids.gather(1, chosen)


def result_shape(pool: Pool, recording: Skeleton, config: MAMPConfig) -> tuple[int, ...]:
    """Shape of the embedding of a recording or window, without the frames of ``pool="frame"``."""
    t, v = config.grid
    expected, people = config.preprocessing, recording.num_people
    if pool == "tokens" and expected.max_people is not None:
        people = expected.max_people if expected.absent_person != "none" else min(people, expected.max_people)
    inner = {"clip": (), "person": (people,), "frame": (), "joint": (v,), "tokens": (people, t, v)}[pool]
    return (*inner, config.dim_feat if pool == "tokens" else config.embedding_dim)


def pool_people(
    bodies: Tensor, clip: NormalizedClip, recording: Skeleton, pool: Pool, config: MAMPConfig
) -> FloatArray:
    """Combine the people of one recording, absent ones included where the weights expect them.

    Args:
        bodies: [M, ...], what :func:`pool_tokens` made of each person of the clip.
        clip: The clip.
        recording: What it was made from.
        pool: What one embedding stands for.
        config: Of the encoder.
    """
    if pool == "person" or (pool == "tokens" and config.preprocessing.max_people is None):
        everybody = bodies.new_full((recording.num_people, *bodies.shape[1:]), torch.nan)
        everybody[torch.from_numpy(clip.people)] = bodies[: clip.num_present]
        return everybody.numpy()
    if pool == "tokens":
        missing = result_shape(pool, recording, config)[0] - len(bodies)
        return F.pad(bodies, (0, 0) * (bodies.ndim - 1) + (0, missing), value=torch.nan).numpy()
    bodies = reduce_present(bodies, 0)
    if pool == "frame":
        bodies = _to_frames(bodies, clip, recording.num_frames, config.preprocessing.crop)
    return bodies.numpy()


def _to_frames(steps: Tensor, clip: NormalizedClip, num_frames: int, crop: float) -> Tensor:
    """Spread token steps [t, D] over the frames of the recording [T, D], by linear interpolation in time."""
    start, length = middle_crop(len(clip.frames), crop)
    resized = F.interpolate(
        rearrange(bridge_gaps(steps), "t d -> 1 d t"), size=length, mode="linear", align_corners=False
    )
    rows = rearrange(resized, "1 d t -> t d")
    # A frame without anybody takes the next one that has somebody.
    kept = np.searchsorted(clip.frames, np.arange(num_frames)).clip(0, len(clip.frames) - 1)
    return rows[torch.from_numpy(kept - start).clamp(0, length - 1)]
