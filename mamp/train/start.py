"""What every command that trains does around a run: check device and clips, save on Ctrl-C, let one process speak."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from mamp.data import ClipStore
from mamp.errors import ConfigError
from mamp.options import show
from mamp.train.config import TrainConfig
from mamp.train.distributed import OtherProcessError

# What all processes find, or only hear of; the main one tells.
TOLD_BY_MAIN = (ConfigError, OtherProcessError, KeyboardInterrupt)


def check_device(name: str, option: str = "run.device") -> None:
    """Raise unless the device that an option names can be used."""
    if name == "auto":
        return
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{option}: {name!r} cannot be used here ({reason}). Leave it out, or give cpu or cuda."
        ) from None


def check_store(config: TrainConfig, data: Path) -> ClipStore:
    """Open the store; raise when its clips are placed otherwise than the encoder will expect.

    What a store says of itself is in ``meta.json`` under ``preprocessing``; one that says nothing is taken as it is.
    """
    store = ClipStore(data)
    stored, expected = store.info.get("preprocessing", {}), config.encoder.preprocessing
    for name in ("layout", "unit", "up", "center", "facing"):
        wanted, found = getattr(expected, name, None), stored.get(name)
        done_later = getattr(config.augment, name, False)
        if found is not None and found != wanted and not done_later:
            raise ConfigError(
                f"{data}: the clips were prepared with {name} {show(found)}, the encoder is to expect {show(wanted)}. "
                f"Prepare the data again, or set --encoder.preprocessing.{name} {show(found)}."
            )
    found, wanted = stored.get("absent_person"), expected.absent_person
    if found is not None and "none" not in (found, wanted) and found != wanted:
        raise ConfigError(
            f"{data}: the published runs on this set have {show(found)} in place of an absent second person, the "
            f"encoder is to expect {show(wanted)}. Take a recipe of this set, or set "
            f"--encoder.preprocessing.absent_person {show(found)}."
        )
    return store


@contextmanager
def interrupt_saves() -> Iterator[list[int]]:
    """Let the first Ctrl-C end the run as SIGTERM does, after a checkpoint; the second one ends it at once.

    Yields:
        A list that holds the signals that came.
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
    """Keep a process that is not the main one from saying what the main one says too."""
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        yield
