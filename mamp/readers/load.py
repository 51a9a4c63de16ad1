"""``load``: pick the reader of a file."""

from __future__ import annotations

from os import PathLike

from mamp.skeleton import Skeleton


def load(path: str | PathLike[str]) -> Skeleton:
    """Read a recording."""
    raise NotImplementedError
