"""The actions: positions of hips, hands and feet over time, from formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mamp.synthetic.body import Array, Pose


@dataclass(frozen=True)
class Style:
    """How an action is performed.

    Attributes:
        speed: Speed relative to the usual.
        size: Amplitude relative to the usual.
        height: Height of the body relative to the template.
        heading: Direction the person faces, radians about the vertical; 0 is towards z.
        side: 1 when the left side leads, -1 for the right.
        phase: Where in its cycle the action starts, radians.
    """

    speed: float = 1.0
    size: float = 1.0
    height: float = 1.0
    heading: float = 0.0
    side: float = 1.0
    phase: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Style:
        """Draw a style at random."""
        return cls(
            speed=float(rng.uniform(0.8, 1.25)),
            size=float(rng.uniform(0.8, 1.2)),
            height=float(rng.uniform(0.9, 1.12)),
            heading=float(rng.uniform(-0.8, 0.8)),
            side=float(rng.choice([-1.0, 1.0])),
            phase=float(rng.uniform(0, 2 * np.pi)),
        )


def _up(phase: Array) -> Array:
    """Rise smoothly from 0 to 1 and back, once a cycle."""
    return 0.5 - 0.5 * np.cos(phase)


def _window(share: Array, start: float, end: float) -> Array:
    """Rise smoothly from 0 to 1 and back while ``share`` of the cycle goes from start to end; else 0."""
    return _up(2 * np.pi * np.clip((share - start) / (end - start), 0, 1))


def _gait(pose: Pose, turns: Array, step: float, stance: float, lift: float, heel: float) -> None:
    """Walk or run: each foot stands still for the share ``stance`` of a cycle, then swings ahead by ``step``."""
    pose.hips[:, 2] = step * (turns - turns[0])
    for side, offset in ((1.0, 0.25), (-1.0, 0.75)):
        count, share = np.divmod(turns + offset, 1.0)
        swing = np.clip((share - stance) / (1 - stance), 0, 1)
        # In the middle of its stance the ankle is under the hips.
        place = step * (count + stance / 2 - offset - turns[0] + swing**2 * (3 - 2 * swing))
        pose.feet[side] = np.stack([np.full(len(turns), side * 9.0), place + 16.0], axis=1)
        pose.lift[side] = lift * np.sin(np.pi * swing) ** 2
        push = np.clip((share / stance - 0.6) / 0.4, 0, 1) * (share < stance)
        fall = np.clip(1.6 * swing, 0, 1) * (share >= stance)
        pose.heel[side] = heel * (_up(np.pi * push) + (share >= stance) * np.cos(0.5 * np.pi * fall) ** 2)


def walk(t: Array, style: Style) -> Pose:
    """Walk straight ahead, arms swinging against the legs."""
    phase, pose = 2 * np.pi * 0.9 * style.speed * t + style.phase, Pose(len(t))
    _gait(pose, phase / (2 * np.pi), step=115 * style.size, stance=0.62, lift=7, heel=0.75)
    pose.hips[:, 1] += -3 - 1.5 * np.cos(2 * phase)
    for side in (1.0, -1.0):
        swing = -side * 0.42 * style.size * np.sin(phase - 0.3)
        pose.hands[side][:, 1:] = np.stack([-0.95 + 0.25 * swing**2, 0.1 - swing], axis=1)
    pose.twist, pose.lean = -0.12 * np.sin(phase), np.full(len(t), 0.04)
    return pose


def run(t: Array, style: Style) -> Pose:
    """Run straight ahead, elbows bent."""
    phase, pose = 2 * np.pi * 1.4 * style.speed * t + style.phase, Pose(len(t))
    _gait(pose, phase / (2 * np.pi), step=200 * style.size, stance=0.34, lift=24, heel=1.0)
    pose.hips[:, 1] += -6 - 4 * np.cos(2 * phase)
    for side in (1.0, -1.0):
        swing = -side * 0.4 * style.size * np.sin(phase - 0.2)
        pose.hands[side][:, 1:] = np.stack([-0.5 - 0.35 * swing, 0.3 - 0.9 * swing], axis=1)
        pose.elbows[side] = np.array([0.4, -0.6, -1.0])
    pose.twist, pose.lean = -0.2 * np.sin(phase), np.full(len(t), 0.16)
    return pose


def wave(t: Array, style: Style) -> Pose:
    """Wave with one raised hand."""
    phase, pose = 2 * np.pi * 1.6 * style.speed * t + style.phase, Pose(len(t))
    raised = np.clip(t / 0.8, 0, 1)[:, None]
    raised = raised**2 * (3 - 2 * raised)
    sweep = 0.25 * style.size * np.sin(phase)
    high = np.stack([0.38 + sweep, 0.62 - 0.2 * abs(sweep), np.full(len(t), 0.2)], axis=1)
    side_way = np.sin(np.pi * raised) * np.array([0.4, 0.0, 0.25])
    pose.hands[style.side] = (1 - raised) * pose.hands[style.side] + raised * high + side_way
    pose.elbows[style.side] = np.array([1.0, -1.0, -0.3])
    return pose


def clap(t: Array, style: Style) -> Pose:
    """Clap in front of the chest."""
    phase, pose = 2 * np.pi * 1.8 * style.speed * t + style.phase, Pose(len(t))
    apart = 0.5 * style.size * _up(phase)
    for side in (1.0, -1.0):
        pose.hands[side] = np.stack([-0.13 + apart, -0.25 + 0.1 * apart, 0.6 - 0.1 * apart], axis=1)
        pose.elbows[side] = np.array([0.8, -1.0, -0.3])
    return pose


def punch(t: Array, style: Style) -> Pose:
    """Punch forwards, one hand after the other, from a boxer's guard."""
    phase, pose = 2 * np.pi * 0.9 * style.speed * t + style.phase, Pose(len(t))
    lead = style.side
    for side in (1.0, -1.0):
        out = np.clip(side * np.sin(phase), 0, 1) ** 2
        guard, reach = np.array([-0.08, 0.0, 0.35]), np.array([-0.2, 0.05, 0.92])
        pose.hands[side] = guard + out[:, None] * (reach - guard) * min(style.size, 1.0)
        pose.elbows[side] = np.array([0.4, -1.0, -0.2])
        pose.feet[side][:] += (side * 4, 14 * side * lead)
        pose.heel[side] += 0.0 if side == lead else 0.3
    pose.twist, pose.lean = -0.35 * style.size * np.sin(phase) ** 3, np.full(len(t), 0.1)
    pose.hips[:, 1] -= 8
    return pose


