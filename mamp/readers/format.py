"""``Format``: what a reader declares about its file format, and how formats that share a suffix are told apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from mamp.readers.assemble import Options
from mamp.readers.files import StrPath, read_bytes, read_text
from mamp.skeleton import Skeleton

KEYED, LIKELY, POSSIBLE, NO = 3, 2, 1, 0
"""How surely contents are of a format: by its own keys or sizes, by keys that others use too, if nothing else fits."""


@dataclass(frozen=True)
class Contents:
    """The contents of a file, read when they are asked for.

    Attributes:
        path: The file.
    """

    path: StrPath

    @cached_property
    def data(self) -> bytes:
        """The file, unpacked."""
        return read_bytes(self.path)

    @cached_property
    def text(self) -> str:
        """The file as text."""
        return read_text(self.path)

    @cached_property
    def first_line(self) -> str:
        """The first line that holds anything."""
        return next((line for line in self.text.splitlines() if line.strip()), "")

    @property
    def words(self) -> int:
        """Words in the first line."""
        return len(self.first_line.split())

    def has_words(self, number: int) -> int:
        """:data:`KEYED` if the first line holds ``number`` words."""
        return KEYED if self.words == number and not (number == 1 and "," in self.first_line) else NO

    def has_cells(self, number: int) -> int:
        """:data:`KEYED` if the first line has ``number`` cells separated by commas.

        Twice as many are numbers with decimal commas, which the reader reports.
        """
        return KEYED if self.words == 1 and self.first_line.count(",") + 1 in (number, 2 * number) else NO

    def has_key(self, names: str) -> bool:
        """Whether the text holds a JSON key that matches."""
        return re.search(rf'"(?:{names})"\s*:', self.text) is not None


@dataclass(frozen=True)
class Format:
    """A file format. A new one is a file with its ``FORMAT`` and a line in :data:`mamp.readers.load.READERS`.

    Attributes:
        name: What users call it.
        suffixes: By which files it goes, each also with ``.gz``.
        about: What it is, in a line.
        read: Its reader.
        fits: How surely contents are of this format (:data:`KEYED` to :data:`NO`), asked where several formats share a
            suffix; the surest is taken, and of equals the first in the table.
        looks: What its contents look like, for the message when none fits.
        folders: Whether a folder of files of one frame each is a recording too.
    """

    name: str
    suffixes: tuple[str, ...]
    about: str
    read: Callable[[StrPath, Options], Skeleton]
    fits: Callable[[Contents], int] | None = None
    looks: str = ""
    folders: bool = False

    def surety(self, contents: Contents) -> int:
        """How surely contents are of this format."""
        return POSSIBLE if self.fits is None else self.fits(contents)
