"""Made-up recordings of other bodies than a person's: gestures of a hand, and gaits of a dog.

Both are a tree of bones that swing about axes; see :func:`swing`. A hand is the 21 joints of MediaPipe (``hand21``), a
dog 12 joints (:data:`DOG`), which no layout of the package has: it is what a layout of one's own looks like.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mamp.layouts import Layout
from mamp.layouts.hands import HAND21
from mamp.layouts.layout import tree
from mamp.outputs import write_whole
from mamp.synthetic.body import about

Array = NDArray[np.float64]
Angles = dict[str, Array]
"""Joint -> angle [T] in radians by which its bone turns about the axis of the body, x."""

Bones = dict[str, tuple[float, ...]]
"""Joint -> bone from its parent at rest."""
Action = Callable[[Array, float], Angles]
"""Angles at times [T] in cycles, of a movement of a size around one."""

FPS = 30

DOG = tree(
    "dog12",
    """
    pelvis -, chest pelvis, head chest, tail pelvis
    left_elbow chest, left_forepaw left_elbow, right_elbow chest, right_forepaw right_elbow
    left_knee pelvis, left_hindpaw left_knee, right_knee pelvis, right_hindpaw right_knee
    """,
    parts={
        "trunk": ("pelvis", "chest", "head", "tail"),
        "fore": ("left_elbow", "left_forepaw", "right_elbow", "right_forepaw"),
        "hind": ("left_knee", "left_hindpaw", "right_knee", "right_hindpaw"),
    },
    body="dog12",
)
# Bone from the parent to each joint at rest, in metres: x to the left, y up, z ahead.
_DOG: Bones = {
    "pelvis": (0, 0.55, 0), "chest": (0, 0.03, 0.5), "head": (0, 0.2, 0.25), "tail": (0, 0.1, -0.3),
    **{f"{s}_{joint}": bone for s, x in (("left", 0.1), ("right", -0.1)) for joint, bone in (
        ("elbow", (x, -0.25, 0)), ("forepaw", (0, -0.3, 0)), ("knee", (x, -0.25, 0.03)), ("hindpaw", (0, -0.3, -0.03)),
    )},
}  # fmt: skip
_SIDEWAYS = {"thumb": -0.045, "index_finger": -0.025, "middle_finger": 0.0, "ring_finger": 0.02, "pinky": 0.04}


def _hand() -> Bones:
    bones: Bones = {"wrist": (0, 0, 0)}
    for finger, x in _SIDEWAYS.items():
        first, *others = [joint for joint in HAND21.joints if joint.startswith(finger)]
        long = 0.9 - 6 * abs(x)
        bones[first] = (x, 0.09 - abs(x), 0) if finger != "thumb" else (x, 0.03, 0.01)
        bones |= {joint: (0, long * size, 0) for joint, size in zip(others, (0.045, 0.03, 0.022), strict=True)}
    return bones


def swing(layout: Layout, bones: Bones, angles: Angles, frames: int) -> Array:
    """Positions [T, V, 3] of a tree whose bones turn about x, each with the bones before it."""
    turned: dict[str, Array] = {}
    positions = np.zeros((frames, len(layout.joints), 3))
    for joint in sorted(layout.joints, key=lambda joint: _depth(layout, joint)):
        index, still = layout.joints.index(joint), np.zeros(frames)
        parent = layout.parents[index]
        turned[joint] = angles.get(joint, still) + (turned[layout.joints[parent]] if parent >= 0 else 0)
        bone = np.einsum("tij,j->ti", about("x", turned[joint]), np.array(bones[joint], float))
        positions[:, index] = bone + (positions[:, parent] if parent >= 0 else 0)
    return positions


def _depth(layout: Layout, joint: str) -> int:
    parent = layout.parents[layout.joints.index(joint)]
    return 0 if parent < 0 else 1 + _depth(layout, layout.joints[parent])


def _curl(fingers: tuple[str, ...], phase: Callable[[int], float]) -> Action:
    """A gesture of some fingers that close and open, one after another by ``phase`` of their number."""

    def angles(time: Array, size: float) -> Angles:
        found: Angles = {}
        for number, finger in enumerate(fingers):
            bend = size * 0.9 * (0.5 - 0.5 * np.cos(2 * np.pi * (time - phase(number))))
            found |= {joint: bend for joint in HAND21.joints if joint.startswith(finger)}
        return found

    return angles


_ALL = tuple(_SIDEWAYS)
GESTURES = {
    "fist": _curl(_ALL, lambda number: 0.0),
    "ripple": _curl(_ALL, lambda number: 0.15 * number),
    "pinch": _curl(_ALL[:2], lambda number: 0.0),
    "point": _curl((_ALL[0], *_ALL[2:]), lambda number: 0.0),
}


def _gait(phases: tuple[float, float, float, float], nod: float = 0.1) -> Action:
    """A gait by the phases of the left and right forelegs, and of the left and right hind legs."""

    def angles(time: Array, size: float) -> Angles:
        found: Angles = {"head": nod * np.sin(2 * np.pi * time), "tail": 0.3 * np.sin(4 * np.pi * time)}
        legs = ("left_elbow", "right_elbow", "left_knee", "right_knee")
        paws = ("left_forepaw", "right_forepaw", "left_hindpaw", "right_hindpaw")
        for leg, paw, phase in zip(legs, paws, phases, strict=True):
            found[leg] = 0.5 * size * np.sin(2 * np.pi * (time - phase))
            found[paw] = 0.4 * size * (1 - np.cos(2 * np.pi * (time - phase)))
        return found

    return angles


GAITS = {
    "walk": _gait((0.0, 0.5, 0.75, 0.25)),
    "trot": _gait((0.0, 0.5, 0.5, 0.0)),
    "pace": _gait((0.0, 0.5, 0.0, 0.5)),
    "bound": _gait((0.0, 0.0, 0.5, 0.5), nod=0.4),
}
BODIES: dict[str, tuple[Layout, Bones, dict[str, Action]]] = {
    "hand": (HAND21, _hand(), GESTURES),
    "dog": (DOG, _DOG, GAITS),
}


def synthesize_body(body: str, action: str, generator: np.random.Generator, seconds: float = 3.0) -> Array:
    """One recording, positions [T, V, 3] in metres at 30 frames per second, of random size, tempo, phase and noise.

    Args:
        body: ``hand`` or ``dog``.
        action: One of :data:`GESTURES` or :data:`GAITS`.
        generator: Of the random numbers.
        seconds: Duration.
    """
    layout, bones, actions = BODIES[body]
    frames = max(round(seconds * FPS), 1)
    time = np.arange(frames) / FPS * generator.uniform(0.6, 1.4) + generator.uniform()
    scale = generator.uniform(0.8, 1.2)
    scaled = {joint: tuple(scale * x for x in bone) for joint, bone in bones.items()}
    positions = swing(layout, scaled, actions[action](time, generator.uniform(0.7, 1.2)), frames)
    size = float(np.ptp(positions[0], axis=0).max())
    heading = about("y", np.full(frames, generator.uniform(-0.8, 0.8)))
    positions = np.einsum("tij,tvj->tvi", heading, positions)
    return positions + generator.normal(0, 0.01 * size, positions.shape)


def write_bodies(directory: str | PathLike[str], body: str, count: int = 8, seed: int = 0) -> list[Path]:
    """Write recordings of each action, ``ACTION-NUMBER.csv`` with named joints, and ``labels.csv`` beside them.

    Every other one is of the split ``test``.

    Equal seeds give equal files.
    """
    folder, generator = Path(directory), np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    layout, _, actions = BODIES[body]
    header = ",".join(["time", *(f"{joint}_{axis}" for joint in layout.joints for axis in "xyz")])
    written, labels = [], ["file,label,split"]
    for action in actions:
        for number in range(count):
            positions = synthesize_body(body, action, generator)
            rows = [
                ",".join([f"{frame / FPS:.4f}", *(f"{x:.5f}" for x in pose.ravel())])
                for frame, pose in enumerate(positions)
            ]
            path = folder / f"{action}-{number}.csv"
            write_whole(path, "\n".join([header, *rows]) + "\n")
            written.append(path)
            labels.append(f"{path.name},{action},{'test' if number % 2 else 'train'}")
    write_whole(folder / "labels.csv", "\n".join(labels) + "\n")
    return written
