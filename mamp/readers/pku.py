"""PKU-MMD skeleton text: one row a frame, 150 numbers, two bodies of 25 joints, zeros for an absent one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.files import StrPath, parse_table, read_lines
from mamp.readers.format import Format
from mamp.readers.shapes import split_rows
from mamp.skeleton import Skeleton

FPS = 30.0
COLUMNS = 150
# By label.
CLASSES = (
    "bow", "brush hair", "brush teeth", "check time from watch", "cheer up", "clapping", "cross hands in front",
    "drink water", "drop", "eat meal", "falling down", "giving object", "hand waving", "shaking hands", "hopping",
    "hugging", "jump up", "kicking", "kicking something", "phone call", "pat on back", "pick up", "play with phone",
    "point finger", "point to something", "punch or slap", "pushing", "put on a hat", "put something into pocket",
    "reading", "rub two hands", "salute", "sit down", "stand up", "take off a hat", "take off glasses",
    "take off jacket", "take something out of pocket", "taking a selfie", "tear up paper", "throw", "back pain",
    "chest pain", "headache", "neck pain", "type on a keyboard", "fan self", "put on jacket", "put on glasses",
    "wipe face", "writing",
)  # fmt: skip


def read_rows(path: StrPath) -> NDArray[np.float32]:
    """Read the rows as they stand, [T, 150] float32, camera coordinates in metres.

    Raises:
        ReadError: The file is missing, cut, or a row does not hold 150 numbers.
    """
    return parse_table(read_lines(path), str(path), columns=COLUMNS).astype(np.float32)


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a file as one recording: two people if a second body ever appears, else one; NaN where one is absent."""
    positions = split_rows(read_rows(path), people=2)
    if not positions[1].any():
        positions = positions[:1]
    return assemble(Raw(positions, path, "pku", layout="ntu25", fps=FPS, unit="m", up="y"), options)


FORMAT = Format(
    "pku", (".txt",), "PKU-MMD skeleton text (150 numbers a row)", read,
    fits=lambda contents: contents.has_words(COLUMNS), looks=f"{COLUMNS} numbers (PKU-MMD)",
)  # fmt: skip
