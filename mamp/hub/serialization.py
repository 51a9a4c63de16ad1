"""Read and write encoders: ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from mamp.config import MAMPConfig
from mamp.errors import ConfigError, LayoutError, WeightsError
from mamp.fileset import file_set
from mamp.hub.card import GENERATED, model_card
from mamp.hub.paths import local_path
from mamp.hub.tensors import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    check_finite,
    check_fits,
    check_tensors,
    read_tensors,
    sha256_of,
    tensor_digest,
)
from mamp.layouts import adopt_body, get_layout, list_layouts, stored_body
from mamp.transformer import Network, resize_temp_embed

CARD_NAME = "README.md"
FORMAT = 1
LARGEST_CONFIG = 1 << 20  # bytes
_OF_FILE = ("model_type", "format", "weights_sha256")

_Network = TypeVar("_Network", bound=Network)


def read_config(path: Path) -> MAMPConfig:
    """Read ``config.json``, which holds the fields of :class:`MAMPConfig` and a few of its own.

    Raises:
        ConfigError: The file is not JSON, is for another model or a newer format, or has an unknown field or an invalid
            value.
    """
    values = read_json(path)
    if isinstance(values, dict):
        model_type, version = values.get("model_type", "mamp"), values.get("format", FORMAT)
        if model_type != "mamp":
            raise ConfigError(f"{path}: expected model_type 'mamp', found {model_type!r}: these are other weights.")
        if version != FORMAT:
            raise ConfigError(f"{path}: expected format {FORMAT}, found {version!r}; a newer mamp may be needed.")
        values = {name: value for name, value in values.items() if name not in _OF_FILE}
    try:
        config = config_with_body(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    expected = config.preprocessing
    needs_joint = expected.center != "none" or expected.height is not None
    if needs_joint and expected.layout in list_layouts():  # another may be registered before it is needed
        try:
            get_layout(expected.layout).center_of(expected.center_joint)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
    return config


def config_with_body(values: Any) -> MAMPConfig:
    """The configuration in a JSON file; the layout of a body of its own, which the file defines, is registered.

    Raises:
        ConfigError: A field is unknown, or has an invalid value.
    """
    if not isinstance(values, dict):
        return MAMPConfig.from_dict(values)
    config = MAMPConfig.from_dict({name: value for name, value in values.items() if name != "body"})
    try:
        adopt_body(values, "config")
    except LayoutError as error:
        raise ConfigError(str(error)) from None
    return config


def read_json(path: Path) -> Any:
    """Read a JSON file of limited size.

    Raises:
        ConfigError: The file is too large, or not JSON.
        WeightsError: The file cannot be read.
    """
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
    """Raise :class:`WeightsError` if the configuration was written with other weights."""
    values = read_json(config_path)
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
    """Load an encoder from its two files, in evaluation mode.

    Raises:
        WeightsError: A tensor is missing, unexpected, of the wrong shape or not finite, or the file is damaged.
        ConfigError: The configuration is invalid.
    """
    config = read_config(config_path)
    dtype = check_dtype(dtype) or torch.float32
    tensors = read_tensors(weights_path)
    check_fits(config, tensors, str(weights_path))
    _check_pair(config_path, weights_path)
    with torch.random.fork_rng(devices=[]):
        encoder = cls(config).to(dtype)
    fill(encoder, tensors, str(weights_path))
    try:
        place = torch.device("cpu" if device is None else device)
        if place.type == "meta":
            raise RuntimeError("it holds no numbers")
        return encoder.to(place)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"device={str(device)!r} cannot be used ({reason}); try device='cpu'.") from error


def fill(encoder: Network, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load tensors into an encoder and set evaluation mode.

    Raises:
        WeightsError: A tensor is missing, unexpected, of the wrong shape, or not finite.
    """
    check_tensors({name: value.shape for name, value in encoder.state_dict().items()}, tensors, where)
    encoder.load_state_dict(dict(tensors), strict=True)
    check_finite(encoder.state_dict(), where)
    encoder.eval()


def save_encoder(
    encoder: Network,
    directory: str | PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    name: str | None = None,
    facts: Mapping[str, str] | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Write ``config.json``, ``model.safetensors`` and the model card ``README.md``.

    A process that is killed leaves the old files or the new ones (:mod:`mamp.fileset`). The configuration states the
    sha256 of its weights, so that a mixture of old and new files does not load. An existing ``README.md`` is kept
    if the line that marks it as generated was removed.

    Args:
        encoder: Encoder to save.
        directory: Output folder, created if it does not exist.
        dtype: Type to store the weights as; by default, their own.
        name: Name of the weights in the model card; by default, that of the folder.
        facts: Additional lines of the model card.
        beside: More files that belong to these, by name.

    Raises:
        WeightsError: The weights are not finite, or the folder cannot be written.
    """
    target = local_path(directory, "directory")
    dtype = check_dtype(dtype)
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in encoder.state_dict().items()}
    check_finite(tensors, "encoder")
    facts = {
        "Parameters": f"{sum(value.numel() for value in tensors.values()):,}",
        "Stored as": ", ".join(sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()})),
        "Fingerprint": tensor_digest(tensors),
        **(facts or {}),
    }
    card = target / CARD_NAME
    try:
        kept = card.is_file() and GENERATED not in card.read_text(encoding="utf-8", errors="replace")
        with file_set(target) as aside:
            safetensors.torch.save_file(tensors, aside / WEIGHTS_NAME, metadata={"format": "pt"})
            own = {"model_type": "mamp", "format": FORMAT, "weights_sha256": sha256_of(aside / WEIGHTS_NAME)}
            own |= stored_body(encoder.config.preprocessing.layout)
            (aside / CONFIG_NAME).write_text(json.dumps(own | encoder.config.to_dict(), indent=2) + "\n")
            if not kept:
                text = model_card(encoder.config, name or target.resolve().name, facts)
                (aside / CARD_NAME).write_bytes(text.encode("utf-8", errors="replace"))
            for file, content in (beside or {}).items():
                (aside / file).write_bytes(content)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{target}: expected a folder that can be written, found: {reason}.") from error


def resize_encoder(encoder: _Network, num_frames: int) -> _Network:
    """Return a new encoder for clips of another length, with temporal embeddings resized as published (bicubic).

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


def check_dtype(dtype: Any) -> torch.dtype | None:
    """Return ``dtype``; raise :class:`WeightsError` unless it is a floating-point type or ``None``."""
    if dtype is None or dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        return dtype
    raise WeightsError(f"dtype: expected a floating-point torch.dtype such as torch.float32, found {dtype!r}.")
