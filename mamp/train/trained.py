"""The model of a run, with its decoder, from its newest checkpoint."""

from __future__ import annotations

from pathlib import Path

from mamp.errors import MAMPError, WeightsError
from mamp.pretraining import MAMPForPretraining
from mamp.train.checkpoint import load_checkpoint
from mamp.train.config import TrainConfig
from mamp.train.report import read_run_file


def read_model(run: Path) -> MAMPForPretraining | None:
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
