"""``load``: pick the reader of a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mamp.errors import ReadError
from mamp.readers import (
    amc,
    arrays,
    azure,
    bvh,
    c3d,
    mediapipe,
    mmpose,
    msr,
    ntu,
    nwucla,
    openpose,
    pku,
    sbu,
    smpl,
    table,
    uiprmd,
    utdmhad,
    utkinect,
)
from mamp.readers.assemble import LayoutLike, Options
from mamp.readers.columns import Columns, split_header
from mamp.readers.dataframe import from_dataframe, is_dataframe
from mamp.readers.files import StrPath, decimal_comma, list_folder, read_bytes, read_lines, read_text
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
    "csv": Format(table.read, (".csv",), "a row a frame with head_x, head_y, head_z, ..., or a row a joint"),
    "mediapipe": Format(mediapipe.read, (".json", ".jsonl", ".csv"), "MediaPipe pose world landmarks"),
    "openpose": Format(openpose.read, (".json",), "OpenPose JSON in 3D; a folder of them, one a frame"),
    "mmpose": Format(mmpose.read, (".json",), "MMPose predictions in 3D; a folder of them, one a picture"),
    "azure": Format(azure.read, (".json",), "Azure Kinect body tracking (offline processor)"),
    "smpl": Format(smpl.read, (".npz",), "SMPL pose parameters, AMASS; with joints=, the body model's rest joints"),
    "c3d": Format(c3d.read, (".c3d",), "C3D markers; with markers=, which joint they are around (extra c3d)"),
    "nwucla": Format(nwucla.read, (".json",), "NW-UCLA style JSON (Kinect v1)"),
    "pku": Format(pku.read, (".txt",), "PKU-MMD skeleton text (150 numbers a row)"),
    "msr": Format(msr.read, (".txt",), "MSR-Action3D skeleton text (20 rows of x, y, z, confidence a frame)"),
    "uiprmd": Format(uiprmd.read, (".txt",), "UI-PRMD Kinect positions with the file of angles beside it"),
    "utdmhad": Format(utdmhad.read, (".mat",), "UTD-MHAD skeleton (MATLAB, d_skel [20, 3, frames], Kinect v1)"),
    "sbu": Format(sbu.read, (".txt",), "SBU Kinect Interaction skeleton_pos.txt (two people of 15 joints)"),
    "utkinect": Format(utkinect.read, (".txt",), "UTKinect-Action joints (frame number, 20 joints; Kinect v1)"),
}


def load(
    path: StrPath | Any,
    *,
    format: str | None = None,
    layout: LayoutLike | None = None,
    fps: float | None = None,
    unit: str | float | None = None,
    up: str | None = None,
    handedness: str | None = None,
    allow_2d: bool = False,
    asf: StrPath | None = None,
    joints: Any = None,
    markers: Mapping[str, str | Sequence[str]] | None = None,
) -> Skeleton:
    """Read a recording.

    What is given here wins over what the file or its format says. Where neither says the unit, the axis that points up
    or the handedness of the axes, they are inferred from the body (:mod:`mamp.readers.units` and
    :mod:`mamp.readers.axes` have the rules), and a warning of logger ``mamp`` says so when the result is not metres,
    not y, or in doubt. ``Skeleton.info`` records ``source``, ``format``, ``unit``, ``up``, ``handedness``, where these
    are from (``unit_from``: ``given``, ``format``, ``inferred``, ``assumed``), and what the format adds (label, ...).

    Args:
        path: The file, possibly gzipped; a folder of files of one frame each (OpenPose, MMPose); or a data frame of
            pandas (:mod:`mamp.readers.dataframe`).
        format: A key of :data:`FORMATS`; by default told from the suffix, and from the content where several share it.
        layout: Registered layout name, layout, or the joint names in order.
        fps: Frames per second.
        unit: ``m``, ``cm``, ``mm``, ``in``, ``ft``, ``asf`` (CMU's unit), or the metres in one unit.
        up: The axis that points up in the file: ``x``, ``y``, ``z``, or one of them with a minus.
        handedness: Whether the file's axes are ``right`` or ``left`` handed (Unity, Unreal).
        allow_2d: Take 2D keypoints, which are refused otherwise: the weights have only seen bodies in 3D.
        asf: Skeleton file of an AMC file, when it is not beside it.
        joints: Rest joints of the body model for SMPL's pose parameters (:mod:`mamp.readers.smpl`).
        markers: Joint -> marker or markers that it is in the middle of, for C3D (:mod:`mamp.readers.c3d`).

    Returns:
        The recording in metres, y up; NaN where nothing was tracked.

    Raises:
        MissingFileError: There is no such file.
        ReadError: The file is not a recording of that format, or the format is unknown.
        LayoutError: The layout is unknown, does not fit, or cannot be told.
        MissingExtraError: The format needs a package that is not installed.
    """
    options = Options(
        layout=layout, fps=fps, unit=unit, up=up, handedness=handedness, allow_2d=allow_2d, asf=asf, joints=joints,
        markers=markers,
    )  # fmt: skip
    if is_dataframe(path):
        return from_dataframe(path, options)
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
    if Path(path).is_dir():
        return _sniff_folder(Path(path))
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        read_bytes(path)
        hint = " An .asf is only the skeleton; give the .amc." if suffix == ".asf" else ""
        raise ReadError(
            f"{path}: no format is known by the suffix {suffix or 'of this name'!r}.{hint} Say format=NAME:\n"
            f"{list_formats()}"
        )
    return SNIFF[suffix](path)


def list_formats() -> str:
    """One line for each format: name, suffixes, description."""
    return "\n".join(f"  {key:10}{' '.join(one.suffixes):20}{one.about}" for key, one in FORMATS.items())


def _sniff_arrays(path: StrPath) -> str:
    return "smpl" if smpl.has_poses(arrays.npz_names(read_bytes(path))) else "numpy"


def _sniff_csv(path: StrPath) -> str:
    """MediaPipe's if it has the 33 landmarks, by its header or, with a row a joint, its first rows."""
    lines = read_lines(path)
    header, delimiter = split_header(lines[0])
    long = Columns(header, [], str(path)).find(table.JOINT) is not None
    rows = [row for line in lines[1 : 500 if long else 2] if len(row := line.split(delimiter)) == len(header)]
    columns = Columns(header, list(zip(*rows, strict=True)), str(path))
    if not rows:
        return "csv"
    return "mediapipe" if mediapipe.has_landmarks(columns) else "csv"


def _sniff_json(path: StrPath) -> str:
    """The format whose keys are in the text."""
    text = read_text(path)
    for name, key in JSON_KEYS:
        if key.search(text):
            return name
    if re.match(r"\s*[\[{]", text):
        return "mediapipe"  # lists of landmarks need no keys
    raise ReadError(f"{path}: not JSON, or cut.{decimal_comma(text[:200])}")


def _sniff_folder(folder: Path) -> str:
    files = openpose.frame_files(folder)
    if not files:
        raise ReadError(
            f"{folder} is a folder; expected a file with one recording, or a folder of JSON files of one frame each "
            f"(OpenPose, MMPose). It holds {len(list_folder(folder))} other files."
        )
    return "mmpose" if _sniff_json(files[0]) == "mmpose" else "openpose"


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


JSON_KEYS = tuple(
    (name, re.compile(rf'"(?:{keys})"\s*:'))
    for name, keys in (
        ("nwucla", "skeletons"),
        ("openpose", "pose_keypoints_[23]d"),
        ("azure", "joint_positions|bodies"),
        ("mediapipe", r"(?:pose_?)?world_?landmarks|(?:pose)?WorldLandmarks|keypoints3D"),
        ("mmpose", "instance_info|instances|keypoint_scores"),
        ("openpose", "people"),
    )
)
SNIFF: dict[str, Callable[[StrPath], str]] = {
    ".txt": _sniff_text,
    ".json": _sniff_json,
    ".csv": _sniff_csv,
    ".npz": _sniff_arrays,
}
