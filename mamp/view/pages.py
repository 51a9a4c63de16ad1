"""``page``: recordings as one HTML page."""

from __future__ import annotations

from mamp.skeleton import Skeleton


def page(recording: Skeleton) -> str:
    """Write a page that plays a recording."""
    raise NotImplementedError
