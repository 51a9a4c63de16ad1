"""Names to weights: find, fetch, verify, load, save, convert."""

from __future__ import annotations


def list_pretrained() -> list[str]:
    """Names that ``from_pretrained`` knows."""
    return []
