"""What is indexed; see :mod:`mamp.sources`."""

from mamp.sources import MEMORY, Source, known_source, list_sources

__all__ = ["MEMORY", "Source", "known_source", "list_sources"]
