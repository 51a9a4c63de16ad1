"""``config.json`` and ``model.safetensors``: strict reading, atomic writing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mamp.config import MAMPConfig
from mamp.errors import ConfigError, WeightsError
from mamp.hub.card import GENERATED, model_card
from mamp.layouts import get_layout, list_layouts
from mamp.outputs import folder_beside
from mamp.transformer import Network, resize_temp_embed

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
CARD_NAME = "README.md"
FORMAT = 1
LARGEST_CONFIG = 1 << 20  # bytes
_OF_FILE = ("model_type", "format", "weights_sha256")

_Network = TypeVar("_Network", bound=Network)
_FLOATING = ("F16", "BF16", "F32", "F64")


def read_config(path: Path) -> MAMPConfig:
    """Read ``config.json``: the fields of :class:`MAMPConfig`, and beside them those of the file itself.

    Raises:
        ConfigError: It is not JSON, of another model or a newer format, or holds an unknown field or impossible value.
    """
    values = _read_json(path)
    if isinstance(values, dict):
        model_type, version = values.get("model_type", "mamp"), values.get("format", FORMAT)
        if model_type != "mamp":
            raise ConfigError(f"{path}: expected model_type 'mamp', found {model_type!r}: these are other weights.")
        if version != FORMAT:
            raise ConfigError(f"{path}: expected format {FORMAT}, found {version!r}; a newer mamp may be needed.")
        values = {name: value for name, value in values.items() if name not in _OF_FILE}
    try:
        config = MAMPConfig.from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    expected = config.preprocessing
    needs_joint = expected.center != "none" or expected.height is not None
    if needs_joint and expected.layout in list_layouts():  # another may be registered before it is needed
        joints = get_layout(expected.layout).joints
        if expected.center_joint not in joints:
            raise ConfigError(
                f"{path}: preprocessing.center_joint: expected a joint of layout {expected.layout!r} "
                f"({', '.join(joints)}), found {expected.center_joint!r}."
            )
    return config


def _read_json(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_CONFIG + 1)
        if len(content) > LARGEST_CONFIG:
            raise ConfigError(f"{path}: expected a configuration of at most {LARGEST_CONFIG:,} bytes, found more.")
        return json.loads(content.decode("utf-8"))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: expected JSON, found something else or a cut file ({error}).") from error


def _check_pair(config_path: Path, weights_path: Path) -> None:
    """Raise :class:`WeightsError` where the configuration was written with other weights."""
    values = _read_json(config_path)
    said = values.get("weights_sha256") if isinstance(values, dict) else None
    if said is not None and said != (found := sha256_of(weights_path)):
        raise WeightsError(
            f"{weights_path}: expected the weights of {config_path.name}, sha256 {said!r}, found {found}. Saving was "
            "cut short, or one of the files was replaced or damaged: write or fetch both again."
        )


def read_encoder(
    cls: Callable[..., _Network],
    config_path: Path,
    weights_path: Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> _Network:
    """Build an encoder from its two files, in evaluation mode; every tensor must be there, fit, and be finite.

    Raises:
        WeightsError: The weights do not belong to the configuration, or are damaged.
        ConfigError: The configuration is wrong.
    """
    config = read_config(config_path)
    dtype = _check_dtype(dtype) or torch.float32
    tensors = read_tensors(weights_path)
    # A configuration far larger than the file must not be built first.
    check_tensors(_outline(config), tensors, str(weights_path), extra_is_wrong=False)
    with torch.random.fork_rng(devices=[]):
        encoder = cls(config).to(dtype)
    fill(encoder, tensors, str(weights_path))
    _check_pair(config_path, weights_path)
    try:
        place = torch.device("cpu" if device is None else device)
        if place.type == "meta":
            raise RuntimeError("it holds no numbers")
        return encoder.to(place)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"device={str(device)!r} cannot be used ({reason}); try device='cpu'.") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file of floating-point tensors; a pickle is never opened.

    Raises:
        WeightsError: The file is missing, cut, or something else.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                kind = file.get_slice(name).get_dtype()
                if kind not in _FLOATING:
                    raise WeightsError(f"{path}: tensor {name!r}: expected {' or '.join(_FLOATING)}, found {kind}.")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path}: {_what_it_is(path)} ({error}).") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error}).") from error


def check_tensors(
    expected: Mapping[str, Sequence[int]], found: Mapping[str, Tensor], where: str, *, extra_is_wrong: bool = True
) -> None:
    """Compare names and shapes.

    Raises:
        WeightsError: A tensor is missing, extra, or of another shape; the message names it.
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


