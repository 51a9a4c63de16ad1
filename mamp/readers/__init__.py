"""One file a format: a recording on disk becomes a :class:`~mamp.skeleton.Skeleton`."""

from mamp.readers.load import load

__all__ = ["load"]
