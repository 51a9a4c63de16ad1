"""The engine of :mod:`mamp.embedding` on torch: encode a few bodies at a time, pool."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext

import torch
from einops import rearrange, repeat
from torch import Tensor

from mamp import kernels
from mamp.config import MAMPConfig, Pool
from mamp.embedding import BoolArray, EncodeOptions, FloatArray, embed
from mamp.skeleton import Skeleton
from mamp.transformer import Network, reduce_present

# Dimensions of the tokens [N, T, V, D] of bodies that each pool reduces.
_OVER: dict[Pool, tuple[int, ...]] = {"clip": (1, 2), "person": (1, 2), "frame": (2,), "joint": (1,)}


def embed_recordings(
    encoder: Network, recordings: Iterable[Skeleton], options: EncodeOptions, progress: bool = False
) -> list[FloatArray]:
    """Embed recordings; see :meth:`mamp.MAMPEncoder.encode`. Iterators are consumed one batch at a time."""
    if options.precision is not None:
        kernels.warn_if_bfloat16_is_slow(str(encoder.device))

    def engine(bodies: FloatArray, there: BoolArray, options: EncodeOptions) -> FloatArray:
        return pool_bodies(encoder, torch.from_numpy(bodies), torch.from_numpy(there), options).numpy()

    was_training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            return embed(engine, encoder.config, recordings, options, progress)
    finally:
        encoder.train(was_training)


def pool_bodies(encoder: Network, bodies: Tensor, there: Tensor, options: EncodeOptions) -> Tensor:
    """Encode bodies [N, T, V, C] with tokens ``there`` [N, L], a few at a time, and pool their tokens."""
    whole = there.all(dim=1)
    absent = whole & (bodies == 0).flatten(1).all(dim=1)
    part = (~whole).nonzero()[:, 0]
    groups: list[tuple[Tensor, Tensor | None]] = [((whole & ~absent).nonzero()[:, 0], None)]
    groups += [(part[rows], ids) for rows, ids in equal_counts(there[part])]
    at_once = encoder.bodies_at_once(encoder.device)
    chunks = [
        (rows[first : first + at_once], None if ids is None else ids[first : first + at_once])
        for rows, ids in groups
        for first in range(0, len(rows), at_once)
    ]

    def encode(chunk: tuple[Tensor, Tensor | None]) -> Tensor:
        return _encode_chunk(encoder, bodies[chunk[0]], chunk[1], options)

    with torch.autocast(encoder.device.type, torch.bfloat16) if options.precision else nullcontext():
        pooled = list(zip([rows for rows, _ in chunks], encoder.share(encode, chunks), strict=True))
        if bool(absent.any()):
            nobody = _encode_chunk(encoder, torch.zeros_like(bodies[:1]), None, EncodeOptions(options.pool))
            pooled.append((absent.nonzero()[:, 0], nobody))
    everybody = pooled[0][1].new_empty(len(bodies), *pooled[0][1].shape[1:])
    for some, values in pooled:
        everybody[some] = values
    return everybody


def equal_counts(presence: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Group bodies by their number K of tokens: rows [n] of ``presence`` [N, L], and ids [n, K] of their tokens."""
    counts = presence.sum(dim=1)
    groups = []
    for count in counts.unique().tolist():
        rows = (counts == count).nonzero()[:, 0]
        groups.append((rows, presence[rows].nonzero()[:, 1].view(len(rows), count)))
    return groups


def _encode_chunk(encoder: Network, bodies: Tensor, ids: Tensor | None, options: EncodeOptions) -> Tensor:
    """Encode bodies [n, T, V, C] together, from tokens ``ids`` [n, K] if given, and pool: float32 on the CPU."""
    bodies, config = bodies.to(encoder.device), encoder.config
    ids = None if ids is None else ids.to(encoder.device)
    x = bodies.to(encoder.dtype)
    if ids is None:
        tokens = encoder(x[:, None])[:, 0]
    else:
        tokens = encoder.encode_tokens(x, ids)
        if options.pool not in ("clip", "person"):
            tokens = in_place(tokens, ids, config)
    if options.pool == "tokens":
        return tokens.float().cpu()
    over = 1 if tokens.ndim == 3 else _OVER[options.pool]
    embeddings = encoder.read_out(reduce_present(tokens, over, config.pooling))
    if encoder.pose is None or options.pool == "joint":
        return embeddings
    there = None if ids is None else ids.new_zeros(len(x), config.num_tokens, dtype=torch.bool).scatter(1, ids, True)
    add = encoder.pose.steps if options.pool == "frame" else encoder.pose
    return embeddings + add(bodies, there).cpu()


def in_place(tokens: Tensor, ids: Tensor, config: MAMPConfig) -> Tensor:
    """Scatter tokens [N, K, D] to their ``ids`` [N, K]: [N, T, V, D], NaN elsewhere."""
    t, v = config.grid
    full = tokens.new_full((len(tokens), t * v, tokens.shape[-1]), torch.nan)
    full.scatter_(1, repeat(ids, "n k -> n k d", d=tokens.shape[-1]), tokens)
    return rearrange(full, "n (t v) d -> n t v d", t=t)
