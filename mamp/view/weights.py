"""The weights of a page: an encoder, and the model with its decoder where a run has one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mamp.encoder import MAMPEncoder
from mamp.errors import MAMPError, WeightsError
from mamp.pretraining import MAMPForPretraining
from mamp.train.checkpoint import load_checkpoint
from mamp.train.config import TrainConfig
from mamp.train.report import is_run, read_run_file
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
    decoder = read_decoder(Path(name)) if is_run(name) else None
    return Model(shown, encoder, encoder if decoder is None else decoder.to(device))


def read_decoder(run: Path) -> MAMPForPretraining | None:
    """The pre-training model of the newest checkpoint of a run; None of a distilled one, which predicts no movement.

    Raises:
        WeightsError: The run has no checkpoint, or one of another model.
        TrainingError: ``run.json`` or all checkpoints are damaged.
    """
    state = load_checkpoint(run / "checkpoints")
    if state is None:
        raise WeightsError(f"{run}: expected a run with a checkpoint, found none. Train it, or name its encoder.")
    try:
        config = TrainConfig(**read_run_file(run)["config"])
        if config.teacher is not None:
            return None
        model = MAMPForPretraining(config.encoder, config.objective)
        model.load_state_dict(state["model"])
    except (MAMPError, KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{run}: expected the checkpoint of its run.json, found another one ({error}).") from None
    return model.eval()
