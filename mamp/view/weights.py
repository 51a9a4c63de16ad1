"""The weights of a page: an encoder, and the model with its decoder where a run has one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mamp.encoder import MAMPEncoder
from mamp.train.report import is_run
from mamp.train.trained import read_model
from mamp.transformer import Backbone

Weights = str | os.PathLike[str] | MAMPEncoder


@dataclass(frozen=True)
class Model:
    """What embeds, and what predicts.

    Attributes:
        name: Of the weights.
        encoder: Embeds.
        backbone: The encoder, or the model of a run, which has a decoder.
    """

    name: str
    encoder: MAMPEncoder
    backbone: Backbone


def open_weights(weights: Weights, device: str = "cpu") -> Model:
    """Open weights by name, a folder, a run of ``python -m mamp.train`` with its decoder, or an encoder.

    Raises:
        WeightsError: There are no such weights.
        TrainingError: The folder of a run is damaged.
    """
    if isinstance(weights, MAMPEncoder):
        return Model("an encoder", weights, weights)
    name = os.fspath(weights)
    encoder = MAMPEncoder.from_pretrained(name, device=device)
    shown = Path(name).resolve().name if Path(name).is_dir() else name  # pages are sent: they name no folders
    decoder = read_model(Path(name)) if is_run(name) else None
    return Model(shown, encoder, encoder if decoder is None else decoder.to(device))
