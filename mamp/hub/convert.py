"""Convert checkpoints: those of our own runs, which state what they are, and those of the published code.

The architecture of the latter is inferred from the shapes of their tensors.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mamp.config import MAMPConfig, Preprocessing, suggest
from mamp.errors import ConfigError, WeightsError
from mamp.heads import Head
from mamp.hub.checkpoint import open_checkpoint
from mamp.hub.heads import head_of, save_classifier
from mamp.hub.manifest import known_names, load_manifest
from mamp.hub.paths import local_path
from mamp.hub.serialization import check_dtype, fill, resize_encoder, save_encoder
from mamp.hub.stored import StoredTensor
from mamp.hub.tensors import LARGEST_WEIGHTS, check_fits, encoder_shapes, sha256_of
from mamp.transformer import Network

logger = logging.getLogger(__name__)

DEFAULT_PRESET = "ntu60-xsub"
_HEADS = 8
# How the published runs name their data, in paths of files and configurations.
_NTU = re.compile(r"ntu[-_]?(?:rgb\W?d)?[-_]?(60|120)[-_](xsub|xview|xset)", re.IGNORECASE)
_PKU = re.compile(r"pku(?:[-_]?mmd)?(?:[-_/]?(?:v|phase|part)?[-_]?(1|2)(?!\d))?", re.IGNORECASE)
_WORDS, _WORD_LENGTH = 500, 1000  # of the arguments of a run that are looked at


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion.

    Attributes:
        directory: Output folder, for ``from_pretrained``.
        kind: ``"pretraining"``, ``"linear probe"``, ``"fine-tuned"`` or ``"encoder"``.
        config: Architecture and preprocessing.
        preset: Name whose preprocessing was used; ``None`` if the preprocessing was given, or is that of the run.
        epoch: Epoch index stated in the checkpoint.
        sha256: Hash of the checkpoint.
        dropped: Tensors of the checkpoint that were not kept.
        num_classes: Outputs of the head that was kept beside the encoder; ``None`` if there is none.
    """

    directory: Path
    kind: str
    config: MAMPConfig
    preset: str | None
    epoch: int | None
    sha256: str
    dropped: tuple[str, ...]
    num_classes: int | None = None


def convert_checkpoint(
    checkpoint: str | PathLike[str],
    out_dir: str | PathLike[str],
    *,
    preset: str | None = None,
    preprocessing: Preprocessing | None = None,
    num_frames: int | None = None,
    dtype: torch.dtype | None = None,
) -> Conversion:
    """Convert a checkpoint of the published code to a folder for ``from_pretrained``.

    Checkpoints of pre-training, linear probing and fine-tuning are supported, and those of ``python -m mamp.train``,
    which contain their own configuration. The head of a linear probe or of fine-tuning is kept beside the encoder, for
    :class:`mamp.MAMPClassifier`. No code in the file is executed.

    Args:
        checkpoint: Checkpoint, such as ``checkpoint-399.pth``.
        out_dir: Output folder.
        preset: Registered name whose preprocessing the weights expect, such as ``"ntu120-xset"``. By default, it is
            inferred from the data named in the checkpoint, or else ``"ntu60-xsub"``; the choice is logged. Required if
            the checkpoint names data sets with different preprocessing.
        preprocessing: Preprocessing, instead of ``preset``.
        num_frames: Clip length of the result; the temporal embeddings are resized.
        dtype: Type to store the weights as; by default, their own.

    Raises:
        WeightsError: The file is not such a checkpoint, is damaged, or asks for code to be run; or the folder cannot be
            written.
        ConfigError: The preset is unknown or does not fit.
    """
    path, target = local_path(checkpoint, "checkpoint"), local_path(out_dir, "out_dir")
    check_dtype(dtype)
    with open_checkpoint(path) as opened:
        content = opened.content
        stored = _state_dict(content, path)
        own = _own_config(content, path)
        if own is None:
            of_encoder = {
                name for name in stored if name != "mask_token" and not name.startswith(("decoder_", "head."))
            }
        else:
            of_encoder = encoder_shapes(own).keys() & stored.keys()
        dropped = tuple(name for name in stored if name not in of_encoder)
        kept = {name: tensor for name, tensor in stored.items() if name not in dropped or name.startswith("head.")}
        _check_types(kept, path)
        tensors = opened.tensors(kept, LARGEST_WEIGHTS)
    of_head = {name: tensors.pop(name) for name in kept if name in dropped}
    kind = _kind(dropped)
    args = content.get("args")
    source = "the run" if preprocessing is None else "the caller"
    if own is None or preset is not None or preprocessing is not None:
        preset, preprocessing = _preprocessing(preset, preprocessing, args)
    else:
        preprocessing = own.preprocessing
    if own is None:
        config = _architecture(tensors, _num_heads(args), preprocessing, str(path))
    else:
        _check_layout(own.num_joints, preprocessing, str(path))
        config = own.replace(preprocessing=preprocessing)
    check_fits(config, tensors, str(path))
    with torch.random.fork_rng(devices=[]):
        encoder = Network(config).to(tensors["temp_embed"].dtype)
    fill(encoder, tensors, str(path))
    tensors.clear()  # the encoder has its own copy
    if num_frames is not None:
        encoder = resize_encoder(encoder, num_frames)
    head = _head(of_head, encoder.config, path)
    dropped = dropped if head is None else tuple(name for name in dropped if not name.startswith("head."))
    epoch = content.get("epoch")
    result = Conversion(
        directory=target,
        kind=kind,
        config=encoder.config,
        preset=preset,
        epoch=epoch if isinstance(epoch, int) and abs(epoch) < 1 << 62 else None,
        sha256=sha256_of(path),
        dropped=dropped,
        num_classes=None if head is None else head.num_classes,
    )
    facts = {
        "Converted from": f"`{path.name}`, a {result.kind} checkpoint of "
        + ("the published code" if own is None else "python -m mamp.train"),
        "sha256 of that file": f"`{result.sha256}`",
        "Epoch index in that file": "not stated" if result.epoch is None else str(result.epoch),
        "Preprocessing taken from": preset or source,
    }
    if head is None:
        save_encoder(encoder, target, dtype=dtype, facts=facts)
    else:
        facts["Head"] = f"{result.num_classes} classes, for `mamp.MAMPClassifier`"
        save_classifier(encoder, head, target, data=preset, facts=facts, dtype=dtype)
    return result


