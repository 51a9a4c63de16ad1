"""Shared by the commands that train: check device and clips, save on Ctrl-C, silence all processes but one."""

from __future__ import annotations

import io
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mamp.config import Preprocessing
from mamp.data import ClipStore
from mamp.data.augment import Augmentation
from mamp.data.loader import training_clips
from mamp.errors import ConfigError
from mamp.options import show
from mamp.train.config import TrainConfig
from mamp.train.distributed import OtherProcessError
from mamp.train.recipes import Recipe

logger = logging.getLogger(__name__)

# Errors that only the main process reports, since they occur in all.
TOLD_BY_MAIN = (ConfigError, OtherProcessError, KeyboardInterrupt)


def check_device(name: str, option: str = "run.device") -> None:
    """Raise :class:`ConfigError` if the device cannot be used."""
    if name == "auto":
        return
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{option}: {name!r} cannot be used here ({reason}). Leave it out, or give cpu or cuda."
        ) from None


def check_store(config: TrainConfig, data: Path, recipe: Recipe | None = None) -> ClipStore:
    """Open the store, and check that its preprocessing, if stated in ``meta.json``, matches the encoder.

    Anything else that is unusual for the recipe is logged as a warning; see :func:`surprises`.
    """
    store = ClipStore(data)
    stored, expected = store.info.get("preprocessing", {}), config.encoder.preprocessing
    wanted_of = {name: getattr(expected, name) for name in ("layout", "unit", "up", "center", "facing", "height")}
    found_of = {"height": None, **stored}
    if expected.center == "clip" and store.layout.name == expected.layout:
        wanted_of["center_joint"] = store.layout.center_of(expected.center_joint)
        if config.augment.center:
            found_of["center_joint"] = store.layout.center
    for name, wanted in wanted_of.items():
        found = found_of.get(name)
        done_later = getattr(config.augment, name, False)
        if (found is not None or name == "height") and found != wanted and not done_later:
            raise ConfigError(
                f"{data}: the clips were prepared with {name} {show(found)}, the encoder is to expect {show(wanted)}. "
                f"Prepare the data again, or set encoder.preprocessing.{name} {show(found)}."
            )
    found, wanted = stored.get("absent_person"), expected.absent_person
    if found is not None and "none" not in (found, wanted) and found != wanted:
        raise ConfigError(
            f"{data}: the published runs on this set have {show(found)} in place of an absent second person, the "
            f"encoder is to expect {show(wanted)}. Take a recipe of this set, or set "
            f"encoder.preprocessing.absent_person {show(found)}."
        )
    for surprise in surprises(config, store, recipe):
        logger.warning("%s: %s", data, surprise)
    return store


def training_augmentation(wanted: Augmentation, expected: Preprocessing, store: ClipStore) -> Augmentation:
    """Add to an augmentation the preprocessing that the weights expect and the store has not applied.

    Args:
        wanted: The augmentation of the settings.
        expected: The preprocessing that the weights expect.
        store: The clips. ``meta.json`` states their preprocessing; without it, they are positions as recorded, in
            metres with y up.

    Raises:
        ConfigError: The weights expect a preprocessing that cannot be applied to a crop.
    """
    stored = store.info.get("preprocessing", {})
    found = {"unit": "m", "up": "y", "height": None, **stored}
    for name in ("unit", "up", "height"):
        if getattr(expected, name) != found[name]:
            raise ConfigError(
                f"{store.path}: the weights expect clips with {name} {getattr(expected, name)}, these have "
                f"{found[name]}, and that cannot be changed while training. Prepare the data for these weights."
            )
    center = expected.center == "clip" and found.get("center") != "clip"
    if center and store.layout.center_of(expected.center_joint) != store.layout.center:
        raise ConfigError(
            f"{store.path}: the weights expect clips centred on {expected.center_joint}; training can centre on "
            f"{store.layout.center} only. Prepare the data for these weights."
        )
    facing = expected.facing and not found.get("facing", False)
    return replace(wanted, center=wanted.center or center, facing=wanted.facing or facing)


def for_body(config: TrainConfig, recipe: TrainConfig, data: Path) -> TrainConfig:
    """The configuration for the body of the clips, unless it names another layout than its recipe."""
    layout, expected = ClipStore(data).layout, config.encoder.preprocessing
    if layout.name == expected.layout or expected.layout != recipe.encoder.preprocessing.layout:
        return config
    logger.info("the clips are of the body %s: %d joints", layout.name, len(layout.joints))
    expected = replace(expected, layout=layout.name)
    return replace(config, encoder=config.encoder.replace(preprocessing=expected, num_joints=len(layout.joints)))


def surprises(config: TrainConfig, store: ClipStore, recipe: Recipe | None = None) -> list[str]:
    """Properties of the store that do not fit the configuration or its recipe."""
    found = []
    chosen = training_clips(store, config.data.split, config.data.protocol).numpy()
    columns = {name: values[chosen] for name, values in store.columns.items()}
    expected, people = config.encoder.preprocessing.max_people, int(columns["people"].max())
    if expected is not None and people != expected:
        found.append(f"clips have up to {people} people, the encoder takes {expected}")
    if "label" in columns and len(np.unique(columns["label"])) == 1:
        found.append(f"all training clips are of one class, {columns['label'][0]}")
    if recipe is not None and recipe.published:
        source, rate = store.info.get("source"), float(np.median(columns["fps"]))
        if source and not recipe.description.startswith(str(source)):
            found.append(f"the clips are from {source!r}, the recipe is for {recipe.description.split(',')[0]}")
        if recipe.clips is not None and len(chosen) != recipe.clips:
            found.append(f"there are {len(chosen):,} training clips, the published run had {recipe.clips:,}")
        if rate > 0 and not 25 <= rate <= 35:
            found.append(f"the clips have {rate:g} frames a second, those of the published run 30")
    return found


@contextmanager
def interrupt_saves() -> Iterator[list[int]]:
    """Make the first Ctrl-C stop the run after a checkpoint, as SIGTERM does, and the second one immediately.

    Yields the list of received signals.
    """
    came: list[int] = []

    def stop(number: int, frame: object) -> None:
        came.append(number)
        if len(came) > 1 or not callable(signal.getsignal(signal.SIGTERM)):
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def silence() -> Iterator[None]:
    """Suppress the output of a process."""
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        yield
