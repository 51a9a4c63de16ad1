"""OptiTrack Motive CSV: bones of skeletons, or markers, with rotations as quaternions or angles, or without.

The first line says rates and unit; then rows of types (``Bone``, ``Marker``), names (``Ann:LThigh``), ``Rotation`` or
``Position``, and axes; then ``frame, time, numbers``. Only positions are read: those of bones where there are any, else
those of markers, which become joints as :mod:`mamp.readers.markers` says. An empty cell was not seen. Skeletons are
people.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mamp.errors import ReadError
from mamp.readers.columns import Cells, parse_cells, split_cells
from mamp.readers.files import StrPath, read_text
from mamp.readers.format import KEYED, NO, Contents
from mamp.readers.markers import Markers, known_unit, marker_format
from mamp.readers.tracks import parse_rate, rate_of_times

FIRST = "format version"
HEADER_ROWS = 12  # more than any version has


def parse(path: StrPath) -> Markers:
    """Positions of bones, or of markers."""
    text, where = read_text(path), str(path)
    rows = [row for row in split_cells(text, where) if any(row)]
    said = {key.strip().lower(): value.strip() for key, value in zip(rows[0][::2], rows[0][1::2], strict=False)}
    start = next((at for at, row in enumerate(rows[:HEADER_ROWS]) if row[0].strip().lower() == "frame"), 0)
    kinds = _row(rows[:start], "type")
    names = _row(rows[:start], "name")
    if FIRST not in said or not start or not names:
        raise ReadError(f"{where}: expected the header of Motive's CSV export, with rows Name and Frame. Is it cut?")
    parts = [cell.strip().lower() for cell in rows[start - 1]]
    axes = [cell.strip().upper() for cell in rows[start]]
    places = [at for at, part in enumerate(parts[: len(axes)]) if part == "position" and axes[at] in ("X", "Y", "Z")]
    kind_of = dict(enumerate(kinds))
    bones = [at for at in places if kind_of.get(at, "").lower() == "bone"]
    places = bones or [at for at in places if "rigid" not in kind_of.get(at, "").lower()] or places
    if bones and said.get("coordinate space", "").lower() == "local":
        raise ReadError(f"{where}: its bones are placed from their parents; export with global coordinates.")
    labels, columns = _points(places, axes, names)
    if not labels:
        raise ReadError(f"{where}: expected positions of bones or markers, found none. Export them with positions.")
    cells = parse_cells(rows[start + 1 :], [1, *columns], where, ended=text.endswith(("\n", "\r")))
    rates = (parse_rate(said.get(key, "")) for key in ("export frame rate", "capture frame rate"))
    fps = next((rate for rate in rates if rate), None) or rate_of_times(_seen(cells, 0), 1.0, where)
    return Markers(
        labels, cells[:, 1:].reshape(len(cells), -1, 3), fps=fps, unit=known_unit(said.get("length units", "")),
        joints=bool(bones),
    )  # fmt: skip


def _row(rows: Sequence[Sequence[str]], name: str) -> list[str]:
    """The cells of the row of that name, which is in its second cell, or its first."""
    found = next((row for row in rows if name in [cell.strip().lower() for cell in row[:2]]), [])
    return [cell.strip() for cell in found]


def _points(places: Sequence[int], axes: Sequence[str], names: Sequence[str]) -> tuple[list[str], list[int]]:
    """Labels, and the columns of the x, y and z of each."""
    found: dict[str, dict[str, int]] = {}
    for at in places:
        if at < len(names):
            found.setdefault(names[at], {}).setdefault(axes[at], at)
    whole = {name: columns for name, columns in found.items() if set(columns) == set("XYZ")}
    return list(whole), [columns[axis] for columns in whole.values() for axis in "XYZ"]


def _seen(cells: Cells, column: int) -> Cells:
    values: Cells = cells[np.isfinite(cells[:, column]), column]
    return values


def _fits(contents: Contents) -> int:
    return KEYED if contents.first_line.lstrip('"').lower().startswith(FIRST) else NO


FORMAT = marker_format("motive", (".csv",), "OptiTrack Motive's export of skeletons or markers", parse, _fits)