def _head(of_head: Mapping[str, Tensor], config: MAMPConfig, path: Path) -> Head | None:
    """Return the head of a linear probe or of fine-tuning, or ``None`` if there is no complete one."""
    tensors = {name.removeprefix("head."): value for name, value in of_head.items()}
    if not tensors:
        return None
    try:
        return head_of(tensors, config, str(path))
    except WeightsError as error:
        logger.warning("The head was not kept: %s", error)
        return None


def _state_dict(content: Any, path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of the model, without the prefixes added by wrappers."""
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: expected a checkpoint with 'model', found {type(content).__name__}.")
    state = content.get("average") or content.get("model", content)
    if not isinstance(state, dict) or not state or not all(isinstance(v, StoredTensor) for v in state.values()):
        keys = ", ".join(str(key)[:50] for key in list(content)[:8])
        raise WeightsError(f"{path}: expected a state dict under 'model', found the keys {keys}.")
    tensors = {re.sub(r"^(module\.|_orig_mod\.)+", "", str(name)): value for name, value in state.items()}
    if len(tensors) < len(state):
        raise WeightsError(f"{path}: expected each tensor once, found some with and without a prefix such as 'module.'")
    tensors.pop("n_averaged", None)
    return tensors


def _own_config(content: Any, path: Path) -> MAMPConfig | None:
    """The configuration in a checkpoint of our own runs, which the shapes of its tensors do not tell in full."""
    own = content.get("encoder")
    return MAMPConfig.from_dict(own, str(path)) if isinstance(own, dict) else None


def _check_types(tensors: Mapping[str, StoredTensor], path: Path) -> None:
    """Raise :class:`WeightsError` for tensors that are not floating point, except counters of batch norm."""
    for name, tensor in tensors.items():
        if not tensor.dtype.is_floating_point and not name.endswith(".num_batches_tracked"):
            raise WeightsError(f"{path}: tensor {name!r}: expected floating point, found {tensor.dtype}.")


def _kind(dropped: tuple[str, ...]) -> str:
    if any(name.startswith("head.fc1.") for name in dropped):
        return "fine-tuned"
    if any(name.startswith("head.") for name in dropped):
        return "linear probe"
    return "pretraining" if dropped else "encoder"


def _architecture(tensors: Mapping[str, Tensor], heads: int, preprocessing: Preprocessing, where: str) -> MAMPConfig:
    """Infer the configuration from the shapes of tensors."""
    for name in ("temp_embed", "pos_embed", "joints_embed.proj.weight"):
        if name not in tensors or tensors[name].ndim != 4:
            found = list(tensors[name].shape) if name in tensors else "no such tensor"
            raise WeightsError(f"{where}: expected a MAMP checkpoint with tensor {name!r} of 4 axes, found {found}.")
    width, dim_in, t_patch, patch = tensors["joints_embed.proj.weight"].shape
    numbers = [int(m[1]) for name in tensors if (m := re.match(r"blocks\.(\d{1,9})\.", name))]
    hidden = tensors.get("blocks.0.mlp.fc1.weight")
    ratio = hidden.shape[0] / width if hidden is not None and hidden.ndim == 2 and width else 4
    try:
        config = MAMPConfig(
            dim_in=dim_in,
            dim_feat=width,
            depth=max(numbers, default=-1) + 1,
            num_heads=heads,
            mlp_ratio=int(ratio) if ratio == int(ratio) else ratio,
            num_frames=tensors["temp_embed"].shape[1] * t_patch,
            num_joints=tensors["pos_embed"].shape[2] * patch,
            patch_size=patch,
            t_patch_size=t_patch,
            qkv_bias="blocks.0.attn.qkv.bias" in tensors or not numbers,
            preprocessing=preprocessing,
        )
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    _check_layout(config.num_joints, preprocessing, where)
    return config


def _check_layout(joints: int, preprocessing: Preprocessing, where: str) -> None:
    from mamp.layouts import get_layout

    expected = len(get_layout(preprocessing.layout).joints)
    if joints != expected:
        raise ConfigError(
            f"{where}: the weights have {joints} joints, the layout {preprocessing.layout!r} of their "
            f"preprocessing has {expected}; give a preprocessing with a layout that fits."
        )


def _num_heads(args: object) -> int:
    """Return the number of attention heads, from the arguments stored in the checkpoint; by default, 8."""
    fields = _fields(args)
    heads = _fields(fields.get("model_args")).get("num_heads", fields.get("num_heads"))
    if isinstance(heads, int):
        return heads
    logger.warning("The checkpoint does not state num_heads; the published %d are assumed.", _HEADS)
    return _HEADS


def _fields(values: object) -> Mapping[str, Any]:
    return values if isinstance(values, Mapping) else {}


def _words(values: object) -> Iterator[str]:
    """Yield strings among the arguments of a run, within limits, since a checkpoint can contain anything."""
    waiting, seen = [values], 0
    while waiting and seen < _WORDS:
        value, seen = waiting.pop(), seen + 1
        if isinstance(value, str):
            yield value[:_WORD_LENGTH]
        elif isinstance(value, (list, tuple)):
            waiting += reversed(value[:_WORDS])
        else:
            waiting += list(islice(_fields(value).values(), _WORDS))


def _data_of(args: object, presets: list[str]) -> str | None:
    """Return the preset of the data named in the arguments of a run, or ``None`` if they name no data.

    Raises:
        ConfigError: The arguments name data sets with different preprocessing.
    """
    named: set[str] = set()
    for word in _words(args):
        named |= {f"ntu{number}-{split}".lower() for number, split in _NTU.findall(word)}
        named |= {f"pku{phase or 1}-xsub" for phase in _PKU.findall(word)}  # both phases are prepared alike
    manifest = load_manifest()
    found = sorted(named & set(presets))
    configs = [entry.config for name in found if (entry := manifest.find(name)) and entry.config]
    if len({config.preprocessing for config in configs}) > 1:
        raise ConfigError(
            f"preset: the checkpoint names the data of {' and '.join(found)}, which are prepared differently, so a "
            "guess could be wrong. Name the one that the weights were trained on: preset=..."
        )
    return found[0] if found else None


def _preprocessing(
    preset: str | None, preprocessing: Preprocessing | None, args: object
) -> tuple[str | None, Preprocessing]:
    """Return the requested preset and preprocessing, or those inferred from the data of the run."""
    if preprocessing is not None:
        if preset is not None:
            raise ConfigError("preset and preprocessing: expected one of the two, found both.")
        if not isinstance(preprocessing, Preprocessing):
            raise ConfigError(f"preprocessing: expected mamp.Preprocessing, found {type(preprocessing).__name__}.")
        return None, preprocessing
    manifest = load_manifest()
    presets = [name for name in known_names() if (found := manifest.find(name)) and found.config]
    if preset is None:
        preset = _data_of(args, presets)
        if preset is None:
            preset = DEFAULT_PRESET
            logger.warning("No preset was named; the preprocessing of %r is taken.", preset)
        else:
            logger.info("The checkpoint names the data of %r; that preprocessing is taken.", preset)
    if not isinstance(preset, str):
        raise ConfigError(f"preset: expected one of {', '.join(presets)}; found {type(preset).__name__}.")
    entry = manifest.find(preset) if preset in presets else None
    if entry is None or entry.config is None:
        raise ConfigError(
            f"preset: expected one of {', '.join(presets)}; found {preset!r}.{suggest(preset.lower(), presets)}"
        )
    return entry.name, entry.config.preprocessing
