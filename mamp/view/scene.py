"""What is drawn of a recording: where it is seen from, and its poses in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mamp.errors import RecordingError
from mamp.figures import Theme
from mamp.layouts import MODEL_LAYOUT, body_of
from mamp.skeleton import Skeleton
from mamp.stick import Look, camera, draw_body

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.floating]

RATE = 30.0  # frames per second of a recording that does not say
FOLLOWED = 1.0  # metres from the middle that somebody may go before the view follows
BONE, HEAD = 0.026, 0.19  # metres across, of a person
TALL = 1.7  # metres
PALE = 0.4  # opacity of further people


@dataclass(frozen=True)
class Scene:
    """A recording, and where it is seen from.

    Attributes:
        recording: As it is drawn.
        camera: Directions [2, 3] to the right and up in the picture.
        middle: [T, 3] the point of each frame that the view is centred on, on the floor.
        people: People in the order in which they are drawn, the one who is seen most last.
        size: Of the body, relative to a person.
    """

    recording: Skeleton
    camera: Array
    middle: Array
    people: tuple[int, ...]
    size: float = 1.0

    @classmethod
    def of(cls, recording: Skeleton, view: str = "corner", model: bool = False, level: bool = False) -> Scene:
        """Look at a recording, ``level`` from no higher than the floor.

        Raises:
            RecordingError: Nobody is tracked.
            ConfigError: There is no such view.
            LayoutError: ``model`` is asked for, and the layout has none of its joints.
        """
        seen = recording.tracked.sum((1, 2))
        if not seen.any():
            raise RecordingError(f"{recording.name}: expected somebody to draw, found nobody who is tracked.")
        shown = recording.to_layout(body_of(recording.layout)) if model else recording
        people = tuple(int(person) for person in np.argsort(seen, kind="stable") if seen[person])
        size = relative_size(shown)
        return cls(shown, camera(recording, view, level), _middle(shown, people, size), people, size)

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.recording.fps or RATE

    def points(self, frame: int, middle: Array | None = None) -> Array:
        """Joints [M, V, 2] of a frame in the picture, in metres from a point on the floor, by default the frame's."""
        at = self.middle[frame] if middle is None else middle
        return np.asarray((self.recording.positions[:, frame] - at) @ self.camera.T)

    def strip(self, poses: int) -> Strip:
        """Poses spread over the frames in which somebody is tracked."""
        there = np.flatnonzero(self.recording.tracked.any((0, 2)))
        frames = there[np.linspace(0, len(there) - 1, min(poses, len(there))).round().astype(int)]
        return Strip.of(self, [int(frame) for frame in frames])


def relative_size(recording: Skeleton) -> float:
    """Size of a body relative to a person: 1 for people, whatever they do, else by the boxes around the joints."""
    if recording.layout.body == MODEL_LAYOUT.name or not recording.tracked.any():
        return 1.0
    seen = recording.positions[recording.tracked.any(-1)]
    box = np.nanmax(seen, axis=1) - np.nanmin(seen, axis=1)
    return max(float(np.median(box.max(axis=-1))) / TALL, 1e-3)


def _middle(recording: Skeleton, people: Sequence[int], size: float) -> Array:
    """Where the view is centred, [T, 3]: one place, or, of people who go further, the way that they go, smoothed."""
    seen = recording.positions[list(people)]
    floor = float(np.nanpercentile(seen[..., 1], 0.5))
    known = np.asarray(recording.tracked[list(people)].any((0, 2)))
    frames = np.flatnonzero(known)
    flat = seen[:, known][..., [0, 2]]
    centre = (np.nanmin(flat, axis=(0, 2)) + np.nanmax(flat, axis=(0, 2))) / 2
    way = np.stack([np.interp(np.arange(len(known)), frames, column) for column in centre.T], axis=-1)
    whole = (way.min(0) + way.max(0)) / 2
    if np.abs(way - whole).max() <= FOLLOWED * size:
        way = np.broadcast_to(whole, way.shape)
    else:
        half = min(round((recording.fps or RATE) / 2), len(way))
        padded = np.pad(way, ((half, half), (0, 0)), mode="reflect", reflect_type="odd") if half < len(way) else way
        width = len(padded) - len(way) + 1
        way = np.stack([np.convolve(column, np.full(width, 1 / width), "valid") for column in padded.T], axis=-1)
    return np.stack([way[:, 0], np.full(len(way), floor), way[:, 1]], axis=-1)


@dataclass(frozen=True)
class Strip:
    """Poses of a recording in a row.

    Attributes:
        scene: The recording.
        frames: Of the poses.
        points: Of each pose [M, V, 2], in metres.
        step: From one pose to the next.
        low: Lowest point.
        high: Highest point.
    """

    scene: Scene
    frames: list[int]
    points: list[Array]
    step: float
    low: float
    high: float

    @classmethod
    def of(cls, scene: Scene, frames: list[int]) -> Strip:
        """Each pose is centred, so that those who walk do not walk out of the row."""
        points = []
        for frame in frames:
            pose = scene.points(frame)
            pose[..., 0] -= (np.nanmin(pose[..., 0]) + np.nanmax(pose[..., 0])) / 2
            points.append(pose)
        everything = np.stack(points)
        step = max(1.12 * float(np.nanmax(np.abs(everything[..., 0]))) * 2, 0.45 * scene.size)
        return cls(
            scene, frames, points, step, float(np.nanmin(everything[..., 1])), float(np.nanmax(everything[..., 1]))
        )

    @property
    def height(self) -> float:
        """In metres."""
        return 1.12 * (self.high - self.low) + 0.02 * self.scene.size

    def draw(self, axes: Axes, theme: Theme, step: float, times: bool) -> None:
        """Draw the poses, the floor, and the time of each."""
        axes.set(xlim=(0, step * len(self.frames)), ylim=(self.low - 0.04 * self.height, self.low + 0.96 * self.height))
        axes.axis("off")
        axes.set_aspect("equal", anchor="SW")
        recording, scale = self.scene.recording, _points_per_metre(axes) * self.scene.size
        axes.axhline(self.low, color=theme.line, linewidth=1, zorder=1)
        for number, (frame, pose) in enumerate(zip(self.frames, self.points, strict=True)):
            place = np.array([(number + 0.5) * step, 0.0])
            for person in self.scene.people:
                alpha = 1.0 if person == self.scene.people[-1] else PALE
                look = Look(theme, width=BONE * scale, head=HEAD * scale, alpha=alpha)
                draw_body(axes, pose[person] + place, recording.layout, look)
            if times:
                said = f"frame {frame}" if recording.fps is None else f"{frame / recording.fps:.2f} s"
                axes.annotate(
                    said, (place[0], self.low), (0, -3), textcoords="offset points", ha="center", va="top",
                    fontsize=8, color=theme.faint, annotation_clip=False,
                )  # fmt: skip


def _points_per_metre(axes: Axes) -> float:
    box = axes.get_window_extent()
    low, high = axes.get_xlim()
    return float(box.width / (high - low) * 72 / axes.figure.dpi)
