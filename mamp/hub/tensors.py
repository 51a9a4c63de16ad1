"""Read safetensors files within limits, and compare their tensors with a configuration."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from math import prod
from os import PathLike
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mamp.config import MAMPConfig
from mamp.errors import WeightsError
from mamp.hub.paths import local_path
from mamp.transformer import Network

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
LARGEST_HEADER = 4 << 20  # bytes, of a safetensors file
LARGEST_WEIGHTS = 320 << 20  # bytes, of a file, and of the parameters as float32
LARGEST_VALUE = 1e6  # no trained weight comes near it

_PARTS = ("weight", "bias")
_FLOATING = ("F16", "BF16", "F32", "F64")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file of floating-point tensors; pickles are never opened.

    Raises:
        WeightsError: The file is missing, truncated, too large, or in another format.
    """
    try:
        _check_sizes(path)
        with safe_open(path, framework="pt", device="cpu") as file:
            count = 0
            for name in file.keys():  # noqa: SIM118 - not a dict
                part = file.get_slice(name)
                if (kind := part.get_dtype()) not in _FLOATING:
                    raise WeightsError(f"{path}: tensor {name!r}: expected {' or '.join(_FLOATING)}, found {kind}.")
                count += prod(part.get_shape())
            if count * 4 > LARGEST_WEIGHTS:
                raise WeightsError(f"{path}: expected at most {LARGEST_WEIGHTS // 4:,} parameters, found {count:,}.")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path}: {_what_it_is(path)} ({error}).") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error}).") from error


def _check_sizes(path: Path) -> None:
    """Raise :class:`WeightsError` if the file or its header is too large."""
    with path.open("rb") as file:
        start, size = file.read(8), os.fstat(file.fileno()).st_size
    header = int.from_bytes(start, "little")
    if size > LARGEST_WEIGHTS:
        raise WeightsError(f"{path}: expected at most {LARGEST_WEIGHTS:,} bytes of weights, found {size:,}.")
    if LARGEST_HEADER < header < size:
        raise WeightsError(f"{path}: expected a header of at most {LARGEST_HEADER:,} bytes, found {header:,}.")


def encoder_shapes(config: MAMPConfig) -> dict[str, Sequence[int]]:
    """Return the shapes of all tensors of an encoder, by name."""
    (t, v), d, hidden = config.grid, config.dim_feat, int(config.dim_feat * config.mlp_ratio)
    linear = {"attn.proj": (d, d), "attn.qkv": (3 * d, d), "mlp.fc1": (hidden, d), "mlp.fc2": (d, hidden)}
    block: dict[str, Sequence[int]] = {f"{norm}.{part}": (d,) for norm in ("norm1", "norm2") for part in _PARTS}
    block |= {f"{name}.weight": shape for name, shape in linear.items()}
    block |= {f"{name}.bias": shape[:1] for name, shape in linear.items() if name != "attn.qkv" or config.qkv_bias}
    shapes: dict[str, Sequence[int]] = {
        "temp_embed": (1, t, 1, d),
        "pos_embed": (1, 1, v, d),
        "joints_embed.proj.weight": (d, config.dim_in, config.t_patch_size, config.patch_size),
        "joints_embed.proj.bias": (d,),
        **{f"norm.{part}": (d,) for part in _PARTS},
    }
    if config.readout_dim is not None:
        shapes |= {"readout.weight": (config.readout_dim, config.pooled_dim), "readout.bias": (config.readout_dim,)}
    if config.readout_pose and config.readout_dim is not None:
        shapes |= {"pose.weight": (config.readout_dim, config.pose_dim), "pose.mean": (config.pose_dim,)}
    return shapes | {f"blocks.{i}.{name}": shape for i in range(config.depth) for name, shape in block.items()}


def check_tensors(
    expected: Mapping[str, Sequence[int]], found: Mapping[str, Tensor], where: str, *, extra_is_wrong: bool = True
) -> None:
    """Compare names and shapes.

    Raises:
        WeightsError: A tensor is missing, unexpected, or of the wrong shape; the message names it.
    """
    faults = [f"tensor {name!r} of shape {list(expected[name])} is missing" for name in expected if name not in found]
    faults += [
        f"tensor {name!r}: expected shape {list(shape)}, found {list(found[name].shape)}"
        for name, shape in expected.items()
        if name in found and tuple(found[name].shape) != tuple(shape)
    ]
    if extra_is_wrong:
        faults += [
            f"tensor {name!r} of shape {list(found[name].shape)} is not part of the model"
            for name in found
            if name not in expected
        ]
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise WeightsError(
            f"{where}: {'; '.join(faults[:5])}{more}. The weights and their {CONFIG_NAME} do not belong together, or "
            "the file is damaged."
        )


def check_fits(config: MAMPConfig, tensors: Mapping[str, Tensor], where: str) -> None:
    """Check that all tensors of a configuration are there, before a network of that size is built.

    Raises:
        WeightsError: A tensor is missing or of the wrong shape.
    """
    check_tensors(encoder_shapes(config), tensors, where, extra_is_wrong=False)


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise :class:`WeightsError` if a tensor has values that are NaN, infinite, or too large for a weight."""
    for name, value in tensors.items():
        if not value.numel() or not value.is_floating_point():
            continue
        if float(value.min()) >= -LARGEST_VALUE and float(value.max()) <= LARGEST_VALUE:
            continue
        kind = str(value.dtype).removeprefix("torch.")
        if bad := int((~torch.isfinite(value)).sum()):
            found = f"{bad} of {value.numel()} values that are NaN or infinite as {kind}; expected finite weights"
        else:
            found = f"values up to {float(value.abs().max()):.2g}; expected weights of at most {LARGEST_VALUE:,.0f}"
        raise WeightsError(f"{where}: tensor {name!r} holds {found}.")


def parameter_count(path: Path) -> int:
    """Return the number of parameters in a safetensors file."""
    return sum(value.numel() for value in read_tensors(path).values())


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_sha256(path: Path, expected: str, advice: str) -> None:
    """Raise :class:`WeightsError` unless the file has the expected hash."""
    found = sha256_of(path)
    if found != expected:
        raise WeightsError(f"{path}: expected sha256 {expected}, found {found}. {advice}")


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the fingerprint of tensors by name; see :func:`fingerprint`."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}{list(value.shape)}".encode())
        digest.update(value.numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()[:16]


def _what_it_is(path: Path) -> str:
    """Describe a file that is not safetensors, judging by its first bytes."""
    with path.open("rb") as file:
        head = file.read(32)
    if head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return (
            "expected safetensors, found a pickle, which could run code and is not opened. If it is a checkpoint of "
            "the published code: mamp convert FILE OUT_DIR"
        )
    if head.startswith(b"version https://git-lfs"):
        return "expected safetensors, found a Git LFS pointer: fetch the file itself with git lfs pull"
    return "expected safetensors, found a cut or damaged file, or something else; fetch it again"


def fingerprint(weights: Network | str | PathLike[str]) -> str:
    """Return 16 hexadecimal digits that identify the weights of an encoder, a safetensors file, or its folder.

    Values are compared as float32, so that weights stored as float16 and the encoder loaded from them have the same
    fingerprint.
    """
    if isinstance(weights, Network):
        return tensor_digest(weights.state_dict())
    path = local_path(weights, "weights")
    return tensor_digest(read_tensors(path / WEIGHTS_NAME if path.is_dir() else path))