def fill(encoder: Network, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put tensors into an encoder, strictly, and set evaluation mode.

    Raises:
        WeightsError: A tensor is missing, extra, of another shape, or not finite.
    """
    check_tensors({name: value.shape for name, value in encoder.state_dict().items()}, tensors, where)
    encoder.load_state_dict(dict(tensors), strict=True)
    check_finite(encoder.state_dict(), where)
    encoder.eval()


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise :class:`WeightsError` where a tensor holds NaN or infinity."""
    for name, value in tensors.items():
        bad = int((~torch.isfinite(value)).sum())
        if bad:
            raise WeightsError(
                f"{where}: tensor {name!r} holds {bad} of {value.numel()} values that are NaN or infinite as "
                f"{str(value.dtype).removeprefix('torch.')}; expected finite weights."
            )


def save_encoder(
    encoder: Network,
    directory: str | PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    name: str | None = None,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write ``config.json``, ``model.safetensors`` and the model card ``README.md``.

    All three are written aside and moved into place one by one. The configuration holds the sha256 of its weights, so
    that a folder in which a crash left one new file and one old is refused. A
    ``README.md`` that a person has taken over, by removing the line that says it was generated, is kept.

    Args:
        encoder: What to save.
        directory: Created when it does not exist.
        dtype: Type to store the weights as; their own by default.
        name: How the model card calls the weights and says to load them; the name of the folder by default.
        facts: More lines for the model card: what, and its value.

    Raises:
        WeightsError: The weights are not finite, or the folder cannot be written.
    """
    target = Path(directory).expanduser()
    dtype = _check_dtype(dtype)
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in encoder.state_dict().items()}
    check_finite(tensors, "encoder")
    weights = safetensors.torch.save(tensors, metadata={"format": "pt"})
    own = {"model_type": "mamp", "format": FORMAT, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    config = own | encoder.config.to_dict()
    facts = {
        "Parameters": f"{sum(value.numel() for value in tensors.values()):,}",
        "Stored as": ", ".join(sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()})),
        "Fingerprint": fingerprint(encoder) if dtype is None else _digest(tensors),
        **(facts or {}),
    }
    contents = {
        WEIGHTS_NAME: weights,
        CONFIG_NAME: (json.dumps(config, indent=2) + "\n").encode(),
        CARD_NAME: model_card(encoder.config, name or target.resolve().name, facts).encode(),
    }
    card = target / CARD_NAME
    try:
        if card.is_file() and GENERATED not in card.read_text(encoding="utf-8", errors="replace"):
            del contents[CARD_NAME]
        target.mkdir(parents=True, exist_ok=True)
        with folder_beside(target / "saving") as aside:
            for file, content in contents.items():
                _write(aside / file, content)
            for file in contents:
                (aside / file).replace(target / file)
    except OSError as error:
        reason = error.strerror or error
        raise WeightsError(f"{target}: expected a folder that can be written, found: {reason}.") from error


def resize_encoder(encoder: _Network, num_frames: int) -> _Network:
    """Return a new encoder for clips of another length, its temporal embeddings resized as published (bicubic).

    Raises:
        ConfigError: ``num_frames`` is not a multiple of ``t_patch_size``.
    """
    config = encoder.config.replace(num_frames=num_frames)
    state = {**encoder.state_dict()}
    state["temp_embed"] = resize_temp_embed(state["temp_embed"], config.grid[0])
    with torch.random.fork_rng(devices=[]):
        resized = type(encoder)(config).to(encoder.device, encoder.dtype)
    resized.load_state_dict(state, strict=True)
    return resized.train(encoder.training)


def fingerprint(weights: Network | str | PathLike[str]) -> str:
    """Return 16 hexadecimal digits that stand for the weights: of an encoder, a safetensors file, or its folder.

    The values count as 32-bit, so that a file stored in 16 bits and the encoder loaded from it have the same one.
    """
    if isinstance(weights, Network):
        return _digest(weights.state_dict())
    path = Path(weights)
    return _digest(read_tensors(path / WEIGHTS_NAME if path.is_dir() else path))


def parameter_count(path: Path) -> int:
    """Numbers in a safetensors file."""
    return sum(value.numel() for value in read_tensors(path).values())


def sha256_of(path: Path) -> str:
    """Hash of a file."""
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


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}{list(value.shape)}".encode())
        digest.update(value.numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()[:16]


def _outline(config: MAMPConfig) -> dict[str, Sequence[int]]:
    """Shapes that between them hold every size of a configuration."""
    t, v = config.grid
    width = config.dim_feat
    shapes: dict[str, Sequence[int]] = {
        "temp_embed": (1, t, 1, width),
        "pos_embed": (1, 1, v, width),
        "joints_embed.proj.weight": (width, config.dim_in, config.t_patch_size, config.patch_size),
    }
    if config.readout_dim is not None:
        shapes["readout.weight"] = (config.readout_dim, config.pooled_dim)
    if config.depth:
        shapes[f"blocks.{config.depth - 1}.mlp.fc1.weight"] = (int(width * config.mlp_ratio), width)
    return shapes


def _check_dtype(dtype: Any) -> torch.dtype | None:
    if dtype is None or dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        return dtype
    raise WeightsError(f"dtype: expected a floating-point torch.dtype such as torch.float32, found {dtype!r}.")


def _what_it_is(path: Path) -> str:
    """Word what a file is that is not safetensors, from its first bytes."""
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


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
