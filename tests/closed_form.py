"""Helpers of the golden tests: closed-form inputs and weights of the published size, and golden layouts in ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mamp import MAMPConfig

ARCHITECTURE = (
    "dim_in", "dim_feat", "depth", "num_heads", "mlp_ratio", "num_frames", "num_joints", "patch_size", "t_patch_size",
    "qkv_bias",
)  # fmt: skip


def config_of(published: Mapping[str, Any] | str) -> MAMPConfig:
    """Our configuration from a golden ``cfg``, a mapping or its JSON."""
    values = json.loads(published) if isinstance(published, str) else published
    return MAMPConfig(**{name: values[name] for name in ARCHITECTURE})


def to_ours(x: NDArray[Any]) -> Tensor:
    """Clips [N, C, T, V, M] as published -> [B, M, T, V, C]."""
    return torch.from_numpy(x).permute(0, 4, 2, 3, 1).contiguous()


def state_dict(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, Tensor]:
    """Weights under ``prefix``, heads left out."""
    names = [name for name in arrays if name.startswith(prefix) and not name.startswith(prefix + "head.")]
    return {name.removeprefix(prefix): torch.from_numpy(arrays[name]) for name in names}


def hash_uniform(k: int, count: int) -> NDArray[np.float64]:
    """The k-th row of numbers in (-1, 1): a hash of the index."""
    index = np.arange(count, dtype=np.uint64)
    z = (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z += np.array([(k + 1) * 0xD1B54A32D192ED03 % 2**64], dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return ((z >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-52 - 1.0


def closed_form_weights(shapes: Sequence[tuple[str, Sequence[int]]]) -> dict[str, Tensor]:
    """Weights of the published closed form for a state dict with these names and shapes; heads are left out.

    The names of a head still count for the numbering of the others.
    """
    weights = {}
    for k, (name, shape) in enumerate(sorted((name, tuple(shape)) for name, shape in shapes)):
        if name.startswith("head."):
            continue
        u = hash_uniform(k, int(np.prod(shape)))
        if name.endswith(".weight"):
            u = 1 + 0.1 * u if len(shape) == 1 else u * np.sqrt(3 / np.prod(shape[1:]))
        else:
            u = 0.1 * u
        weights[name] = torch.from_numpy(u.reshape(shape).astype(np.float32))
    return weights


def closed_form_clips() -> NDArray[np.float32]:
    """Two clips [2, 3, 120, 25, 2] as published; the second body of the second one is all zero."""
    n, c, t, v, m = np.meshgrid(*map(np.arange, (2, 3, 120, 25, 2)), indexing="ij")
    x = 0.4 * np.sin(0.06 * t * (1 + v / 25) + 0.9 * v + 2.1 * c + 0.7 * m + 1.3 * n)
    x = (x + 0.15 * np.cos(0.31 * t + 1.7 * v + c) + 0.1 * (c - 1) + 0.02 * v).astype(np.float32)
    x[1, ..., 1] = 0
    return x


def closed_form_noise() -> NDArray[np.float32]:
    """Uniform noise [4, 750] of the masks."""
    i = np.arange(4 * 750).reshape(4, 750)
    return np.modf(0.5 + i * 0.6180339887498949)[0].astype(np.float32)


def sha256(array: NDArray[Any]) -> str:
    """Hash of an array's bytes, little-endian, in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def assert_fingerprint(values: Tensor, expected: Mapping[str, float], rtol: float) -> None:
    """Compare mean, standard deviation, largest magnitude and norm with a golden fingerprint."""
    v = values.detach().double().numpy()
    found = {"mean": v.mean(), "std": v.std(), "absmax": np.abs(v).max(), "l2": np.sqrt((v**2).sum())}
    assert set(found) == set(expected)
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=rtol, atol=rtol, err_msg=name)
