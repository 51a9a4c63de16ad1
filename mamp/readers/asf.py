"""ASF: the skeleton of an AMC motion file (Acclaim), as the CMU and HDM05 data use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mamp.errors import MissingFileError, ReadError
from mamp.readers.bvh import rotation
from mamp.readers.files import LARGEST, StrPath, decimal_comma, list_folder, read_lines

DOF = ("rx", "ry", "rz")
ROOT_DOF = ("tx", "ty", "tz", "rx", "ry", "rz")


@dataclass(frozen=True, eq=False)
class Bone:
    """One bone; the root is a bone of length 0.

    Attributes:
        name: As in the file.
        parent: Index in the skeleton's bones, -1 for the root.
        offset: [3] from the bone's start to its end at rest, in world axes and the file's unit.
        axes: [3, 3] rotation C from the bone's axes to the world's.
        dof: What the motion file gives for this bone, in order.
    """

    name: str
    parent: int
    offset: NDArray[np.float64]
    axes: NDArray[np.float64]
    dof: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class AsfSkeleton:
    """Bones, parents before children; ``unit`` is metres in one unit of length; ``degrees`` is false for radians."""

    bones: list[Bone]
    unit: float
    degrees: bool


def parse_asf_file(path: StrPath) -> AsfSkeleton:
    """Parse a skeleton file.

    Raises:
        ReadError: The file is missing, cut or malformed.
    """
    sections = _sections(path)
    units = {words[0].lower(): words[1] for words in sections.get("units", []) if len(words) == 2}
    length = _numbers([units.get("length", "1")], path, "the unit of length")[0]
    if length <= 0:
        raise ReadError(f"{path}: expected a unit of length above zero, found {length:g}.")
    degrees = units.get("angle", "deg").lower().startswith("deg")
    for section in ("root", "bonedata", "hierarchy"):
        if section not in sections:
            raise ReadError(f"{path}: expected a section :{section} as in ASF, found none. Is the file cut?")
    bones = {"root": _root(sections["root"], degrees, path)}
    for bone in _bones(sections["bonedata"], degrees, path):
        if bone.name in bones:
            raise ReadError(f"{path}: the bone {bone.name!r} is defined twice.")
        bones[bone.name] = bone
    return AsfSkeleton(_order(bones, sections["hierarchy"], path), 0.0254 / length, degrees)


def find_asf(path: StrPath) -> Path:
    """Find the skeleton of a motion file: same stem, stem before its last ``_`` parts, or the folder's only ``.asf``.

    Raises:
        MissingFileError: There is none, or it is not clear which.
    """
    path = Path(path)
    found = [file for file in list_folder(path.parent) if file.name.lower().endswith((".asf", ".asf.gz"))]
    by_stem = {file.name.lower().split(".asf")[0]: file for file in found}
    stem = path.name.lower().split(".amc")[0]
    while stem:
        if stem in by_stem:
            return by_stem[stem]
        stem = stem.rpartition("_")[0]
    if len(found) == 1:
        return found[0]
    there = f"found {', '.join(file.name for file in found[:8])}" if found else "found no .asf"
    raise MissingFileError(f"{path}: an AMC file needs its skeleton (.asf) beside it; {there}. Say asf=FILE.")


def _sections(path: StrPath) -> dict[str, list[list[str]]]:
    sections: dict[str, list[list[str]]] = {}
    current: list[list[str]] = []
    for line in read_lines(path):
        words = line.split()
        if words[0].startswith("#"):
            continue
        if words[0].startswith(":"):
            current = sections.setdefault(words[0][1:].lower(), [])
        else:
            current.append(words)
    return sections


def _axes(angles: list[float], order: str, degrees: bool, path: StrPath) -> NDArray[np.float64]:
    """Rotation about fixed axes, the first of ``order`` first; ``angles`` are in that order."""
    if sorted(order.lower()) != ["x", "y", "z"]:
        raise ReadError(f"{path}: expected an axis order such as XYZ, found {order!r}.")
    turned = np.array(angles[::-1])
    return rotation(order.lower()[::-1], np.deg2rad(turned) if degrees else turned)


def _root(lines: list[list[str]], degrees: bool, path: StrPath) -> Bone:
    fields = {words[0].lower(): words[1:] for words in lines}
    dof = tuple(word.lower() for word in fields.get("order", ROOT_DOF))
    if sorted(dof) != sorted(ROOT_DOF):
        raise ReadError(f"{path}: expected the root's order to be of TX TY TZ RX RY RZ, found {' '.join(dof)!r}.")
    angles = _numbers(fields.get("orientation", ["0"] * 3), path, "the root's orientation", 3)
    position = _numbers(fields.get("position", ["0"] * 3), path, "the root's position", 3)
    order = (fields.get("axis") or ["xyz"])[0]
    return Bone("root", -1, np.array(position), _axes(angles, order, degrees, path), dof)


def _bones(lines: list[list[str]], degrees: bool, path: StrPath) -> list[Bone]:
    bones: list[Bone] = []
    fields: dict[str, list[str]] | None = None
    for words in lines:
        key = words[0].lower()
        if key == "begin":
            fields = {}
        elif key == "end" and fields is not None:
            bones.append(_bone(fields, degrees, path))
            fields = None
        elif fields is not None:
            fields.setdefault(key, words[1:])
    if fields is not None:
        raise ReadError(f"{path}: the file is cut inside a bone.")
    return bones


def _bone(fields: dict[str, list[str]], degrees: bool, path: StrPath) -> Bone:
    if not fields.get("name"):
        raise ReadError(f"{path}: a bone has no name.")
    name = fields["name"][0]
    direction = _numbers(fields.get("direction", []), path, f"the direction of {name!r}", 3)
    length = _numbers(fields.get("length", []), path, f"the length of {name!r}", 1)[0]
    axis = fields.get("axis", [])
    angles = _numbers(axis[:3], path, f"the axis of {name!r}", 3)
    dof = tuple(word.lower() for word in fields.get("dof", []))
    if not set(dof) <= set(DOF) or len(set(dof)) < len(dof):
        raise ReadError(f"{path}: expected rx, ry, rz as dof of {name!r}, found {' '.join(dof)!r}; bones that stretch "
                        "or slide are not supported.")  # fmt: skip
    order = axis[3] if len(axis) > 3 else "xyz"
    return Bone(name, -1, np.array(direction) * length, _axes(angles, order, degrees, path), dof)


def _order(bones: dict[str, Bone], hierarchy: list[list[str]], path: StrPath) -> list[Bone]:
    """Bones with their parents, parents first."""
    children = {words[0]: words[1:] for words in hierarchy if words[0] not in ("begin", "end")}
    ordered: list[Bone] = []
    waiting = [("root", -1)]
    while waiting:
        name, parent = waiting.pop(0)
        if name not in bones:
            raise ReadError(f"{path}: the hierarchy names {name!r}, which is no bone or stands there twice.")
        bone = bones.pop(name)
        waiting += [(child, len(ordered)) for child in children.get(name, [])]
        ordered.append(Bone(bone.name, parent, bone.offset, bone.axes, bone.dof))
    if bones:
        raise ReadError(f"{path}: the hierarchy does not reach {', '.join(bones)}. Is the file cut?")
    return ordered


def _numbers(words: list[str], path: StrPath, what: str, count: int | None = None) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if not values or (count is not None and len(values) != count) or not all(abs(v) < LARGEST for v in values):
        raise ReadError(
            f"{path}: expected {count or 1} numbers for {what}, found {' '.join(words)[:60]!r}."
            f"{decimal_comma(' '.join(words))}"
        )
    return values
