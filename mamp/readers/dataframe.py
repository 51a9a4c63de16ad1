"""Data frames of pandas (or alike: ``columns``, and ``frame[name].to_numpy()``), wide or long as :mod:`~.table` says.

pandas is not imported here: a caller with a data frame has already imported it.
"""

from __future__ import annotations

from typing import Any

from mamp.errors import ReadError
from mamp.readers.assemble import DEFAULTS, Options
from mamp.readers.columns import Columns
from mamp.readers.mediapipe import has_landmarks, read_landmarks
from mamp.readers.table import read_table
from mamp.skeleton import Skeleton

NAME = "data frame"


def from_dataframe(frame: Any, options: Options = DEFAULTS, format: str | None = None) -> Skeleton:
    """Make a recording of a data frame.

    Args:
        frame: Wide (a row a frame; ``head_x, head_y, head_z, ...``, or a column index of joint and axis) or long (a row
            a joint; ``frame, joint, x, y, z``, and ``person``). Its row index is not used.
        options: As for a file.
        format: ``csv`` does not look for landmarks of MediaPipe.

    Raises:
        ReadError: It is empty, a cell that is needed is no number, columns make no joints, or are landmarks of an
            image.
        LayoutError: The joint names are not understood, and no ``layout`` is given.
    """
    labels = list(frame.columns)
    header = ["_".join(map(str, label)) if isinstance(label, tuple) else str(label).strip() for label in labels]
    if not header or not len(frame):
        raise ReadError(f"{NAME}: expected rows and columns, found {len(frame)} and {len(header)}.")
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise ReadError(f"{NAME}: two columns are called {twice!r}.")
    columns = Columns(header, [frame[label].to_numpy() for label in labels], NAME)
    if format != "csv" and has_landmarks(Columns(header, [values[:500] for values in columns.values], NAME)):
        return read_landmarks(columns, NAME, options, "dataframe")
    return read_table(columns, NAME, "dataframe", options)
