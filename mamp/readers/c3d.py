"""C3D: positions of markers (optical motion capture), read by the package ``c3d`` (extra ``c3d``).

Markers become joints by their labels, which are matched as joint names are, or as the caller says:
``markers={"knee_left": ["LKNE", "LKNI"], ...}`` puts each joint of ``layout`` (the model's ``ntu25`` if not given) in
the middle of its markers. The unit is that of POINT:UNITS, the axis that points up is inferred. A marker of residual -1
was not seen, and a joint is not if one of its markers is not.
"""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import LayoutError, MissingExtraError, ReadError
from mamp.layouts import MODEL_LAYOUT, Layout, find_layout
from mamp.readers.assemble import Options, Raw, assemble, choose_layout
from mamp.readers.files import StrPath, read_bytes
from mamp.readers.format import Format
from mamp.readers.units import LONG_NAMES, UNITS
from mamp.skeleton import Skeleton

MAGIC = 0x50  # second byte of every file


def read(path: StrPath, options: Options | None = None) -> Skeleton:
    """Read a file.

    Raises:
        MissingExtraError: The package ``c3d`` is not installed.
        ReadError: The file is missing, damaged, or without the markers that are asked for.
        LayoutError: The labels are not understood, and no ``markers`` are given.
    """
    options = options or Options()
    labels, points, fps, unit = parse_c3d(read_bytes(path), str(path))
    if options.markers is not None:
        layout = MODEL_LAYOUT if options.layout is None else choose_layout(options.layout, 0, path)
        positions = _from_markers(labels, points, options.markers, layout, path)
    else:
        layout = _layout(labels, options, path)
        positions = points
    return assemble(
        Raw(
            positions[None],
            path,
            "c3d",
            layout=layout,
            fps=fps,
            unit=unit,
            zeros="keep",
            info={"markers": tuple(labels)},
        ),
        options.with_defaults(layout=layout),
    )


def parse_c3d(data: bytes, where: str) -> tuple[list[str], NDArray[np.float64], float | None, str | None]:
    """Labels, positions [T, markers, 3] with NaN where not seen, frames per second, and unit of a file.

    Raises:
        MissingExtraError: The package ``c3d`` is not installed.
        ReadError: The bytes are no such file, or damaged.
    """
    try:
        library: Any = importlib.import_module("c3d")
    except ImportError:
        raise MissingExtraError(
            "reading C3D needs the package c3d: pip install 'mamp[c3d]' (or pip install c3d)."
        ) from None
    if len(data) < 512 or data[1] != MAGIC:
        raise ReadError(f"{where}: not a C3D file, or cut: expected a header of 512 bytes with {MAGIC} as its second.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of analog channels that are not there, and of what is checked here
            with np.errstate(all="ignore"):
                reader = library.Reader(io.BytesIO(data))
                return _parse(reader, len(data), where)
    except ReadError:
        raise
    except Exception as error:  # damage surfaces as almost any error
        raise ReadError(f"{where}: damaged or cut C3D file ({type(error).__name__}: {str(error)[:100]}).") from None


def _parse(reader: Any, size: int, where: str) -> tuple[list[str], NDArray[np.float64], float | None, str | None]:
    markers = int(reader.point_used)
    frames = int(reader.last_frame) - int(reader.first_frame) + 1
    bytes_each = 16 if reader.point_scale < 0 else 8
    if markers < 1 or frames < 1 or frames * markers * bytes_each > size:
        raise ReadError(f"{where}: damaged or cut: {frames} frames of {markers} markers announced in {size} bytes.")
    labels = [str(label).strip() for label in list(reader.point_labels)[:markers]]
    labels += [f"marker{number}" for number in range(len(labels), markers)]
    points = np.array([frame[1][:, :4] for frame in reader.read_frames(copy=True)], dtype=np.float64)
    if points.shape[:2] != (frames, markers):
        raise ReadError(f"{where}: damaged or cut: {frames} frames announced, {len(points)} found.")
    positions = np.where(points[..., 3:] < 0, np.nan, points[..., :3])
    rate = float(reader.point_rate)
    return labels, positions, rate if 0 < rate < 1e6 else None, _unit(reader)


def _unit(reader: Any) -> str | None:
    """Unit of POINT:UNITS, or ``None`` where it is not said or not known."""
    parameter = reader.get("POINT:UNITS")
    name = parameter.string_value.strip().lower() if parameter is not None else ""
    name = LONG_NAMES.get(name, name)
    return name if name in UNITS else None


def _layout(labels: list[str], options: Options, path: StrPath) -> Layout:
    """The layout whose joints the markers are, in the file's order."""
    names = [label.rsplit(":", 1)[-1] for label in labels]  # Vicon writes Subject:LKNE
    if options.layout is not None:
        layout = choose_layout(options.layout, 0, path)
        if set(names) == set(layout.joints) and len(names) == len(layout.joints):
            return layout.reordered(names)
        return layout
    if len(set(names)) == len(names):
        try:
            return find_layout(names)
        except LayoutError:
            pass
    raise LayoutError(
        f"{path}: markers are not joints, and their labels are not understood: {', '.join(names)[:400]}. Say "
        "markers={joint: [labels], ...}, the markers around each joint of the model "
        f"({', '.join(MODEL_LAYOUT.joints)}), or of the layout=NAME that you give."
    )


def _from_markers(
    labels: list[str],
    points: NDArray[np.float64],
    markers: Mapping[str, str | Sequence[str]],
    layout: Layout,
    path: StrPath,
) -> NDArray[np.float64]:
    """Positions [T, V, 3] of the joints of a layout in the middle of their markers; NaN for joints without."""
    places = {label: index for index, label in enumerate(labels)}
    places |= {label.rsplit(":", 1)[-1]: index for index, label in enumerate(labels)}
    positions = np.full((len(points), len(layout.joints), 3), np.nan)
    for joint, given in markers.items():
        names = [given] if isinstance(given, str) else list(given)
        if joint not in layout.joints:
            raise ReadError(
                f"markers: {joint!r} is no joint of layout {layout.name!r}, which has {', '.join(layout.joints)}."
            )
        if missing := [name for name in names if name not in places]:
            raise ReadError(f"{path}: there are no markers {', '.join(missing)}; found {', '.join(labels)[:400]}.")
        if names:
            positions[:, layout.joints.index(joint)] = points[:, [places[name] for name in names]].mean(axis=1)
    return positions


FORMAT = Format(
    "c3d",
    (".c3d",),
    "C3D markers; with markers=, which joint they are around (extra c3d)",
    read,
)
