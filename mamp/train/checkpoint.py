"""Checkpoints of a run: written beside and renamed, so that a kill at any moment leaves the last good one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch

from mamp.errors import TrainingError

PATTERN = re.compile(r"step-(\d+)\.pt")


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in ascending order of their step."""
    found = [path for path in folder.glob("step-*.pt") if PATTERN.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem.split("-")[1]))


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int, best: bool = False) -> Path:
    """Write ``step-N.pt`` atomically, as ``best.pt`` too if it is, and remove all but the last ``keep``.

    Raises:
        TrainingError: The disk is full or the folder cannot be written; earlier checkpoints are untouched.
    """
    path = folder / f"step-{step:08d}.pt"
    temporary = path.with_suffix(".tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        if best:
            link = folder / "best.tmp"
            link.unlink(missing_ok=True)
            link.hardlink_to(path)
            link.replace(folder / "best.pt")
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(
            f"{path}: cannot write the checkpoint ({error}). Free some space or choose another --output; "
            "the run goes on from the last checkpoint when it is started again."
        ) from None
    for old in list_checkpoints(folder)[: -max(keep, 1)]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Load the newest checkpoint, or ``None`` when there is none."""
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        return None
    try:
        state: dict[str, Any] = torch.load(checkpoints[-1], map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(
            f"{checkpoints[-1]}: damaged checkpoint ({error}). Remove it to go on from the one before."
        ) from None
    return state
