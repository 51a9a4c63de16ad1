"""The head of a classifier as files: ``head.json`` and ``head.safetensors``, beside the files of its encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from mamp.config import MAMPConfig
from mamp.errors import WeightsError
from mamp.heads import ActionHead, Head, LinearHead
from mamp.hub.serialization import check_finite, check_tensors, fingerprint, read_tensors, save_encoder
from mamp.outputs import dump_json, write_whole
from mamp.transformer import Network

HEAD_NAME, HEAD_WEIGHTS_NAME = "head.json", "head.safetensors"
FORMAT = 1


def head_of(tensors: Mapping[str, Tensor], config: MAMPConfig, where: str, pooling: str = "mean") -> Head:
    """Build a published head from its tensors, whose names tell the kind and whose shapes tell the sizes.

    Args:
        tensors: By name, without ``head.``: ``fc.1.weight`` ... of the linear probe, ``fc1.weight`` ... of fine-tuning.
        config: Of the encoder.
        where: Where they are from, for the message.
        pooling: Of a linear head.

    Raises:
        WeightsError: They are not those of a head on that encoder.
    """
    last = tensors.get("fc.1.weight", tensors.get("fc2.weight"))
    first = tensors.get("fc1.weight")
    if last is None or last.ndim != 2 or ("fc2.weight" in tensors and (first is None or first.ndim != 2)):
        raise WeightsError(
            f"{where}: expected the head of a linear probe or of fine-tuning, found {', '.join(tensors)}."
        )
    with torch.random.fork_rng(devices=[]):
        head: Head = (
            LinearHead(config.replace(pooling=pooling).pooled_dim, len(last), pooling=pooling)
            if first is None
            else ActionHead(config.dim_feat, config.grid[1], len(last), len(first))
        ).to(last.dtype)
    check_tensors({name: value.shape for name, value in head.state_dict().items()}, tensors, where)
    head.load_state_dict(dict(tensors))
    check_finite(head.state_dict(), where)
    return head.eval()


def save_classifier(
    encoder: Network,
    head: Head,
    directory: str | PathLike[str],
    classes: Sequence[str] | None = None,
    data: str | None = None,
    facts: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write an encoder as :func:`save_encoder` does, and a head beside it.

    Args:
        encoder: The encoder, without a readout: heads take tokens.
        head: The head.
        directory: Created when it does not exist.
        classes: [K] names of the classes, if they are known.
        data: What the head was trained on, if that is known: a name such as ``ntu60-xsub``.
        facts: More lines for the model card.
        dtype: Type to store the weights as; their own by default.

    Raises:
        WeightsError: The weights are not finite, or the folder cannot be written.
    """
    folder = Path(directory).expanduser()
    tensors = {name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
    if dtype is not None:
        tensors = {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
    # A counter is no weight, and safetensors files of the package hold floating point only.
    tensors = {name: value for name, value in tensors.items() if value.is_floating_point()}
    check_finite(tensors, "head")
    save_encoder(encoder, folder, facts=facts, dtype=dtype)
    record: dict[str, Any] = {
        "format": FORMAT,
        "kind": "linear" if isinstance(head, LinearHead) else "finetune",
        "classes": None if classes is None else list(classes),
        "data": data,
        "encoder": fingerprint(folder),
    }
    if isinstance(head, LinearHead) and head.pooling != "mean":
        record["pooling"] = head.pooling
    try:
        write_whole(folder / HEAD_WEIGHTS_NAME, safetensors.torch.save(tensors, metadata={"format": "pt"}))
        write_whole(
            folder / HEAD_NAME, dump_json(record | {"fingerprint": fingerprint(folder / HEAD_WEIGHTS_NAME)}) + "\n"
        )
    except OSError as error:
        raise WeightsError(f"{folder}: expected a folder that can be written, found: {error}.") from None


def read_head(folder: Path, config: MAMPConfig) -> tuple[Head, dict[str, Any]]:
    """Read the head beside an encoder, and what ``head.json`` says.

    Raises:
        WeightsError: There is none, it is damaged, or it belongs to another encoder than the one beside it.
    """
    path = folder / HEAD_NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = record["format"]
    except FileNotFoundError:
        raise WeightsError(
            f"{folder}: expected a classifier, found an encoder without {HEAD_NAME}. python -m mamp.evaluate finetune "
            "and linear write one into seed=N/classifier, and mamp convert keeps the head of a published checkpoint."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: expected what a classifier's folder says, found it damaged ({error!r}).") from None
    if version != FORMAT:
        raise WeightsError(f"{path}: expected format {FORMAT}, found {version!r}; a newer mamp may be needed.")
    if record.get("encoder") != fingerprint(folder):
        raise WeightsError(f"{folder}: the head was trained on another encoder than the one beside it.")
    tensors = read_tensors(folder / HEAD_WEIGHTS_NAME)
    counters = {name.rpartition(".")[0] for name in tensors if name.endswith("running_mean")}
    tensors |= {f"{name}.num_batches_tracked": torch.tensor(0) for name in counters}
    return head_of(tensors, config, str(folder / HEAD_WEIGHTS_NAME), record.get("pooling", "mean")), record
