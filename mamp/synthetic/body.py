"""The body: joints, a pose given by hips, hands and feet, and the rotations that produce it.

Axes as in most BVH files: y up, the person faces z, the left side is at larger x; centimetres.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIDES = (("Left", 1.0), ("Right", -1.0))

# name: parent, offset from the parent in a T-pose (centimetres, of a person 1.71 m tall)
_CENTRE: dict[str, tuple[str | None, tuple[float, float, float]]] = {
    "Hips": (None, (0, 0, 0)),
    "Spine": ("Hips", (0, 10, 0)),
    "Spine1": ("Spine", (0, 15, 0)),
    "Neck": ("Spine1", (0, 24, 0)),
    "Head": ("Neck", (0, 10, 1)),
}
_LEFT: dict[str, tuple[str, tuple[float, float, float]]] = {
    "Shoulder": ("Spine1", (4, 19, 0)),
    "Arm": ("{s}Shoulder", (13, 0, 0)),
    "ForeArm": ("{s}Arm", (28, 0, 0)),
    "Hand": ("{s}ForeArm", (25, 0, 0)),
    "UpLeg": ("Hips", (9, -3, 0)),
    "Leg": ("{s}UpLeg", (0, -42, 0)),
    "Foot": ("{s}Leg", (0, -41, 0)),
    "ToeBase": ("{s}Foot", (0, -6, 13)),
}
TIPS = {"Head": (0, 18, 0), "LeftHand": (16, 0, 0), "RightHand": (-16, 0, 0)}
TIPS |= {"LeftToeBase": (0, 0, 7), "RightToeBase": (0, 0, 7)}
_ANKLE, _SOLE = 8.0, 2.0  # height of ankle and toes above the ground when the foot is flat
_TOE, _HEEL = np.array([0, -6.0, 20.0]), np.array([0, -6.0, -4.0])  # seen from the ankle
HIP_HEIGHT = 3 + 42 + 41 + _ANKLE
_REACH = 0.995  # largest share of its length that a limb is stretched to


def _hierarchy() -> dict[str, tuple[str | None, Array]]:
    """Joint -> parent and offset, each parent before its children, limb after limb."""
    joints: dict[str, tuple[str | None, Array]] = {k: (p, np.array(o, float)) for k, (p, o) in _CENTRE.items()}
    for limb in (("Shoulder", "Arm", "ForeArm", "Hand"), ("UpLeg", "Leg", "Foot", "ToeBase")):
        for side, sign in SIDES:
            for name in limb:
                parent, offset = _LEFT[name]
                joints[side + name] = (parent.format(s=side), np.array(offset, float) * (sign, 1, 1))
    return joints


JOINTS = _hierarchy()


class Pose:
    """The body in T frames, standing; an action changes what it needs.

    All arrays are [T] or [T, 3]. Hands are relative to their shoulder in the axes of the chest, in lengths of the arm:
    (outwards, up, forward). Feet are the places of the toes on the ground, (x, z); the lift of the foot and its pitch
    (radians, heel up is positive) are separate.
    """

    def __init__(self, frames: int) -> None:
        self.hips = np.tile(np.array([0, HIP_HEIGHT - 1.0, 0]), (frames, 1))
        self.lean = np.zeros(frames)  # of the spine, forwards, radians
        self.pitch = np.zeros(frames)  # of the hips, forwards
        self.twist = np.zeros(frames)  # of the chest, left side backwards is positive
        self.nod = np.zeros(frames)
        self.hands = {side: np.tile(np.array([0.16, -0.95, 0.1]), (frames, 1)) for side in (1.0, -1.0)}
        self.elbows = {side: np.array([0.5, -0.3, -1.0]) for side in (1.0, -1.0)}
        self.feet = {side: np.tile(np.array([side * 11.0, 20.0]), (frames, 1)) for side in (1.0, -1.0)}
        self.lift = {side: np.zeros(frames) for side in (1.0, -1.0)}
        self.heel = {side: np.zeros(frames) for side in (1.0, -1.0)}


def about(axis: str, angle: Array) -> Array:
    """Rotations [T, 3, 3] about an axis."""
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.tile(np.eye(3), (len(angle), 1, 1))
    matrix[:, i, i] = matrix[:, j, j] = np.cos(angle)
    matrix[:, j, i], matrix[:, i, j] = np.sin(angle), -np.sin(angle)
    return matrix


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def _frame(direction: Array, normal: Array) -> Array:
    """Rotations whose first two axes are ``direction`` and ``normal`` (at right angles to each other)."""
    return np.stack([direction, normal, np.cross(direction, normal)], axis=-1)


def _two_bones(start: Array, target: Array, pole: Array, bones: tuple[Array, Array], bend: Array) -> list[Array]:
    """Rotations of two bones that reach from ``start`` to ``target`` with the joint between them towards ``pole``.

    ``bones`` are the bones at rest, ``bend`` is where their joint points at rest.
    """
    upper, lower = (float(np.linalg.norm(bone)) for bone in bones)
    way = target - start
    distance = np.clip(np.linalg.norm(way, axis=-1), 1e-3 + abs(upper - lower), _REACH * (upper + lower))
    way = _unit(way)
    normal = _unit(np.cross(way, pole))
    outwards = np.cross(normal, way)
    cosine = ((upper**2 + distance**2 - lower**2) / (2 * upper * distance))[:, None]
    first = cosine * way + np.sqrt(1 - cosine**2) * outwards
    second = _unit(distance[:, None] * way - upper * first)
    return [
        _frame(direction, normal) @ _frame(_unit(bone), _unit(np.cross(bone, bend))).T
        for direction, bone in zip((first, second), bones, strict=True)
    ]


def solve(pose: Pose) -> tuple[Array, dict[str, Array]]:
    """Hips' position [T, 3] and each joint's rotation in the world [T, 3, 3]."""
    hips, ankles, feet = pose.hips.copy(), {}, {}
    rotations = {"Hips": about("x", pose.pitch)}
    for side in (1.0, -1.0):
        feet[side] = about("x", pose.heel[side])
        toes = np.insert(pose.feet[side], 1, pose.lift[side] + _SOLE, axis=1)
        raised = (pose.heel[side] > 0)[:, None]
        pivot = np.where(raised, _TOE, _HEEL)
        ankles[side] = toes + np.where(raised, 0, _HEEL - _TOE) - np.einsum("tij,tj->ti", feet[side], pivot)
    # The hips sink until both feet reach where they are.
    joints = {side: np.einsum("tij,j->ti", rotations["Hips"], JOINTS[n + "UpLeg"][1]) for n, side in SIDES}
    leg = _REACH * 83.0
    for side in (1.0, -1.0):
        gap = (hips + joints[side] - ankles[side])[:, [0, 2]]
        highest = ankles[side][:, 1] + np.sqrt(np.clip(leg**2 - (gap**2).sum(1), 1, None)) - joints[side][:, 1]
        hips[:, 1] = np.minimum(hips[:, 1], highest)

    rotations["Spine"] = rotations["Hips"] @ about("x", 0.5 * pose.lean) @ about("y", 0.5 * pose.twist)
    chest = rotations["Spine"] @ about("x", 0.5 * pose.lean) @ about("y", 0.5 * pose.twist)
    rotations["Spine1"] = chest
    rotations["Neck"] = chest @ about("x", 0.5 * pose.nod)
    rotations["Head"] = chest @ about("x", pose.nod)
    for name, side in SIDES:
        bones = (JOINTS[name + "ForeArm"][1], JOINTS[name + "Hand"][1])
        hand = pose.hands[side] * (side, 1, 1) * float(sum(np.linalg.norm(bone) for bone in bones))
        elbow = np.broadcast_to(pose.elbows[side] * (side, 1, 1), hand.shape)
        arm = _two_bones(np.zeros_like(hand), hand, elbow, bones, np.array([0, 0, -1.0]))
        rotations[name + "Shoulder"] = chest
        rotations[name + "Arm"], rotations[name + "ForeArm"] = (chest @ rotation for rotation in arm)
        rotations[name + "Hand"] = rotations[name + "ForeArm"]
        bones = (JOINTS[name + "Leg"][1], JOINTS[name + "Foot"][1])
        knee = np.broadcast_to(np.array([0.12 * side, 0.3, 1.0]), hand.shape)
        start = hips + joints[side]
        rotations[name + "UpLeg"], rotations[name + "Leg"] = _two_bones(
            start, ankles[side], knee, bones, np.array([0, 0, 1.0])
        )
        rotations[name + "Foot"] = rotations[name + "ToeBase"] = feet[side]
    return hips, rotations
