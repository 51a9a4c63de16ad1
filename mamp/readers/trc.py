"""TRC: markers or joint centres as Cortex, OpenSim, OpenCap and Pose2Sim write them.

Three lines of header (the third with rate, unit and numbers of frames and markers), a line of labels, one of axes, then
``frame, time, x, y, z, x, y, z, ...``, separated by tabs (or commas, or blanks). An empty cell was not seen. Labels
become joints as :mod:`mamp.readers.markers` says; the axis that points up is inferred, for writers differ.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.readers.columns import parse_cells
from mamp.readers.files import StrPath, decimal_comma, read_text
from mamp.readers.markers import Markers, known_unit, marker_format
from mamp.readers.tracks import parse_rate, rate_of_times

logger = logging.getLogger(__name__)


def parse(path: StrPath) -> Markers:
    """Markers of a file."""
    text, where = read_text(path), str(path)
    lines = [line for line in text.splitlines() if line.strip()]
    labels_at = next((at for at, line in enumerate(lines[:10]) if re.match(r"\W*frame\s*#", line, re.I)), 0)
    said = _header(lines[:labels_at])
    if not labels_at or not said:
        raise ReadError(
            f"{where}: expected the header of TRC: a line with DataRate and Units, its values, and a line that begins "
            "with Frame#. Is the file cut?"
        )
    delimiter = next((mark for mark in "\t," if mark in lines[labels_at]), None)
    labels = [cell.strip() for cell in lines[labels_at].split(delimiter)[2:]]
    labels = [label for label in labels if label]
    if said.get("nummarkers", "").isdecimal():  # Cortex names virtual markers too that it does not write
        labels = labels[: int(said["nummarkers"][:9])]
    table = _rows(lines[labels_at + 1 :], delimiter, 2 + 3 * len(labels), where, text.endswith(("\n", "\r")))
    announced = said.get("numframes", "")
    if announced.isdecimal() and int(announced[:9]) > len(table):
        if not text.endswith(("\n", "\r")) and int(announced[:9]) > len(table) + 1:
            raise ReadError(f"{where}: the file is cut: {announced[:9]} frames announced, {len(table)} found.")
        logger.warning("%s: %s frames announced, %d found and read.", where, announced[:9], len(table))
    positions = table[:, 2:].reshape(len(table), len(labels), 3)
    fps = parse_rate(said.get("datarate", "")) or rate_of_times(table[np.isfinite(table[:, 1]), 1], 1.0, where)
    return Markers(labels, positions, fps=fps, unit=known_unit(said.get("units", "")))


def _header(lines: Sequence[str]) -> dict[str, str]:
    """What the header says, by name in lower case; empty if there is none."""
    for names, values in itertools.pairwise(lines):
        keys = re.split(r"[\t, ]+", names.strip().lower())
        if "datarate" in keys:
            return dict(zip(keys, re.split(r"[\t, ]+", values.strip()), strict=False))
    return {}


def _rows(lines: Sequence[str], delimiter: str | None, columns: int, where: str, ended: bool) -> NDArray[np.float64]:
    """[T, columns] numbers, NaN where a cell is empty; a first line of axes (X1, Y1, ...) is passed over."""
    lines = [line for line in lines if line.strip(" \t,")]
    if lines and re.match(r"[\s,]*x\d", lines[0], re.I):
        lines = lines[1:]
    rows = [line.split(delimiter) for line in lines]
    for number, row in enumerate(rows, start=1):
        if len(row) > columns and any(cell.strip() for cell in row[columns:]):
            raise ReadError(
                f"{where}: expected {columns} numbers a row, found {len(row)} in row {number}."
                f"{decimal_comma(' '.join(row))}"
            )
    return parse_cells(rows, range(columns), where, ended=ended)


FORMAT = marker_format("trc", (".trc",), "TRC markers, as C3D's (OpenSim, OpenCap, Pose2Sim, Cortex)", parse)
