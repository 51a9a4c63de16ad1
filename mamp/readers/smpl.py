"""SMPL pose parameters (AMASS and others, ``.npz``): rotations of joints, made positions by forward kinematics.

The file holds ``poses`` [T, 3 * joints] (SMPL, SMPL-H, SMPL-X), or ``root_orient`` with ``pose_body``, or
``global_orient`` with ``body_pose``; ``trans`` [T, 3]; ``betas``; and ``mocap_framerate``. Only the first 22 joints
are used, 24 for SMPL's own poses: those that all of these models share.

Where the joints of a body at rest are is not in the file but in the body model, which may not be shipped with this
package. Give it as ``joints``: an array [22 and more, 3], an ``.npy`` of it, or an ``.npz`` with ``J`` or
``J_template``, or with ``J_regressor`` and ``v_template`` as the ``.npz`` of the body models has them. With
``shapedirs`` too, the body gets the shape of the file's ``betas``.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.layouts import get_layout
from mamp.readers.arrays import npz_names, numbers, parse_npy, parse_npz, scalar
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.files import StrPath, check_numbers, read_bytes
from mamp.readers.format import KEYED, Format
from mamp.readers.shapes import split_rows
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

ROTATIONS = (("poses",), ("root_orient", "pose_body"), ("global_orient", "body_pose"))
TRANSLATIONS = ("trans", "transl")
RATES = ("mocap_framerate", "mocap_frame_rate", "fps")
REST = ("J_template", "J", "joints")
MODEL = ("J_regressor", "v_template", "shapedirs")
ZIP = b"PK\x03\x04"

NEEDED = (
    "positions follow from pose parameters only with the rest joints of the body model, which may not be shipped "
    "here. Give joints=: an array [24, 3], an .npy or .npz of it, or the .npz of the model itself. From your own copy, "
    "as the makers of SMPL distribute it: np.save('joints.npy', model['J_regressor'] @ model['v_template']), then "
    "load(path, joints='joints.npy')."
)


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read pose parameters.

    AMASS, recognised by its frame rate ``mocap_framerate``, has z up; for other files the axis is inferred.

    Raises:
        ReadError: The file is missing or damaged, its arrays have other shapes, or the rest joints are not given.
    """
    wanted = {name for group in ROTATIONS for name in group} | {*TRANSLATIONS, *RATES, "betas", "gender"}
    arrays = parse_npz(read_bytes(path), str(path), wanted)
    turns = _rotations(arrays, path)
    if options.joints is None:
        raise ReadError(f"{path}: {NEEDED}")
    rest = rest_joints(options.joints, arrays.get("betas"))
    layout = get_layout("smpl24" if turns.shape[1] == 24 == len(rest) else "smpl22")
    joints = len(layout.joints)
    trans = _translation(arrays, len(turns), path)
    positions = forward_kinematics(rest[:joints], turns[:, :joints], layout.parents) + trans[:, None]
    fps = _rate(arrays, path)
    amass = any(name in arrays for name in RATES[:2])
    info: dict[str, Any] = {}
    if (gender := arrays.get("gender")) is not None and gender.size == 1:
        info["gender"] = str(scalar(gender, "gender"))
    raw = Raw(
        positions[None], path, "smpl", layout=layout, fps=fps, unit="m", up="z" if amass else None, handedness="right",
        zeros="keep", info=info,
    )  # fmt: skip
    return assemble(raw, options)


def has_poses(names: set[str]) -> bool:
    """Whether arrays with these names are pose parameters."""
    return "positions" not in names and any(set(group) <= names for group in ROTATIONS)


def forward_kinematics(rest: Array, turns: Array, parents: tuple[int, ...]) -> Array:
    """Positions [T, V, 3] of joints that are at ``rest`` [V, 3], turned by axis-angle vectors [T, V, 3]."""
    positions = np.empty_like(turns)
    local = axis_angle(turns)
    world: list[Array] = []  # [T, 3, 3], from the joint's axes to the world's
    for joint, parent in enumerate(parents):
        if parent < 0:
            positions[:, joint] = rest[joint]
            world.append(local[:, joint])
        else:
            positions[:, joint] = positions[:, parent] + world[parent] @ (rest[joint] - rest[parent])
            world.append(world[parent] @ local[:, joint])
    return positions