def kick(t: Array, style: Style) -> Pose:
    """Kick forwards with one leg."""
    phase, pose = 2 * np.pi * 0.55 * style.speed * t + style.phase, Pose(len(t))
    share, side = phase / (2 * np.pi) % 1.0, style.side
    back, out = _window(share, 0.0, 0.35), _window(share, 0.2, 0.8)
    pose.feet[side][:, 1] += 68 * style.size * out - 18 * back
    pose.lift[side] = 62 * style.size * out + 4 * back
    pose.heel[side] = -0.3 * out + 0.4 * back
    pose.hips[:, 0] -= side * 5 * (back + out)
    pose.pitch, pose.lean = -0.25 * out, 0.1 * out
    pose.hands[-side] += out[:, None] * np.array([0.2, 0.35, 0.4])
    pose.hands[side] += out[:, None] * np.array([0.25, 0.2, -0.35])
    return pose


def squat(t: Array, style: Style) -> Pose:
    """Squat down and get up, arms stretched forward."""
    phase, pose = 2 * np.pi * 0.45 * style.speed * t + style.phase, Pose(len(t))
    down = _up(phase) * min(style.size, 1.15)
    pose.hips[:, 1] -= 38 * down
    pose.hips[:, 2] -= 14 * down
    pose.pitch, pose.lean, pose.nod = 0.45 * down, 0.35 * down, -0.5 * down
    for side in (1.0, -1.0):
        pose.hands[side] += down[:, None] * np.array([-0.1, 1.15, 0.8])
        pose.feet[side][:, 0] = side * 17
    return pose


def jump(t: Array, style: Style) -> Pose:
    """Jump on the spot: crouch, take off, land."""
    phase, pose = 2 * np.pi * 0.55 * style.speed * t + style.phase, Pose(len(t))
    share = phase / (2 * np.pi) % 1.0
    air = np.clip((share - 0.45) / 0.27, 0, 1)
    flight = 4 * air * (1 - air) * 30 * style.size
    crouch, back = _window(share, 0.0, 0.45) + 0.6 * _window(share, 0.72, 1.0), _window(share, 0.0, 0.4)
    pose.hips[:, 1] += flight - 26 * crouch
    pose.hips[:, 2] -= 8 * crouch
    pose.pitch, pose.lean = 0.4 * crouch, 0.3 * crouch
    high = _window(share, 0.28, 0.9)
    for side in (1.0, -1.0):
        pose.lift[side] = flight
        pose.heel[side] = 0.6 * np.sin(np.pi * air) ** 2
        pose.hands[side] += back[:, None] * np.array([0.05, 0.1, -0.5]) + high[:, None] * np.array([0.15, 1.3, 0.5])
    return pose


def bow(t: Array, style: Style) -> Pose:
    """Bow from the hips and come up again."""
    phase, pose = 2 * np.pi * 0.4 * style.speed * t + style.phase, Pose(len(t))
    down = style.size * _up(phase)
    pose.pitch, pose.lean, pose.nod = 0.75 * down, 0.3 * down, 0.25 * down
    pose.hips[:, 2] -= 12 * down
    for side in (1.0, -1.0):
        pose.hands[side][:, 2] += 0.45 * np.clip(down, 0, 1)
    return pose


ACTIONS: dict[str, Callable[[Array, Style], Pose]] = {
    action.__name__: action for action in (walk, run, wave, clap, punch, kick, squat, jump, bow)
}
