"""Checkpoints of the published code to ours: restricted unpickling, architecture from the shapes."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import logging
import pathlib
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mamp.config import MAMPConfig, Preprocessing, suggest
from mamp.errors import ConfigError, WeightsError
from mamp.heads import Head
from mamp.hub.heads import head_of, save_classifier
from mamp.hub.manifest import known_names, load_manifest
from mamp.hub.serialization import check_tensors, fill, resize_encoder, save_encoder, sha256_of
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
    """What a conversion found and wrote.

    Attributes:
        directory: Folder to give to ``from_pretrained``.
        kind: ``"pretraining"``, ``"linear probe"``, ``"fine-tuned"`` or ``"encoder"``.
        config: Architecture and preprocessing.
        preset: Whose preprocessing was taken; ``None`` when it was given.
        epoch: Epoch index that the checkpoint states.
        sha256: Of the checkpoint.
        dropped: Tensors of the checkpoint that were not kept.
        num_classes: Outputs of the head, which was kept beside the encoder; ``None`` where there is none.
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
    """Write a checkpoint of the published code as a folder for ``from_pretrained``.

    The head of a linear probe or of fine-tuning is kept beside the encoder, for :class:`mamp.MAMPClassifier`.

    Pre-training, linear-probe and fine-tuning checkpoints are understood, and those of ``python -m mamp.train``, which
    say themselves what they expect. Nothing in the file is executed.

    Args:
        checkpoint: ``checkpoint-399.pth`` or the like.
        out_dir: Folder to write.
        preset: Registered name whose preprocessing the weights expect, such as ``"ntu120-xset"``. When not given, what
            the checkpoint says of its data decides, or else ``"ntu60-xsub"``; either is logged. A checkpoint that names
            data which are prepared differently needs it.
        preprocessing: The preprocessing itself, instead of ``preset``.
        num_frames: Clip length of the result; the temporal embeddings are resized.
        dtype: Type to store the weights as; their own by default.

    Raises:
        WeightsError: The file is not such a checkpoint, asks for code to be run, or cannot be written.
        ConfigError: The preset is unknown or does not fit.
    """
    path = Path(checkpoint).expanduser()
    content = _unpickle(path)
    state = _state_dict(content, path)
    tensors, dropped = _encoder_part(state)
    kind = _kind(dropped)
    args = content.get("args")
    own = content.get("encoder")  # a checkpoint of python -m mamp.train says what it is
    if isinstance(own, dict) and preset is None and preprocessing is None:
        said = MAMPConfig.from_dict(own, str(path))
        preprocessing, heads = said.preprocessing, said.num_heads
    else:
        preset, preprocessing = _preprocessing(preset, preprocessing, args)
        heads = _num_heads(args)
    config = _architecture(tensors, heads, preprocessing, str(path))
    with torch.random.fork_rng(devices=[]):
        encoder = Network(config).to(tensors["temp_embed"].dtype)
    fill(encoder, tensors, str(path))
    if num_frames is not None:
        encoder = resize_encoder(encoder, num_frames)
    head = _head(state, encoder.config, path)
    dropped = dropped if head is None else tuple(name for name in dropped if not name.startswith("head."))
    epoch = content.get("epoch")
    result = Conversion(
        directory=Path(out_dir).expanduser(),
        kind=kind,
        config=encoder.config,
        preset=preset,
        epoch=epoch if isinstance(epoch, int) else None,
        sha256=sha256_of(path),
        dropped=dropped,
        num_classes=None if head is None else head.num_classes,
    )
    facts = {
        "Converted from": f"`{path.name}`, a {result.kind} checkpoint of "
        + ("python -m mamp.train" if isinstance(own, dict) else "the published code"),
        "sha256 of that file": f"`{result.sha256}`",
        "Epoch index in that file": "not stated" if result.epoch is None else str(result.epoch),
        "Preprocessing taken from": preset or "the caller",
    }
    if head is None:
        save_encoder(encoder, out_dir, dtype=dtype, facts=facts)
    else:
        facts["Head"] = f"{result.num_classes} classes, for `mamp.MAMPClassifier`"
        save_classifier(encoder, head, out_dir, data=preset, facts=facts, dtype=dtype)
    return result


def _head(state: Mapping[str, Tensor], config: MAMPConfig, path: Path) -> Head | None:
    """The head of a linear probe or of fine-tuning, if there is a whole one."""
    tensors = {name.removeprefix("head."): value for name, value in state.items() if name.startswith("head.")}
    if not tensors:
        return None
    try:
        return head_of(tensors, config, str(path))
    except WeightsError as error:
        logger.warning("The head was not kept: %s", error)
        return None


def _unpickle(path: Path) -> dict[str, Any]:
    """Read a checkpoint with torch's restricted unpickler, which knows tensors and the few harmless types below."""
    if not path.is_file():
        raise WeightsError(f"{path}: expected a checkpoint file, found {'a folder' if path.is_dir() else 'nothing'}.")
    try:
        with _harmless_types():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked is None:
            raise WeightsError(f"{path}: expected a torch checkpoint, found something else or a cut file.") from error
        raise WeightsError(
            f"{path}: refused. It asks for {asked[1]!r}, which no checkpoint of the published code needs and which may "
            "run code; nothing of it was run."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, AttributeError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: expected a torch checkpoint, found a cut or damaged file ({reason}).") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: expected a checkpoint with 'model', found {type(content).__name__}.")
    return content


