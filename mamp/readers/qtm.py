"""TSV of Qualisys Track Manager, which MoCap Toolbox reads too: markers, in millimetres.

Lines of a key and its values (``NO_OF_MARKERS``, ``FREQUENCY``, ``MARKER_NAMES``, ...), perhaps a line of column names
(``Frame``, ``Time``, ``LKNE X``, ...), then a row a frame. A marker at zero, or an empty cell, was not seen.
Markers become joints as :mod:`mamp.readers.markers` says.
"""

from __future__ import annotations

import numpy as np

from mamp.errors import ReadError
from mamp.readers.columns import parse_cells, split_cells
from mamp.readers.files import StrPath, read_text
from mamp.readers.format import KEYED, NO, Contents
from mamp.readers.markers import Markers, marker_format
from mamp.readers.tracks import parse_rate

NAMES, FIRST = "MARKER_NAMES", "NO_OF_"


def parse(path: StrPath) -> Markers:
    """Markers of a file."""
    text, where = read_text(path), str(path)
    rows = [row for row in split_cells(text, where) if any(row)]
    start = next((at for at, row in enumerate(rows) if not row[0] or (row[0][0] in "-0123456789N" and row[0] != NAMES
                  and not row[0].startswith(FIRST))), len(rows))  # fmt: skip
    said = {row[0].upper(): row[1:] for row in rows[:start]}
    labels = [label for label in said.get(NAMES, []) if label]
    if not labels:
        raise ReadError(f"{where}: expected the header of QTM's TSV export, with MARKER_NAMES; found none.")
    skip = 2 if "FRAME" in said and "TIME" in [cell.upper() for cell in said["FRAME"][:1]] else 0
    body = [["" if cell.upper() == "NULL" else cell for cell in row] for row in rows[start:]]
    cells = parse_cells(body, range(skip, skip + 3 * len(labels)), where, ended=text.endswith(("\n", "\r")))
    positions = cells.reshape(len(cells), len(labels), 3)
    positions[(positions == 0).all(-1)] = np.nan
    return Markers(labels, positions, fps=parse_rate("".join(said.get("FREQUENCY", [])[:1])), unit="mm")


def _fits(contents: Contents) -> int:
    return KEYED if contents.first_line.startswith(FIRST) else NO


FORMAT = marker_format("qtm", (".tsv",), "Qualisys Track Manager's TSV of markers", parse, _fits)
