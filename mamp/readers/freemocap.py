"""FreeMoCap's table of all trajectories, a row a point (``freemocap_data_by_frame.csv``): millimetres, z up as a rule.

Columns ``frame, keypoint, x, y, z, model, trajectory``. Hands, face and centres of mass are left out, and of several
trajectories of one point (``3d_xyz``, ``rigid_3d_xyz``) the measured one is taken. Unit and axis are those of the
calibration, so they are inferred. Its wide tables (a row a frame) are read as other tables of landmarks are.
"""

from __future__ import annotations

import re
from dataclasses import replace

from mamp.errors import ReadError
from mamp.layouts import find_layout
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.columns import Columns, read_columns
from mamp.readers.files import StrPath
from mamp.readers.format import KEYED, NO, Contents, Format
from mamp.readers.landmarks import find_landmarks, layout_of
from mamp.readers.table import parse_table
from mamp.skeleton import Skeleton

TRAJECTORIES = ("3d_xyz", "rigid_3d_xyz")
OTHER_PARTS = ("hand", "face", "mass", "com")


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a file.

    Raises:
        ReadError: The file is missing or damaged, or holds no trajectories of a body.
        LayoutError: The points are not understood, and no ``layout`` is given.
    """
    table = parse_table(_body(read_columns(path)))
    places = find_landmarks(table.joints)
    joints = list(places) or table.joints
    order = [*places.values()] or list(range(len(joints)))
    layout = layout_of(joints) if places else find_layout(joints)
    raw = Raw(table.positions[:, :, order], path, "freemocap", layout=layout, fps=table.fps)
    return assemble(raw, options)


def _body(columns: Columns) -> Columns:
    """The rows of one trajectory of the body's points, under the names that long tables have."""
    lower = [name.lower() for name in columns.header]
    if not {"keypoint", "trajectory", "frame"} <= set(lower):
        raise ReadError(f"{columns.where}: expected the columns frame, keypoint, x, y, z and trajectory.")
    which = columns.texts(lower.index("trajectory"))
    models = columns.texts(lower.index("model")) if "model" in lower else [""] * len(which)
    body = [not any(part in model.lower() for part in OTHER_PARTS) for model in models]
    wanted = next((name for name in TRAJECTORIES if name in which), which[0])
    rows = [at for at, name in enumerate(which) if name == wanted and body[at]]
    if not rows:
        raise ReadError(f"{columns.where}: expected trajectories of a body, found those of {', '.join(set(models))}.")
    kept = [at for at, name in enumerate(lower) if name in ("frame", "keypoint", "x", "y", "z", "timestamp")]
    values = [[columns.values[at][row] for row in rows] for at in kept]
    return replace(columns, header=[lower[at] for at in kept], values=values)


def _fits(contents: Contents) -> int:
    cells = {cell.strip().strip('"').lower() for cell in re.split("[\t;,]", contents.first_line)}
    return KEYED if {"keypoint", "trajectory", "x", "y", "z"} <= cells else NO


FORMAT = Format("freemocap", (".csv",), "FreeMoCap's table of all trajectories, a row a point", read, fits=_fits)
