"""``film``: recordings as films and pictures."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from mamp.skeleton import Skeleton


def film(recording: Skeleton, path: str | PathLike[str]) -> Path:
    """Draw a recording as a film."""
    raise NotImplementedError
