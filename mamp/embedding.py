"""From recordings to embeddings: batch, encode, pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch
from einops import rearrange, reduce
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from mamp.errors import RecordingError
from mamp.preprocessing import NormalizedClip, middle_crop, prepare_clip
from mamp.skeleton import Skeleton

if TYPE_CHECKING:
    from mamp.encoder import MAMPEncoder, Pool

FloatArray = NDArray[np.float32]

# Bodies that go through the blocks together on a CPU: few, so that memory does not grow with the batch.
BODIES_AT_ONCE = 4


def embed_recordings(
    encoder: MAMPEncoder, recordings: Sequence[Skeleton], pool: Pool, batch_size: int, progress: bool
) -> list[FloatArray]:
    """Embed each recording; see :meth:`mamp.MAMPEncoder.encode`."""
    from mamp.encoder import Pool as PoolNames

    if pool not in get_args(PoolNames):
        raise RecordingError(f"pool: expected one of {', '.join(get_args(PoolNames))}; found {pool!r}.")
    if batch_size < 1:
        raise RecordingError(f"batch_size: expected at least 1, found {batch_size!r}.")
    for recording in recordings:
        if not isinstance(recording, Skeleton):
            raise RecordingError(
                f"expected a mamp.Skeleton, found {type(recording).__name__}. Read files with mamp.load(path); wrap "
                "arrays as mamp.Skeleton(positions, layout='ntu25', fps=30)."
            )
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad(), tqdm(total=len(recordings), unit="clip", disable=not progress) as bar:
            results: list[FloatArray] = []
            for first in range(0, len(recordings), batch_size):
                batch = recordings[first : first + batch_size]
                results += _embed_batch(encoder, batch, pool)
                bar.update(len(batch))
    finally:
        encoder.train(was_training)
    return results


def _embed_batch(encoder: MAMPEncoder, recordings: Sequence[Skeleton], pool: Pool) -> Iterator[FloatArray]:
    expected, num_frames = encoder.config.preprocessing, encoder.config.num_frames
    prepared = [prepare_clip(recording, expected, num_frames) for recording in recordings]
    bodies = torch.cat([x[: clip.num_present] if clip.copied else x for x, clip in prepared])
    pooled = _pool_bodies(encoder, bodies, pool)
    for recording, (x, clip) in zip(recordings, prepared, strict=True):
        count = clip.num_present if clip.copied else len(x)
        mine, pooled = pooled[:count], pooled[count:]
        if clip.copied:
            mine = torch.cat([mine, mine[:1].expand(len(x) - count, *mine.shape[1:])])
        yield _pool_people(mine, clip, recording, pool, expected.crop)


def _pool_bodies(encoder: MAMPEncoder, bodies: Tensor, pool: Pool) -> Tensor:
    """Encode bodies [N, T, V, C] a few at a time and reduce their tokens to what the pool needs."""
    reduction: Callable[[Tensor], Tensor] = {
        "clip": lambda h: reduce(h, "n t v d -> n d", "mean"),
        "person": lambda h: reduce(h, "n t v d -> n d", "mean"),
        "frame": lambda h: reduce(h, "n t v d -> n t d", "mean"),
        "joint": lambda h: reduce(h, "n t v d -> n v d", "mean"),
        "tokens": lambda h: h,
    }[pool]

    def encode(some: Tensor) -> Tensor:
        tokens = encoder(some[:, None].to(encoder.device, encoder.dtype))[:, 0]
        return reduction(tokens).float().cpu()

    present = (bodies != 0).flatten(1).any(dim=1)
    at_once = BODIES_AT_ONCE if encoder.device.type == "cpu" else len(bodies)
    pooled = torch.cat([encode(chunk) for chunk in bodies[present].split(at_once)])
    if bool(present.all()):
        return pooled
    absent = encode(torch.zeros_like(bodies[:1]))
    everybody = absent.expand(len(bodies), *absent.shape[1:]).clone()
    everybody[present] = pooled
    return everybody


def _pool_people(bodies: Tensor, clip: NormalizedClip, recording: Skeleton, pool: Pool, crop: float) -> FloatArray:
    """Combine the people of one recording, absent ones included as the weights expect."""
    if pool == "person":
        bodies = bodies[: clip.num_present]
    elif pool != "tokens":
        bodies = bodies.mean(dim=0)
    if pool == "frame":
        bodies = _to_frames(bodies, clip, recording.num_frames, crop)
    return bodies.numpy()


def _to_frames(steps: Tensor, clip: NormalizedClip, num_frames: int, crop: float) -> Tensor:
    """Spread token steps [t, D] over the frames of the recording [T, D], by linear interpolation in time."""
    start, length = middle_crop(len(clip.frames), crop)
    resized = F.interpolate(rearrange(steps, "t d -> 1 d t"), size=length, mode="linear", align_corners=False)
    rows = rearrange(resized, "1 d t -> t d")
    # A frame without anybody takes the next one that has somebody.
    kept = np.searchsorted(clip.frames, np.arange(num_frames)).clip(0, len(clip.frames) - 1)
    return rows[torch.from_numpy(kept - start).clamp(0, length - 1)]
