"""One file a format: a recording on disk becomes a :class:`~mamp.skeleton.Skeleton`."""

from mamp.readers.dataframe import from_dataframe
from mamp.readers.format import Format
from mamp.readers.load import SUFFIXES, find_format, formats, list_formats, load, sets

__all__ = ["SUFFIXES", "Format", "find_format", "formats", "from_dataframe", "list_formats", "load", "sets"]