@contextlib.contextmanager
def _harmless_types() -> Iterator[None]:
    """Let the restricted unpickler build what the arguments of a run consist of: a namespace, paths, numpy scalars."""
    scalar = np.float64(0).__reduce__()[0]
    types: list[Any] = [argparse.Namespace, codecs.encode, np.dtype]
    types += [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")]
    for module in ("pathlib", "pathlib._local"):
        types += [
            _named(pathlib.PurePosixPath, module, "PosixPath"),
            _named(pathlib.PureWindowsPath, module, "WindowsPath"),
        ]
    types += [_named(scalar, f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")]
    serialization = torch.serialization
    before = serialization.get_safe_globals()
    serialization.add_safe_globals(types)
    try:
        yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(before)


def _named(target: Callable[..., Any], module: str, name: str) -> Callable[..., Any]:
    """``target`` under the name by which pickles ask for it: torch before 2.6 goes by the name that a type has."""
    if isinstance(target, type):
        return type(name, (target,), {"__module__": module, "__slots__": ()})

    def call(*args: Any) -> Any:
        return target(*args)

    call.__module__, call.__name__, call.__qualname__ = module, name, name
    return call


def _state_dict(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Return the model's tensors without the prefixes that wrappers put before their names."""
    state = content.get("average") or content.get("model", content)
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(
            f"{path}: expected a state dict under 'model', found the keys {', '.join(map(str, list(content)[:8]))}."
        )
    tensors = {re.sub(r"^(module\.|_orig_mod\.)+", "", str(name)): value for name, value in state.items()}
    tensors.pop("n_averaged", None)
    return tensors


def _encoder_part(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Split tensors into the encoder's and the names of those of decoder and heads."""
    dropped = tuple(name for name in state if name == "mask_token" or name.startswith(("decoder_", "head.")))
    return {name: value for name, value in state.items() if name not in dropped}, dropped


def _kind(dropped: tuple[str, ...]) -> str:
    if any(name.startswith("head.fc1.") for name in dropped):
        return "fine-tuned"
    if any(name.startswith("head.") for name in dropped):
        return "linear probe"
    return "pretraining" if dropped else "encoder"


def _architecture(tensors: Mapping[str, Tensor], heads: int, preprocessing: Preprocessing, where: str) -> MAMPConfig:
    """Read the sizes off the shapes."""
    for name in ("temp_embed", "pos_embed", "joints_embed.proj.weight"):
        if name not in tensors or tensors[name].ndim != 4:
            found = list(tensors[name].shape) if name in tensors else "no such tensor"
            raise WeightsError(f"{where}: expected a MAMP checkpoint with tensor {name!r} of 4 axes, found {found}.")
        if not tensors[name].is_floating_point():
            raise WeightsError(f"{where}: tensor {name!r}: expected floating point, found {tensors[name].dtype}.")
    width, dim_in, t_patch, patch = tensors["joints_embed.proj.weight"].shape
    numbers = [int(m[1]) for name in tensors if (m := re.match(r"blocks\.(\d+)\.", name))]
    hidden = tensors.get("blocks.0.mlp.fc1.weight")
    ratio = hidden.shape[0] / width if hidden is not None and width else 4
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
    if numbers:  # a stray high number must be reported before a deep model is built
        last = f"blocks.{config.depth - 1}.norm1.weight"
        check_tensors(
            {**{f"blocks.{i}.norm1.weight": (width,) for i in range(min(config.depth, len(tensors)))}, last: (width,)},
            tensors,
            where,
            extra_is_wrong=False,
        )
    from mamp.layouts import get_layout

    joints = len(get_layout(preprocessing.layout).joints)
    if joints != config.num_joints:
        raise ConfigError(
            f"{where}: the weights have {config.num_joints} joints, the layout {preprocessing.layout!r} of their "
            f"preprocessing has {joints}; give a preprocessing with a layout that fits."
        )
    return config


def _num_heads(args: object) -> int:
    """Attention heads, which no shape shows: from the arguments stored in the checkpoint, or the published 8."""
    fields = _fields(args)
    heads = _fields(fields.get("model_args")).get("num_heads", fields.get("num_heads"))
    if isinstance(heads, int):
        return heads
    logger.warning("The checkpoint does not state num_heads; the published %d are assumed.", _HEADS)
    return _HEADS


def _fields(values: object) -> Mapping[str, Any]:
    if isinstance(values, argparse.Namespace):
        return vars(values)
    return values if isinstance(values, Mapping) else {}


def _words(values: object) -> Iterator[str]:
    """Texts and paths among the arguments of a run, the first few and cut: a checkpoint may hold anything."""
    waiting, seen = [values], 0
    while waiting and seen < _WORDS:
        value, seen = waiting.pop(), seen + 1
        if isinstance(value, (str, pathlib.PurePath)):
            yield str(value)[:_WORD_LENGTH]
        elif isinstance(value, (list, tuple)):
            waiting += reversed(value[:_WORDS])
        else:
            waiting += list(islice(_fields(value).values(), _WORDS))


def _data_of(args: object, presets: list[str]) -> str | None:
    """The preset of the data that the arguments of a run name, or ``None`` when they name none.

    Raises:
        ConfigError: They name data that are prepared differently, so that a guess could be wrong.
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
    """Return the preset and the preprocessing that were asked for, or that the data of the run implies."""
    if preprocessing is not None:
        if preset is not None:
            raise ConfigError("preset and preprocessing: expected one of the two, found both.")
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
    entry = manifest.find(preset) if preset in presets else None
    if entry is None or entry.config is None:
        raise ConfigError(
            f"preset: expected one of {', '.join(presets)}; found {preset!r}.{suggest(preset.lower(), presets)}"
        )
    return entry.name, entry.config.preprocessing
