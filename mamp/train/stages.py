"""Runs in stages: a recipe may go on from another one, which is trained first, inside the folder of the run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from mamp.config import MAMPConfig
from mamp.data import ClipStore
from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError, WeightsError
from mamp.hub import fingerprint
from mamp.hub.resolve import resolve_files
from mamp.hub.serialization import read_config
from mamp.options import override
from mamp.train.average import average_encoders, differences
from mamp.train.config import TrainConfig
from mamp.train.distributed import world
from mamp.train.engine import train
from mamp.train.estimate import Estimate, estimate
from mamp.train.readout import ReadoutSettings, add_readout
from mamp.train.recipes import Recipe, get_recipe

logger = logging.getLogger(__name__)

NOTHING = "there are none"


@dataclass(frozen=True)
class Stage:
    """One of the runs.

    Attributes:
        recipe: Its recipe.
        config: The recipe with what the user changed.
        folder: Its folder relative to that of the whole run, which is the folder of the last stage.
    """

    recipe: Recipe
    config: TrainConfig
    folder: Path


def plan_stages(recipe: Recipe, changes: dict[str, Any]) -> list[Stage]:
    """The stages of a recipe, first to last. Changes apply to each; with ``init``, only the last one is left.

    A first stage whose weights cannot be averaged with what it starts from results in its encoder as it is.

    Raises:
        ConfigError: A change is not valid for one of the stages, or is a teacher, which is the stage before.
        WeightsError: There are no weights of the name ``init``.
    """
    recipes = [recipe]
    while recipes[0].after is not None and "init" not in changes:
        recipes.insert(0, get_recipe(recipes[0].after))
    if len(recipes) > 1 and "teacher" in changes:
        raise ConfigError(
            f"teacher: the stages of {recipe.name} learn from the one before; expected init with a teacher of your "
            "own, found none. Give both, or neither."
        )
    if recipes[0].result == "mean" and (reason := _why_no_mean(override(recipes[0].config, changes))):
        logger.log(
            logging.INFO if reason == NOTHING else logging.WARNING,
            "%s: no mean with the weights that it starts from, since %s; its result is its encoder",
            recipes[0].name,
            reason,
        )
        recipes[0] = replace(recipes[0], result="encoder")
    folders = [*(Path("stages", one.name) for one in recipes[:-1]), Path()]
    return [Stage(one, override(one.config, changes), folder) for one, folder in zip(recipes, folders, strict=True)]


def _why_no_mean(config: TrainConfig) -> str | None:
    """Why the encoder of a run cannot be averaged with the weights that it starts from, if so."""
    if config.init is None:
        return NOTHING
    different = differences(config.encoder, read_config(resolve_files(config.init).config))
    return f"they have another {'; '.join(different)}" if different else None


def train_stages(stages: Sequence[Stage], data: Path, output: Path) -> Stage:
    """Train the stages, or resume them, each from the result of the one before it.

    Returns:
        The stage at which the run stopped, or the last one.

    Raises:
        DataError: The store is missing or damaged.
        TrainingError: A folder cannot be used, another process uses it, or a loss is not finite.
    """
    with world(stages[0].config.run.device) as here:
        before: Path | None = None
        for stage in stages:
            folder = output / stage.folder
            config = stage.config if before is None else _go_on_from(before, stage)
            if not train(config, data, folder, recipe=stage.recipe.name):
                break
            with here.together():
                if here.is_main and stage.recipe.result != "encoder" and not _is_fitted(stage.recipe, folder):
                    RESULTS[stage.recipe.result](config, data, folder / "encoder").save_pretrained(
                        folder / stage.recipe.result, dtype=getattr(torch, config.run.storage)
                    )
            before = folder / stage.recipe.result
        return stage


def _is_fitted(recipe: Recipe, folder: Path) -> bool:
    """Whether the folder of a stage that results in a readout, which takes minutes to fit, has one of its encoder."""
    if recipe.result != "readout" or not (folder / "readout").exists():
        return False
    with suppress(WeightsError):
        blocks = [MAMPEncoder.from_pretrained(folder / name).without_readout() for name in ("readout", "encoder")]
        return fingerprint(blocks[0]) == fingerprint(blocks[1])
    return False


def estimate_stages(stages: Sequence[Stage], store: ClipStore | None, devices: int = 1) -> list[Estimate]:
    """Estimate each stage, with random weights in place of the result of the one before it."""
    found: list[Estimate] = []
    before: Path | None = None
    with TemporaryDirectory() as folder:
        for stage in stages:
            config = stage.config if before is None else _go_on_from(before, stage)
            found.append(estimate(config, store, clips=stage.recipe.clips, devices=devices))
            if stage is not stages[-1]:
                before = Path(folder, stage.recipe.name.replace("/", "-"))
                MAMPEncoder(_result_of(stage.recipe, config)).save_pretrained(before)
    return found


def _result_of(recipe: Recipe, config: TrainConfig) -> MAMPConfig:
    """The configuration of what a stage results in."""
    if recipe.result != "readout":
        return config.encoder
    settings = readout_settings(config)
    return config.encoder.replace(pooling=settings.pooling, readout_dim=settings.dim, readout_pose=settings.pose)


def _go_on_from(before: Path, stage: Stage) -> TrainConfig:
    """The configuration of a stage that starts from the result of another one; if it has a teacher, that is it, too."""
    config = replace(stage.config, init=str(before.resolve()))
    if config.teacher is None:
        return config
    encoder = config.encoder.replace(readout_dim=config.encoder.dim_feat, readout_pose=_takes_pose(config))
    return replace(config, teacher=config.init, encoder=encoder)


def _takes_pose(config: TrainConfig) -> bool:
    """Whether the readouts of a run take the pose of the body: where the encoder sees positions."""
    return config.encoder.preprocessing.stream == "joint"


def with_readout(config: TrainConfig, data: Path, encoder: Path) -> MAMPEncoder:
    """The encoder of a run with a readout, E as long as a token, fitted to clips that are drawn as in the run."""
    return add_readout(MAMPEncoder.from_pretrained(encoder), ClipStore(data), readout_settings(config), progress=True)


def readout_settings(config: TrainConfig) -> ReadoutSettings:
    """The settings of the readout of a run."""
    return ReadoutSettings(
        dim=config.encoder.dim_feat,
        pose=_takes_pose(config),
        window=config.augment.window or ReadoutSettings.window,
        weight_by=config.data.weight_by or ReadoutSettings.weight_by,
        weights=config.data.weights,
        split=config.data.split,
        protocol=config.data.protocol,
    )


def mean_with_start(config: TrainConfig, data: Path, encoder: Path) -> MAMPEncoder:
    """The mean of the encoder of a run and of the weights that it started from, with their readouts."""
    assert config.init is not None
    return average_encoders([MAMPEncoder.from_pretrained(weights) for weights in (encoder, config.init)], readout=True)


RESULTS = {"readout": with_readout, "mean": mean_with_start}
