"""``load``: pick the reader of a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from operator import itemgetter
from os import PathLike
from pathlib import Path
from typing import Any

from mamp.errors import ReadError
from mamp.readers.assemble import LayoutLike, Options
from mamp.readers.dataframe import from_dataframe
from mamp.readers.files import StrPath, decimal_comma, frame_files, list_folder, read_bytes
from mamp.readers.format import NO, Contents, Format
from mamp.readers.sets import RecordingSet
from mamp.skeleton import Skeleton

# Modules of this package with a FORMAT, a SET (mamp.readers.sets), or both, and the suffixes of the format. A module is
# imported when a file may need it. Where several formats fit a file equally well, the first is taken.
READERS = {
    "ntu": ".skeleton .txt", "bvh": ".bvh", "amc": ".amc", "arrays": ".npz .npy", "table": ".csv .tsv",
    "motive": ".csv", "nexus": ".csv", "freemocap": ".csv", "mediapipe": ".json .jsonl .csv", "openpose": ".json",
    "mmpose": ".json", "panoptic": ".json", "easymocap": ".json", "azure": ".json", "smpl": ".npz", "c3d": ".c3d",
    "trc": ".trc", "qtm": ".tsv", "mvnx": ".mvnx", "gltf": ".glb .gltf", "nwucla": ".json", "pku": ".txt",
    "msr": ".txt", "uiprmd": ".txt", "utdmhad": ".mat", "sbu": ".txt", "utkinect": ".txt", "cmu": "", "hdm05": "",
    "bandai": "",
}  # fmt: skip
SUFFIXES = sorted({suffix for suffixes in READERS.values() for suffix in suffixes.split()})

# What to do about files that are not read.
HINTS = {
    ".asf": " An .asf is only the skeleton; give the .amc.",
    ".fbx": " Export FBX as BVH: in Blender, File > Import > FBX, then File > Export > Motion Capture (.bvh).",
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
    markers: Mapping[str, str | Sequence[str]] | StrPath | None = None,
    min_confidence: float | None = None,
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
        format: Name of a format (:func:`formats`); by default found by the suffix, and the content if formats share it.
        layout: Registered layout name, layout, or the joint names in order.
        fps: Frames per second.
        unit: ``m``, ``cm``, ``mm``, ``in``, ``ft``, ``asf`` (CMU's unit), or the metres in one unit.
        up: The axis that points up in the file: ``x``, ``y``, ``z``, or one of them with a minus.
        handedness: Whether the file's axes are ``right`` or ``left`` handed (Unity, Unreal).
        allow_2d: Take 2D keypoints, which are refused otherwise: the weights have only seen bodies in 3D.
        asf: Skeleton file of an AMC file, if it is not in the same folder.
        joints: Rest joints of the body model for SMPL's pose parameters (:mod:`mamp.readers.smpl`).
        markers: Joint -> marker or markers that it is in the middle of, or a JSON file of that, for files of markers
            (:mod:`mamp.readers.markers`).
        min_confidence: A joint of less confidence was not tracked, 0 to 1. The default is that of the format, where it
            says what its confidence means (0.1 for MediaPipe's visibility and Panoptic), else 0.

    Returns:
        The recording in metres, y up; NaN where nothing was tracked.

    Raises:
        MissingFileError: There is no such file.
        ReadError: The file is not a recording of that format, or the format is unknown.
        LayoutError: The layout is unknown, does not fit, or cannot be found.
    """
    options = Options(
        layout=layout, fps=fps, unit=unit, up=up, handedness=handedness, allow_2d=allow_2d, asf=asf, joints=joints,
        markers=markers, min_confidence=min_confidence,
    )  # fmt: skip
    if hasattr(path, "columns"):
        return from_dataframe(path, options, format)
    if not isinstance(path, str | PathLike):
        raise ReadError(f"expected the path of a file or a data frame, found {str(path)[:80]!r}.")
    if format is None:
        return _find(path).read(path, options)
    if not isinstance(format, str) or format not in formats():
        raise ReadError(f"format={format!r} is unknown. Known formats:\n{list_formats()}")
    return formats()[format].read(path, options)


@cache
def formats() -> dict[str, Format]:
    """All formats by name."""
    return {one.FORMAT.name: one.FORMAT for one in _modules() if hasattr(one, "FORMAT")}


@cache
def sets() -> dict[str, type[RecordingSet]]:
    """All data sets by name."""
    return {one.SET.name: one.SET for one in _modules() if hasattr(one, "SET")}


def _modules(suffix: str | None = None) -> list[Any]:
    """The modules of :data:`READERS`, or those whose format goes by a suffix."""
    names = [name for name, suffixes in READERS.items() if suffix is None or suffix in suffixes.split()]
    return [import_module(f"mamp.readers.{name}") for name in names]


def find_format(path: StrPath) -> str:
    """Find the format of a file by its suffix and, where several formats share it, its content.

    Raises:
        ReadError: It is none that is known.
    """
    return _find(path).name


def _find(path: StrPath) -> Format:
    if Path(path).is_dir():
        return _find_folder_format(Path(path))
    suffix = Path(Path(path).name.lower().removesuffix(".gz")).suffix
    candidates: list[Format] = [module.FORMAT for module in _modules(suffix)]
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        read_bytes(path)
        hint = HINTS.get(suffix, "")
        raise ReadError(
            f"{path}: no format is known by the suffix {suffix or 'of this name'!r}.{hint} Say format=NAME:\n"
            f"{list_formats()}"
        )
    contents = Contents(path)
    found = _surest(candidates, contents)
    if found is None:
        raise ReadError(_unlike(candidates, contents, suffix))
    return found


def list_formats() -> str:
    """One line for each format: name and suffixes."""
    return "\n".join(f"  {key:12}{' '.join(one.suffixes)}" for key, one in formats().items())


def _surest(candidates: Iterable[Format], contents: Contents) -> Format | None:
    surety, best = max(((one.surety(contents), one) for one in candidates), key=itemgetter(0))  # the first of equals
    return None if surety == NO else best


def _unlike(candidates: Sequence[Format], contents: Contents, suffix: str) -> str:
    """The message for contents that are of none of the formats with their suffix."""
    path, first = contents.path, contents.first_line
    if suffix.startswith(".json"):
        return f"{path}: not JSON, or cut.{decimal_comma(contents.text[:200])}"
    looks = ", ".join(one.looks for one in candidates if one.looks)
    words = first.split()
    found = f"{words[0].count(',') + 1} cells" if len(words) == 1 and "," in first else f"{len(words)} words"
    return (
        f"{path}: a {suffix} file is told by its first row: {looks}; found {found}."
        f"{decimal_comma(first)} Say format=NAME:\n{list_formats()}"
    )


def _find_folder_format(folder: Path) -> Format:
    files = frame_files(folder)
    if not files:
        raise ReadError(
            f"{folder} is a folder; expected a file with one recording, or a folder of JSON files of one frame each "
            f"(OpenPose, MMPose). It holds {len(list_folder(folder))} other files."
        )
    found = _surest([one for one in formats().values() if one.folders], Contents(files[0]))
    return found or formats()["openpose"]
