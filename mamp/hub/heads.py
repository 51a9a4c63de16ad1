"""Files of a classification head, ``head.json`` and ``head.safetensors``, beside those of its encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from mamp.config import MAMPConfig
from mamp.errors import ConfigError, WeightsError
from mamp.heads import ActionHead, Head, LinearHead
from mamp.hub.paths import local_path
from mamp.hub.serialization import read_json, save_encoder
from mamp.hub.tensors import check_finite, check_tensors, fingerprint, read_tensors, tensor_digest
from mamp.outputs import dump_json
from mamp.transformer import Network

HEAD_NAME, HEAD_WEIGHTS_NAME = "head.json", "head.safetensors"
FORMAT = 1


def head_of(tensors: Mapping[str, Tensor], config: MAMPConfig, where: str, pooling: str = "mean") -> Head:
    """Build a published head from its tensors; their names determine the kind and their shapes the sizes.

    Args:
        tensors: Tensors by name without ``head.``: ``fc.1.weight`` etc. for a linear probe, ``fc1.weight`` etc. for
            fine-tuning.
        config: Configuration of the encoder.
        where: Source of the tensors, for error messages.
        pooling: Pooling of a linear head.

    Raises:
        WeightsError: The tensors do not form a head for this encoder.
    """
    last = tensors.get("fc.1.weight", tensors.get("fc2.weight"))
    first = tensors.get("fc1.weight")
    if last is None or last.ndim != 2 or ("fc2.weight" in tensors and (first is None or first.ndim != 2)):
        raise WeightsError(
            f"{where}: expected the head of a linear probe or of fine-tuning, found {', '.join(tensors)}."
        )
    width = config.replace(pooling=pooling).pooled_dim
    # What is not there must not be built.
    if first is None:
        sizes: dict[str, Sequence[int]] = {"fc.1.weight": (len(last), width)}
    else:
        inputs = config.grid[1] * config.dim_feat
        sizes = {"fc1.weight": (len(first), inputs), "fc2.weight": (len(last), len(first))}
    check_tensors(sizes, tensors, where, extra_is_wrong=False)
    with torch.random.fork_rng(devices=[]):
        head: Head = (
            LinearHead(width, len(last), pooling=pooling)
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
    """Write an encoder and its head.

    Args:
        encoder: Encoder without a readout, since heads take tokens.
        head: Head.
        directory: Output folder, created if it does not exist.
        classes: [K] class names, if known.
        data: Training data of the head, if known, such as ``ntu60-xsub``.
        facts: Additional lines of the model card.
        dtype: Type to store the weights as; by default, their own.

    Raises:
        WeightsError: The weights are not finite, or the folder cannot be written.
    """
    folder = local_path(directory, "directory")
    tensors = {name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
    if dtype is not None:
        tensors = {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
    # A counter is no weight, and safetensors files of the package hold floating point only.
    tensors = {name: value for name, value in tensors.items() if value.is_floating_point()}
    check_finite(tensors, "head")
    weights = {name: value if dtype is None else value.to(dtype) for name, value in encoder.state_dict().items()}
    record: dict[str, Any] = {
        "format": FORMAT,
        "kind": "linear" if isinstance(head, LinearHead) else "finetune",
        "classes": None if classes is None else list(classes),
        "data": data,
        "encoder": tensor_digest(weights),
        "fingerprint": tensor_digest(tensors),
    }
    if isinstance(head, LinearHead) and head.pooling != "mean":
        record["pooling"] = head.pooling
    beside = {
        HEAD_WEIGHTS_NAME: safetensors.torch.save(tensors, metadata={"format": "pt"}),
        HEAD_NAME: (dump_json(record) + "\n").encode(),
    }
    save_encoder(encoder, folder, facts=facts, dtype=dtype, beside=beside)


def read_head(folder: Path, config: MAMPConfig) -> tuple[Head, dict[str, Any]]:
    """Read the head beside an encoder.

    Returns:
        The head, and the contents of ``head.json``.

    Raises:
        WeightsError: There is no head, it is damaged, or it belongs to another encoder.
    """
    path = folder / HEAD_NAME
    if not path.is_file():
        raise WeightsError(
            f"{folder}: expected a classifier, found an encoder without {HEAD_NAME}. python -m mamp.evaluate finetune "
            "and linear write one into seed=N/classifier, and mamp convert keeps the head of a published checkpoint."
        )
    try:
        record = read_json(path)
    except ConfigError as error:
        raise WeightsError(f"{error} It is damaged.") from None
    classes = record.get("classes") if isinstance(record, dict) else 0
    named = classes is None or (isinstance(classes, list) and all(isinstance(name, str) for name in classes))
    if not isinstance(record, dict) or "format" not in record or not named:
        raise WeightsError(f"{path}: expected the fields of a classifier's head, found it damaged.")
    if (version := record["format"]) != FORMAT:
        raise WeightsError(f"{path}: expected format {FORMAT}, found {version!r}; a newer mamp may be needed.")
    if record.get("encoder") != fingerprint(folder):
        raise WeightsError(f"{folder}: the head was trained on another encoder than the one beside it.")
    if record.get("fingerprint", found := fingerprint(folder / HEAD_WEIGHTS_NAME)) != found:
        raise WeightsError(f"{folder / HEAD_WEIGHTS_NAME}: expected the weights of {HEAD_NAME}, found others.")
    tensors = read_tensors(folder / HEAD_WEIGHTS_NAME)
    counters = {name.rpartition(".")[0] for name in tensors if name.endswith("running_mean")}
    tensors |= {f"{name}.num_batches_tracked": torch.tensor(0) for name in counters}
    return head_of(tensors, config, str(folder / HEAD_WEIGHTS_NAME), record.get("pooling", "mean")), record
