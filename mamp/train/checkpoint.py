"""Checkpoints: written to a temporary file and renamed, so that a kill at any time leaves the last one intact."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from mamp.errors import TrainingError, WeightsError
from mamp.hub.checkpoint import open_checkpoint

logger = logging.getLogger(__name__)

PATTERN = re.compile(r"step-(\d+)\.pt")


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in ascending order of steps."""
    found = [path for path in folder.glob("step-*.pt") if PATTERN.fullmatch(path.name)]
    return sorted(found, key=_step_of)


def _step_of(path: Path) -> int:
    return int(path.stem.split("-")[1])


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int, best: bool = False) -> Path:
    """Write ``step-N.pt`` atomically, also as ``best.pt`` if ``best``, and remove all but the last ``keep``.

    Raises:
        TrainingError: The folder cannot be written; earlier checkpoints are unchanged.
    """
    path = folder / f"step-{step:08d}.pt"
    temporary, best_temporary = path.with_suffix(".tmp"), folder / "best.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        if best:
            _link(path, best_temporary)
            best_temporary.replace(folder / "best.pt")
    except (OSError, RuntimeError) as error:
        for leftover in (temporary, best_temporary):
            with contextlib.suppress(OSError):
                leftover.unlink()
        reason = error.__context__ if isinstance(error.__context__, OSError) else error
        raise TrainingError(
            f"{path}: cannot write the checkpoint ({reason}). Free some space or choose another folder; "
            "the run resumes from the last checkpoint when it is started again."
        ) from None
    _remove_old(folder, step, keep)
    return path


def _remove_old(folder: Path, step: int, keep: int) -> None:
    """Remove all but the last ``keep`` of the checkpoints up to a step."""
    for old in [path for path in list_checkpoints(folder) if _step_of(path) <= step][: -max(keep, 1)]:
        old.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Load the newest intact checkpoint; ``None`` if there are no checkpoints.

    Raises:
        TrainingError: Checkpoints cannot be read, or all are damaged.
    """
    checkpoints = list_checkpoints(folder)
    for path in reversed(checkpoints):
        try:
            with open_checkpoint(path, largest=None) as checkpoint:
                state: dict[str, Any] = checkpoint.load()
            return state
        except WeightsError as error:
            if isinstance(error.__cause__, (PermissionError, MemoryError)):
                raise TrainingError(f"{path}: cannot read the checkpoint ({_first_line(error.__cause__)}).") from None
            reason = _first_line(error).removeprefix(f"{path}: ")
            logger.warning("%s: damaged checkpoint (%s); resuming from the one before", path, reason)
    if checkpoints:
        raise TrainingError(
            f"{folder}: all checkpoints are damaged ({', '.join(path.name for path in checkpoints)}). Remove them to "
            "start over, or put back a copy."
        )
    return None


def remove_leftovers(folder: Path, step: int, keep: int) -> None:
    """Remove what killed processes left: temporary files, and checkpoints before the last ``keep`` up to ``step``."""
    for path in folder.glob("*.tmp"):
        path.unlink(missing_ok=True)
    _remove_old(folder, step, keep)


def _link(path: Path, link: Path) -> None:
    """Hard-link a file, or copy it where the file system has no links."""
    link.unlink(missing_ok=True)
    try:
        link.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, link)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
