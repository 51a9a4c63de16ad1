"""One file a format: a recording on disk becomes a :class:`~mamp.skeleton.Skeleton`."""

from mamp.readers.dataframe import from_dataframe
from mamp.readers.format import Format
from mamp.readers.load import FORMATS, find_format, list_formats, load

__all__ = ["FORMATS", "Format", "find_format", "from_dataframe", "list_formats", "load"]
