"""``load``: pick the reader of a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mamp.errors import ReadError
from mamp.readers import amc, arrays, bvh, msr, ntu, nwucla, pku, sbu, table, uiprmd, utdmhad, utkinect
from mamp.readers.assemble import LayoutLike, Options
from mamp.readers.files import StrPath, decimal_comma, read_bytes, read_text
from mamp.skeleton import Skeleton


@dataclass(frozen=True)
class Format:
    """A file format: its reader, the suffixes it goes by (each also with ``.gz``), and what it is."""

    read: Callable[[StrPath, Options | None], Skeleton]
    suffixes: tuple[str, ...]
    about: str


FORMATS: dict[str, Format] = {
    "ntu": Format(ntu.read, (".skeleton",), "NTU RGB+D skeleton text (Kinect v2)"),
    "bvh": Format(bvh.read, (".bvh",), "BVH motion capture"),
    "amc": Format(amc.read, (".amc",), "AMC motion with its ASF skeleton beside it (CMU, HDM05)"),
    "numpy": Format(arrays.read, (".npz", ".npy"), "arrays [T, V, 3], [M, T, V, 3] or [T, V*3]"),
    "csv": Format(table.read, (".csv",), "a row a frame; columns head_x, head_y, head_z, ..., or no header"),
    "nwucla": Format(nwucla.read, (".json",), "NW-UCLA style JSON (Kinect v1)"),
    "pku": Format(pku.read, (".txt",), "PKU-MMD skeleton text (150 numbers a row)"),
    "msr": Format(msr.read, (".txt",), "MSR-Action3D skeleton text (20 rows of x, y, z, confidence a frame)"),
    "uiprmd": Format(uiprmd.read, (".txt",), "UI-PRMD Kinect positions with the file of angles beside it"),
    "utdmhad": Format(utdmhad.read, (".mat",), "UTD-MHAD skeleton (MATLAB, d_skel [20, 3, frames], Kinect v1)"),
    "sbu": Format(sbu.read, (".txt",), "SBU Kinect Interaction skeleton_pos.txt (two people of 15 joints)"),
    "utkinect": Format(utkinect.read, (".txt",), "UTKinect-Action joints (frame number, 20 joints; Kinect v1)"),
}


def load(
    path: StrPath,
    *,
    format: str | None = None,
    layout: LayoutLike | None = None,
    fps: float | None = None,
    unit: str | float | None = None,
    up: str | None = None,
    asf: StrPath | None = None,
) -> Skeleton:
    """Read a recording.

    What is given here wins over what the file or its format says. Where neither says the unit or the axis that
    points up, they are inferred (:mod:`mamp.readers.units` has the rule), and a warning of logger ``mamp`` says so when
    the result is not metres or not y. ``Skeleton.info`` records ``source``, ``format``, ``unit``, ``unit_from``
    (``given``, ``format`` or ``inferred``), ``up``, ``up_from``, and what the format adds (label, subject, ...).

    Args:
        path: The file, possibly gzipped.
        format: A key of :data:`FORMATS`; by default told from the suffix, and for ``.txt`` from the content.
        layout: Registered layout name, layout, or the joint names in order.
        fps: Frames per second.
        unit: ``m``, ``cm``, ``mm``, ``in``, ``ft``, ``asf`` (CMU's unit), or the metres in one unit.
        up: The axis that points up in the file: ``x``, ``y``, ``z``, or one of them with a minus.
        asf: Skeleton file of an AMC file, when it is not beside it.

    Returns:
        The recording in metres, y up; NaN where nothing was tracked.

    Raises:
        MissingFileError: There is no such file.
        ReadError: The file is not a recording of that format, or the format is unknown.
        LayoutError: The layout is unknown, does not fit, or cannot be told.
    """
    options = Options(layout=layout, fps=fps, unit=unit, up=up, asf=asf)
    if format is None:
        format = find_format(path)
    elif format not in FORMATS:
        raise ReadError(f"format={format!r} is unknown. Known formats:\n{list_formats()}")
    return FORMATS[format].read(path, options)


def find_format(path: StrPath) -> str:
    """Tell the format of a file from its suffix and, where several formats share it, its content.

    Raises:
        ReadError: It is none that is known.
    """
    name = Path(path).name.lower().removesuffix(".gz")
    suffix = Path(name).suffix
    candidates = [key for key, one in FORMATS.items() if suffix in one.suffixes]
    if len(candidates) == 1:
        return candidates[0]
    read_bytes(path)
    if not candidates:
        hint = " An .asf is only the skeleton; give the .amc." if suffix == ".asf" else ""
        raise ReadError(
            f"{path}: no format is known by the suffix {suffix or 'of this name'!r}.{hint} Say format=NAME:\n"
            f"{list_formats()}"
        )
    return _sniff_text(path)


def list_formats() -> str:
    """One line for each format: name, suffixes, description."""
    return "\n".join(f"  {key:10}{' '.join(one.suffixes):12}{one.about}" for key, one in FORMATS.items())


def _sniff_text(path: StrPath) -> str:
    first = next((line for line in read_text(path).splitlines() if line.strip()), "")
    with_commas, words = first.count(",") + 1, len(first.split())
    if words == 1 and with_commas > 1:
        known, count = {uiprmd.COLUMNS: "uiprmd", sbu.COLUMNS: "sbu"}, with_commas
        known |= {2 * columns: name for columns, name in known.items()}  # decimal commas, of which the reader will tell
    else:
        known, count = {pku.COLUMNS: "pku", 4: "msr", 1: "ntu", utkinect.COLUMNS: "utkinect"}, words
    if count in known:
        return known[count]
    raise ReadError(
        f"{path}: a .txt file is told by its first row: {pku.COLUMNS} numbers (PKU-MMD), 4 (MSR-Action3D), "
        f"{utkinect.COLUMNS} (UTKinect), {uiprmd.COLUMNS} (UI-PRMD) or {sbu.COLUMNS} (SBU) with commas "
        f"between, or the number of frames (NTU RGB+D); found {count} words.{decimal_comma(first)} Say format=NAME:\n"
        f"{list_formats()}"
    )
