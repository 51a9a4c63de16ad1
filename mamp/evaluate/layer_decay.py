"""Parameter groups for fine-tuning: learning rates that fall from the head down to the embedding, as published."""

from __future__ import annotations

from typing import Any

from torch import nn

EMBEDDINGS = ("temp_embed", "pos_embed", "joints_embed")


def layer_of(name: str, depth: int) -> int:
    """Number of the layer that a parameter belongs to: 0 for the embeddings, the blocks, ``depth + 1`` for the rest."""
    first, *rest = name.split(".")
    if first in EMBEDDINGS:
        return 0
    return int(rest[0]) + 1 if first == "blocks" else depth + 1


def layer_decay_groups(model: nn.Module, depth: int, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Parameter groups with ``lr_scale``, a factor ``layer_decay`` smaller for each layer further down.

    As published, vectors have no weight decay, and the position embeddings do.

    Args:
        model: Encoder and head; what needs no gradient is left out.
        depth: Blocks of the encoder.
        weight_decay: Of matrices.
        layer_decay: Factor between layers; 1 gives all the same rate.
    """
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        layer, decayed = layer_of(name, depth), parameter.ndim > 1
        new = {
            "lr_scale": layer_decay ** (depth + 1 - layer),
            "weight_decay": weight_decay if decayed else 0.0,
            "params": [],
        }
        groups.setdefault((layer, decayed), new)["params"].append(parameter)
    return list(groups.values())
