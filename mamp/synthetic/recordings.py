"""BVH files of the actions."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from mamp.errors import RecordingError
from mamp.outputs import write_whole
from mamp.synthetic.actions import ACTIONS, Style
from mamp.synthetic.body import JOINTS, TIPS, Array, about, solve

FPS = 30


def synthesize(action: str, style: Style | None = None, seconds: float = 4.0) -> str:
    """Make one recording.

    Args:
        action: One of :data:`ACTIONS`.
        style: Variation of the action.
        seconds: Duration.

    Returns:
        The text of a BVH file: 21 joints, centimetres, 30 frames per second.

    Raises:
        RecordingError: The action is unknown, or the length is not above zero.
    """
    if action not in ACTIONS:
        raise RecordingError(f"unknown action {action!r}; expected one of {', '.join(ACTIONS)}.")
    if not 0 < seconds < float("inf"):
        raise RecordingError(f"expected a length in seconds above zero, found {seconds!r}.")
    style = style or Style()
    pose = ACTIONS[action](np.arange(max(round(seconds * FPS), 1)) / FPS, style)
    position, rotations = solve(pose)
    turn = about("y", np.full(len(position), style.heading))
    rotations = {joint: turn @ rotation for joint, rotation in rotations.items()}
    position = np.einsum("tij,tj->ti", turn, position) * style.height
    return _bvh(position, rotations, style.height)


def write_recordings(
    directory: str | PathLike[str],
    variations: int = 4,
    seconds: float = 4.0,
    seed: int = 0,
    actions: Sequence[str] | None = None,
) -> list[Path]:
    """Write ``<action>-<number>.bvh`` for each action and variation; equal seeds give equal files.

    Args:
        directory: Folder, created if necessary.
        variations: Number of recordings per action; all but the first are random variations.
        seconds: Duration of each.
        seed: Random seed.
        actions: Names in :data:`ACTIONS`; all by default.

    Raises:
        RecordingError: An action is unknown, or ``variations`` is below 1.
    """
    if variations < 1:
        raise RecordingError(f"expected at least one variation of each action, found {variations}.")
    texts = {}
    for action in actions or ACTIONS:
        for number in range(variations):
            rng = np.random.default_rng([seed, number, *action.encode()])
            texts[f"{action}-{number}.bvh"] = synthesize(action, Style.draw(rng) if number else None, seconds)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_whole(directory / name, text)
    return [directory / name for name in texts]


def _bvh(position: Array, rotations: dict[str, Array], height: float) -> str:
    """The text of a BVH file, joints in the order of the hierarchy, rotations as Z, X, Y in degrees."""
    lines, columns = ["HIERARCHY"], [position]

    def write(joint: str, depth: int) -> None:
        tab, (parent, offset) = "  " * depth, JOINTS[joint]
        local = rotations[joint] if parent is None else np.swapaxes(rotations[parent], 1, 2) @ rotations[joint]
        columns.append(_euler_zxy(local))
        channels = "3 Zrotation Xrotation Yrotation"
        lines.append(f"{tab}ROOT {joint}" if parent is None else f"{tab}JOINT {joint}")
        lines.append(f"{tab}{{")
        lines.append(f"{tab}  OFFSET {' '.join(f'{value * height:.4f}' for value in offset)}")
        lines.append(
            f"{tab}  CHANNELS "
            + (channels if parent else "6 Xposition Yposition Zposition " + channels.partition(" ")[2])
        )
        for child in (name for name, (above, _) in JOINTS.items() if above == joint):
            write(child, depth + 1)
        if joint in TIPS:
            tip = " ".join(f"{value * height:.4f}" for value in TIPS[joint])
            lines.extend([f"{tab}  End Site", f"{tab}  {{", f"{tab}    OFFSET {tip}", f"{tab}  }}"])
        lines.append(f"{tab}}}")

    write("Hips", 0)
    motion = np.concatenate(columns, axis=1) + 0.0
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1 / FPS:.7f}"]
    lines += [" ".join(f"{value:.4f}" for value in row) for row in motion]
    return "\n".join(lines) + "\n"


def _euler_zxy(rotation: Array) -> Array:
    """Angles in degrees [T, 3] with rotation = Rz Rx Ry."""
    x = np.arcsin(np.clip(rotation[:, 2, 1], -1, 1))
    z = np.arctan2(-rotation[:, 0, 1], rotation[:, 1, 1])
    y = np.arctan2(-rotation[:, 2, 0], rotation[:, 2, 2])
    return np.degrees(np.unwrap(np.stack([z, x, y], axis=1), axis=0))