def axis_angle(vectors: Array) -> Array:
    """Rotation matrices [..., 3, 3] of vectors [..., 3] along the axis, as long as the angle in radians."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vectors / np.where(angle[..., 0] > 0, angle[..., 0], 1.0), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def rest_joints(given: Any, betas: NDArray[Any] | None = None) -> Array:
    """Rest joints [V, 3], V at least 22, from what the caller gave as ``joints``.

    Args:
        given: An array, or the path of a file as the module says.
        betas: Shape of the body, for a model with ``shapedirs``.

    Raises:
        ReadError: It is none of these.
    """
    if isinstance(given, str | Path) or hasattr(given, "__fspath__"):
        where = str(given)
        data = read_bytes(given)
        if data[:4] == ZIP:
            joints = _model_joints(parse_npz(data, where, {*REST, *MODEL}), where, betas)
        else:
            joints = parse_npy(data, where)
    else:
        where = "joints"
        joints = np.asarray(given)
    if joints.dtype.kind not in "iuf" or joints.ndim != 2 or joints.shape[0] < 22 or joints.shape[1] != 3:
        raise ReadError(
            f"{where}: expected rest joints [24, 3] (at least 22) of SMPL's order, found {joints.dtype} "
            f"{list(joints.shape)}."
        )
    joints = joints.astype(np.float64)
    check_numbers(joints, where, nan=False)
    return joints


def _model_joints(arrays: dict[str, NDArray[Any]], where: str, betas: NDArray[Any] | None) -> NDArray[Any]:
    for name in REST:
        if name in arrays:
            return arrays[name]
    if not {"J_regressor", "v_template"} <= set(arrays):
        raise ReadError(f"{where}: expected {', '.join(REST)}, or J_regressor and v_template; found none of them.")
    regressor, vertices = _floats(arrays["J_regressor"], where), _floats(arrays["v_template"], where)
    if regressor.ndim != 2 or vertices.shape != (regressor.shape[1], 3):
        raise ReadError(
            f"{where}: expected J_regressor [joints, vertices] and v_template [vertices, 3], found "
            f"{list(regressor.shape)} and {list(vertices.shape)}."
        )
    joints: NDArray[np.float64] = regressor @ vertices
    shapes = arrays.get("shapedirs")
    if shapes is None or betas is None:
        missing = "betas" if betas is None else "shapedirs"
        logger.warning("%s: the body has the mean shape, for there are no %s.", where, missing)
        return joints
    shapes, shape = _floats(shapes, where), _floats(betas, "betas")
    if shapes.ndim != 3 or shapes.shape[:2] != vertices.shape:
        raise ReadError(f"{where}: expected shapedirs [vertices, 3, shapes], found {list(shapes.shape)}.")
    shape = shape.reshape(-1, shape.shape[-1])[0] if shape.ndim and shape.size else np.zeros(0)  # of the first frame
    used = min(shapes.shape[2], len(shape))
    return joints + regressor @ (shapes[..., :used] @ shape[:used])


def _rotations(arrays: dict[str, NDArray[Any]], path: StrPath) -> Array:
    """Axis-angle vectors [T, joints, 3]."""
    group = next((group for group in ROTATIONS if set(group) <= set(arrays)), None)
    if group is None:
        raise ReadError(
            f"{path}: expected SMPL's poses, or root_orient and pose_body; found {', '.join(arrays) or 'none of them'}."
        )
    parts = []
    for name in group:
        part = _floats(arrays[name], f"{path}, {name}")
        if part.ndim == 1:
            part = part[None]
        if not 1 < part.ndim <= 3 or part.shape[1:].count(0) or not len(part):
            raise ReadError(f"{path}: expected {name} [frames, 3 * joints], found {list(part.shape)}.")
        parts.append(part.reshape(len(part), -1))
    if len({len(part) for part in parts}) > 1:
        raise ReadError(f"{path}: {' and '.join(group)} differ in their number of frames.")
    table = np.concatenate(parts, axis=1)
    if table.shape[1] % 3 or table.shape[1] < 66:
        raise ReadError(
            f"{path}: expected 3 numbers for each of at least 22 joints a frame, found {table.shape[1]} numbers. "
            "Other representations (matrices, 6D) have to be turned into axis-angle vectors first."
        )
    check_numbers(table, str(path), nan=False)
    return split_rows(table)[0]


def _translation(arrays: dict[str, NDArray[Any]], frames: int, path: StrPath) -> Array:
    name = next((name for name in TRANSLATIONS if name in arrays), None)
    if name is None:
        logger.warning("%s: there is no trans; the body stays in its place.", path)
        return np.zeros((frames, 3))
    trans = _floats(arrays[name], f"{path}, {name}")
    if trans.ndim == 1:
        trans = trans[None]
    if trans.shape != (frames, 3):
        raise ReadError(f"{path}: expected {name} [{frames}, 3], found {list(trans.shape)}.")
    check_numbers(trans, str(path), nan=False)
    return trans


def _rate(arrays: dict[str, NDArray[Any]], path: StrPath) -> float | None:
    name = next((name for name in RATES if name in arrays), None)
    if name is None:
        return None
    value = arrays[name]
    if value.size != 1 or value.dtype.kind not in "iuf" or not 0 < (rate := float(value.reshape(()).item())) < 1e6:
        raise ReadError(f"{path}: expected {name} to be frames per second, found {str(value)[:40]}.")
    return rate


def _floats(array: NDArray[Any], where: str) -> Array:
    return numbers(array, where).astype(np.float64)


FORMAT = Format(
    "smpl", (".npz",), "SMPL pose parameters, AMASS; with joints=, the body model's rest joints", read,
    fits=lambda contents: KEYED * has_poses(npz_names(contents.data)),
)  # fmt: skip
