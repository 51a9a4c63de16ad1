"""Runs in stages: a recipe may go on from another one, which is trained first, inside the folder of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mamp.data import ClipStore
from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError
from mamp.options import override
from mamp.train.average import average_encoders
from mamp.train.config import TrainConfig
from mamp.train.distributed import world
from mamp.train.engine import train
from mamp.train.readout import ReadoutSettings, add_readout
from mamp.train.recipes import Recipe, get_recipe


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

    Raises:
        ConfigError: A change is not valid for one of the stages, or is a teacher, which is the stage before.
    """
    recipes = [recipe]
    while recipes[0].after is not None and "init" not in changes:
        recipes.insert(0, get_recipe(recipes[0].after))
    if len(recipes) > 1 and "teacher" in changes:
        raise ConfigError(
            f"teacher: the stages of {recipe.name} learn from the one before; expected init with a teacher of your "
            "own, found none. Give both, or neither."
        )
    if override(recipes[0].config, changes).init is None and recipes[0].result == "mean":
        recipes[0] = replace(recipes[0], result="encoder")  # there is nothing to average it with
    folders = [*(Path("stages", one.name) for one in recipes[:-1]), Path()]
    return [Stage(one, override(one.config, changes), folder) for one, folder in zip(recipes, folders, strict=True)]


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
                if here.is_main and stage.recipe.result != "encoder":
                    RESULTS[stage.recipe.result](config, data, folder / "encoder").save_pretrained(
                        folder / stage.recipe.result, dtype=getattr(torch, config.run.storage)
                    )
            before = folder / stage.recipe.result
        return stage


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
    settings = ReadoutSettings(
        dim=config.encoder.dim_feat,
        pose=_takes_pose(config),
        window=config.augment.window or ReadoutSettings.window,
        weight_by=config.data.weight_by or ReadoutSettings.weight_by,
        weights=config.data.weights,
        split=config.data.split,
        protocol=config.data.protocol,
    )
    return add_readout(MAMPEncoder.from_pretrained(encoder), ClipStore(data), settings, progress=True)


def mean_with_start(config: TrainConfig, data: Path, encoder: Path) -> MAMPEncoder:
    """The mean of the encoder of a run and of the weights that it started from, with their readouts."""
    assert config.init is not None
    return average_encoders([MAMPEncoder.from_pretrained(weights) for weights in (encoder, config.init)], readout=True)


RESULTS = {"readout": with_readout, "mean": mean_with_start}
