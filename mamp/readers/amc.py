"""AMC motion with its ASF skeleton (CMU, HDM05): a joint stands at the END of the bone of its name.

A bone turns by L = C R C^-1 against its parent, C being the bone's axes and R its rotation about fixed axes in the
order of its dof; its end is the parent's end + G (direction * length), G being the product of all L from the root.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from mamp.errors import LayoutError, ReadError
from mamp.layouts import Layout, get_layout
from mamp.readers.asf import AsfSkeleton, Bone, find_asf, parse_asf_file
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble, choose_layout
from mamp.readers.bvh import rotation
from mamp.readers.files import StrPath, check_numbers, decimal_comma, read_bytes, read_lines
from mamp.readers.format import Format
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)

FPS = 120.0  # an AMC file does not say; those of CMU and HDM05 are at 120


def parse_amc_file(path: StrPath, skeleton: AsfSkeleton) -> dict[str, NDArray[np.float64]]:
    """Parse a motion file: bone name -> [T, dof] values; angles in the skeleton's unit.

    Raises:
        ReadError: The file is missing, cut, malformed, or moves bones that the skeleton lacks.
    """
    lines = read_lines(path)
    start = next((row for row, line in enumerate(lines) if line.strip().isdecimal()), len(lines))
    words = " ".join(lines[start:]).split()
    if not words:
        raise ReadError(f"{path}: expected frames, each a number and then a line for each bone; found none.")
    dof = {bone.name: len(bone.dof) for bone in skeleton.bones}
    plan, size = _first_frame(words, dof, path)
    if len(words) % size:
        raise ReadError(f"{path}: the file is cut, or its frames differ: {len(words)} words, {size} in a frame.")
    for name, at in [("", 0), *plan.items()]:
        odd = [word for word in words[at::size] if (word != name if name else not word.isdecimal())]
        if odd:
            expected = f"the bone {name!r}" if name else "the number of a frame"
            raise ReadError(f"{path}: expected {expected} in each frame, found {odd[0][:40]!r}. Is the file cut?")
    motion = {}
    for name, at in plan.items():
        try:
            columns = [[float(word) for word in words[at + 1 + i :: size]] for i in range(dof[name])]
        except ValueError as error:
            advice = decimal_comma(str(error).rpartition(" ")[2].strip("'"))
            raise ReadError(f"{path}: expected numbers for the bone {name!r}; {error}.{advice}") from None
        motion[name] = np.array(columns).reshape(dof[name], -1).T
        check_numbers(motion[name], f"{path}, bone {name!r}", nan=False)
    return motion


def forward_kinematics(skeleton: AsfSkeleton, motion: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Positions of the ends of the bones, [T, V, 3], in the skeleton's unit and order."""
    frames = len(next(iter(motion.values())))
    positions = np.empty((frames, len(skeleton.bones), 3))
    turns: list[NDArray[np.float64]] = []
    for index, bone in enumerate(skeleton.bones):
        values = motion.get(bone.name, np.zeros((frames, len(bone.dof))))
        turn = _turn(bone, np.deg2rad(values) if skeleton.degrees else values)
        if bone.parent < 0:
            positions[:, index] = bone.offset + values[:, [bone.dof.index(dof) for dof in ("tx", "ty", "tz")]]
        else:
            turn = turns[bone.parent] @ turn
            positions[:, index] = positions[:, bone.parent] + turn @ bone.offset
        turns.append(turn)
    return positions


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read an AMC file and its ASF, which is found beside it (:func:`mamp.readers.asf.find_asf`) or given.

    Raises:
        ReadError: A file is missing or malformed.
        LayoutError: The bones are not those of ``cmu31``, and no ``layout`` is given.
    """
    read_bytes(path)  # a missing motion file is reported before a missing skeleton
    asf = options.asf if options.asf is not None else find_asf(path)
    skeleton = parse_asf_file(asf)
    motion = parse_amc_file(path, skeleton)
    names = [bone.name for bone in skeleton.bones]
    positions = forward_kinematics(skeleton, motion)
    layout = choose_layout(options.layout, len(names), path) if options.layout is not None else _layout(names, asf)
    if set(layout.joints) == set(names):
        positions = positions[:, [names.index(joint) for joint in layout.joints]]
    if options.fps is None:
        logger.info("%s: AMC does not say its rate; %g frames per second taken. Say fps=... if wrong.", path, FPS)
    raw = Raw(
        positions[None], path, "amc", layout=layout, fps=FPS, unit=skeleton.unit, up="y", zeros="keep",
        info={"asf": str(asf)},
    )  # fmt: skip
    return assemble(raw, options)


def _layout(names: list[str], asf: StrPath) -> Layout:
    layout = get_layout("cmu31")
    if set(names) != set(layout.joints):
        raise LayoutError(
            f"{asf}: expected the bones of layout 'cmu31', found {', '.join(names)}. Register yours with "
            "mamp.register_layout (a joint is the END of its bone) and say layout=NAME."
        )
    return layout


def _first_frame(words: list[str], dof: dict[str, int], path: StrPath) -> tuple[dict[str, int], int]:
    """Bone -> place of its name among the words of a frame, and the number of words in a frame."""
    plan: dict[str, int] = {}
    at = 1
    while at < len(words) and not words[at].isdecimal():
        name = words[at]
        if name not in dof or name in plan:
            raise ReadError(f"{path}: expected a bone of the skeleton, each once a frame; found {name[:40]!r}.")
        plan[name] = at
        at += 1 + dof[name]
    if "root" not in plan:
        raise ReadError(f"{path}: the first frame does not say where the root is.")
    return plan, at


def _turn(bone: Bone, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """C R C^-1, [T, 3, 3]; R turns about fixed axes, the first dof first."""
    turning = [index for index, dof in enumerate(bone.dof) if dof.startswith("r")][::-1]
    local = rotation("".join(bone.dof[index][1] for index in turning), values[:, turning])
    return bone.axes @ local @ bone.axes.T


FORMAT = Format("amc", (".amc",), "AMC motion with its ASF skeleton beside it (CMU, HDM05)", read)
