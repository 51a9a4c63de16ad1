"""Rows of cells of motion capture's tables, of which some may be empty or missing, and the numbers in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.readers.columns import MAX_COLUMNS
from mamp.readers.files import check_numbers, decimal_comma

Cells = NDArray[np.float64]


def split_cells(text: str, where: str) -> list[list[str]]:
    """Rows of cells, separated by tabs, semicolons or commas; an empty line is an empty row.

    Raises:
        ReadError: A quoted cell is damaged.
    """
    delimiter = next((mark for mark in "\t;" if mark in text[:10_000]), ",")
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        return [[cell.strip() for cell in row] for row in lines]
    except csv.Error as error:
        raise ReadError(f"{where}: not a table of cells, or damaged ({error}).") from None


def parse_cells(rows: Sequence[Sequence[str]], columns: Sequence[int], where: str, *, ended: bool = True) -> Cells:
    """Numbers [rows, columns] of some columns, NaN where a cell is empty.

    Args:
        rows: Cells of each frame; rows may end before their last columns, which were not seen then.
        columns: Which to take.
        where: File, for messages.
        ended: Whether the text ends with a line's end; if not, its last row may be cut.

    Raises:
        ReadError: There are no rows, a cell is no number, infinite or absurdly large, or the last row is cut.
    """
    if not rows:
        raise ReadError(f"{where}: expected frames after the header, found none.")
    if len(columns) > MAX_COLUMNS:
        raise ReadError(f"{where}: {len(columns)} columns are more than any recording has ({MAX_COLUMNS}).")
    width = max(columns, default=-1) + 1
    if len(rows[-1]) < width and (not ended or (len(rows) > 1 and all(len(row) >= width for row in rows[:-1]))):
        raise ReadError(f"{where}: the last row has {len(rows[-1])} of {width} cells. Is the file cut?")
    table = np.full((len(rows), len(columns)), np.nan)
    for number, row in enumerate(rows):
        if len(row) < width:
            row = [*row, *[""] * (width - len(row))]
        try:
            table[number] = [float(cell) if (cell := row[at]) and not cell.isspace() else np.nan for at in columns]
        except ValueError as error:
            raise ReadError(
                f"{where}: row {number + 1} of the frames: {str(error)[:80]}.{decimal_comma(' '.join(row))}"
            ) from None
    check_numbers(table, where)
    return table
