"""Vicon Nexus CSV (ASCII export): the section Trajectories; other sections are passed over.

A section is a line with its name, a line with its rate, a line of labels (``Ann:LKNE`` over the first of three
columns), a line of axes (``Frame, Sub Frame, X, Y, Z, ...``), a line of units, and rows up to an empty line. Markers
become joints as :mod:`mamp.readers.markers` says. An empty cell was not seen.
"""

from __future__ import annotations

import re

from mamp.errors import ReadError
from mamp.readers.columns import parse_cells, split_cells
from mamp.readers.files import StrPath, read_text
from mamp.readers.format import KEYED, NO, Contents
from mamp.readers.markers import Markers, known_unit, marker_format
from mamp.readers.tracks import parse_rate

SECTIONS = ("trajectories", "model outputs", "devices", "joints", "segments", "events")
WANTED = SECTIONS[0]


def parse(path: StrPath) -> Markers:
    """Markers of the trajectories."""
    text, where = read_text(path), str(path)
    rows = split_cells(text, where)
    start = next((at for at, row in enumerate(rows) if row and row[0].lower() == WANTED), None)
    if start is None or len(rows) < start + 6:
        raise ReadError(f"{where}: expected a section Trajectories with rate, labels, axes, units and frames.")
    rate, labels, axes, units = rows[start + 1 : start + 5]
    body = rows[start + 5 :]
    end = next((at for at, row in enumerate(body) if not any(row)), len(body))
    places = [at for at, label in enumerate(labels) if label and axes[at : at + 3] == ["X", "Y", "Z"]]
    if not places or not body[:end]:
        raise ReadError(f"{where}: expected labels over X, Y, Z in the section Trajectories, and frames; found none.")
    ended = end < len(body) or text.endswith(("\n", "\r"))
    cells = parse_cells(body[:end], [column for at in places for column in range(at, at + 3)], where, ended=ended)
    unit = units[places[0]] if places[0] < len(units) else ""
    return Markers(
        [labels[at] for at in places],
        cells.reshape(len(cells), -1, 3),
        parse_rate(rate[0] if rate else ""),
        known_unit(unit),
    )


def _fits(contents: Contents) -> int:
    first = re.split("[\t;,]", contents.first_line)[0]
    return KEYED if first.strip().strip('"').lower() in SECTIONS else NO


FORMAT = marker_format("nexus", (".csv",), "Vicon Nexus' ASCII export of trajectories", parse, _fits)
