"""What may happen to a recording: joints, frames and limbs go missing, noise, lost and repeated frames.

A change takes a recording of the model's joints and a random generator, and returns another recording.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mamp import Skeleton

Change = Callable[[Skeleton, np.random.Generator], Skeleton]

ARM = ("shoulder_left", "elbow_left", "wrist_left", "hand_left", "hand_tip_left", "thumb_left")
LEGS = tuple(f"{joint}_{side}" for side in ("left", "right") for joint in ("hip", "knee", "ankle", "foot"))


def without_joints(names: tuple[str, ...]) -> Change:
    """Joints that are never tracked."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        x = recording.positions.copy()
        x[:, :, [recording.layout.joints.index(name) for name in names]] = np.nan
        return _keep(recording, x)

    return change


def random_joints(share: float) -> Change:
    """Some joints, others in each clip, are never tracked."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        x = recording.positions.copy()
        x[:, :, rng.permutation(x.shape[2])[: round(share * x.shape[2])]] = np.nan
        return _keep(recording, x)

    return change


def random_points(share: float) -> Change:
    """Any joint is lost in any frame."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        x = recording.positions.copy()
        x[rng.random(x.shape[:3]) < share] = np.nan
        return _keep(recording, x)

    return change


def random_frames(share: float) -> Change:
    """In some frames nobody is tracked."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        x = recording.positions.copy()
        x[:, rng.permutation(x.shape[1])[: round(share * x.shape[1])]] = np.nan
        return _keep(recording, x)

    return change


def joint_gaps(share: float) -> Change:
    """Each joint is lost for one stretch of time, its own."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        x = recording.positions.copy()
        length = round(share * x.shape[1])
        for joint in range(x.shape[2]):
            start = rng.integers(0, x.shape[1] - length + 1)
            x[:, start : start + length, joint] = np.nan
        return _keep(recording, x)

    return change


def frame_gap(share: float) -> Change:
    """For one stretch of time nobody is tracked."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        x = recording.positions.copy()
        length = round(share * x.shape[1])
        start = rng.integers(0, x.shape[1] - length + 1)
        x[:, start : start + length] = np.nan
        return _keep(recording, x)

    return change


def jitter(metres: float) -> Change:
    """Normal noise on every coordinate."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        x = recording.positions
        return recording.replace(positions=x + rng.normal(scale=metres, size=x.shape).astype(np.float32))

    return change


def dropped(share: float) -> Change:
    """Frames that are not in the file at all, so that time jumps."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        frames = recording.num_frames
        kept = np.sort(rng.permutation(frames)[: max(frames - round(share * frames), 1)])
        return recording.replace(positions=recording.positions[:, kept], confidence=None)

    return change


def repeated(share: float) -> Change:
    """Frames that are in the file twice."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        frames = recording.num_frames
        again = np.sort(np.concatenate([np.arange(frames), rng.permutation(frames)[: round(share * frames)]]))
        return recording.replace(positions=recording.positions[:, again], confidence=None)

    return change


def turned(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
    """Turn by any angle about the vertical."""
    cos, sin = np.cos(angle := rng.uniform(-np.pi, np.pi)), np.sin(angle)
    matrix = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], np.float32)
    return recording.replace(positions=recording.positions @ matrix)


def resized(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
    """Scale by 0.7 to 1.3, as children and others do."""
    return recording.replace(positions=recording.positions * np.float32(rng.uniform(0.7, 1.3)))


def nothing(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
    """Change nothing."""
    return recording


MISSING: dict[str, Change] = {
    "nothing": nothing,
    **{f"{round(100 * s)} % of joints": random_joints(s) for s in (0.1, 0.3, 0.5)},
    "left arm": without_joints(ARM),
    "both legs": without_joints(LEGS),
    **{f"{round(100 * s)} % of frames": random_frames(s) for s in (0.1, 0.3, 0.5)},
    **{f"one stretch of {round(100 * s)} % of the time": frame_gap(s) for s in (0.1, 0.3, 0.5)},
    **{f"each joint for {round(100 * s)} % of the time": joint_gaps(s) for s in (0.1, 0.3, 0.5)},
    "30 % of points": random_points(0.3),
}
CHANGES: dict[str, Change] = {
    "jitter 5 mm": jitter(0.005),
    "jitter 20 mm": jitter(0.02),
    "10 % of frames dropped": dropped(0.1),
    "10 % of frames repeated": repeated(0.1),
    "10 % of points lost": random_points(0.1),
}


def _keep(recording: Skeleton, positions: np.ndarray) -> Skeleton:
    """The recording with other positions, unless nothing would be left of it."""
    return recording.replace(positions=positions) if np.isfinite(positions).all(axis=-1).any() else recording
