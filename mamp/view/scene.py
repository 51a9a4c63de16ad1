"""What is drawn of recordings: poses in a row, or people on a floor who move with time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import RecordingError
from mamp.figures import Theme, new_figure
from mamp.layouts import MODEL_LAYOUT
from mamp.skeleton import Skeleton
from mamp.stick import Body, Look, camera, draw_body

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.floating]

RATE = 30.0  # frames per second of a recording that does not say
FOLLOWED = 1.0  # metres from the middle that somebody may go before the view follows
BONE, HEAD = 0.026, 0.19  # metres across
PALE = 0.4  # opacity of further people


@dataclass(frozen=True)
class Scene:
    """A recording, and where it is seen from.

    Attributes:
        recording: As it is drawn.
        camera: Directions [2, 3] to the right and up in the picture.
        middle: [T, 3] the point of each frame that the view is centred on, on the floor.
        people: People in the order in which they are drawn, the one who is seen most last.
    """

    recording: Skeleton
    camera: Array
    middle: Array
    people: tuple[int, ...]

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
        shown = recording.to_layout(MODEL_LAYOUT) if model else recording
        people = tuple(int(person) for person in np.argsort(seen, kind="stable") if seen[person])
        return cls(shown, camera(recording, view, level), _middle(shown, people), people)

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


def _middle(recording: Skeleton, people: Sequence[int]) -> Array:
    """Where the view is centred, [T, 3]: one place, or, of people who go further, the way that they go, smoothed."""
    seen = recording.positions[list(people)]
    floor = float(np.nanpercentile(seen[..., 1], 0.5))
    known = np.asarray(recording.tracked[list(people)].any((0, 2)))
    frames = np.flatnonzero(known)
    flat = seen[:, known][..., [0, 2]]
    centre = (np.nanmin(flat, axis=(0, 2)) + np.nanmax(flat, axis=(0, 2))) / 2
    way = np.stack([np.interp(np.arange(len(known)), frames, column) for column in centre.T], axis=-1)
    whole = (way.min(0) + way.max(0)) / 2
    if np.abs(way - whole).max() <= FOLLOWED:
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
        step = max(1.12 * float(np.nanmax(np.abs(everything[..., 0]))) * 2, 0.45)
        return cls(
            scene, frames, points, step, float(np.nanmin(everything[..., 1])), float(np.nanmax(everything[..., 1]))
        )

    @property
    def height(self) -> float:
        """In metres."""
        return 1.12 * (self.high - self.low) + 0.02

    def draw(self, axes: Axes, theme: Theme, step: float, times: bool) -> None:
        """Draw the poses, the floor, and the time of each."""
        axes.set(xlim=(0, step * len(self.frames)), ylim=(self.low - 0.04 * self.height, self.low + 0.96 * self.height))
        axes.axis("off")
        axes.set_aspect("equal", anchor="SW")
        recording, scale = self.scene.recording, _points_per_metre(axes)
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


@dataclass(frozen=True)
class Timing:
    """When the frames of a film are.

    Attributes:
        rate: Frames per second.
        seconds: Length.
    """

    rate: float
    seconds: float

    @classmethod
    def of(cls, scenes: Sequence[Scene], rate: float, exact: bool) -> Timing:
        """As long as the longest recording, at its rate or a lower one; ``exact`` takes hundredths a frame."""
        rate = min(rate, max(scene.rate for scene in scenes))
        if exact:
            rate = 100 / max(round(100 / rate), 2)
        return cls(rate, max(scene.recording.num_frames / scene.rate for scene in scenes))

    def __len__(self) -> int:
        return max(round(self.seconds * self.rate), 1)


class Stage:
    """Recordings that play beside each other.

    Args:
        scenes: The recordings.
        width: Pixels of the whole; by default 320 of one recording and fewer of several.
        columns: Recordings in a row.
        theme: Colours.
        names: Write names and the time.
        dpi: Pixels in an inch.
    """

    def __init__(
        self, scenes: Sequence[Scene], width: int | None, columns: int | None, theme: Theme, names: bool, dpi: int
    ) -> None:
        self._scenes, self._names = list(scenes), names
        rows = -(-len(scenes) // min(columns or max(round((2.5 * len(scenes)) ** 0.5), 1), len(scenes)))
        columns = columns or -(-len(scenes) // rows)
        frames = [_frame(scene) for scene in scenes]
        left, right = min(box[0] for box in frames), max(box[1] for box in frames)
        low, high = min(box[2] for box in frames), max(box[3] for box in frames)
        wide = min(width or 320 * columns, 8000) if width or columns < 3 else 200 * columns
        each = wide // columns
        above = 22 if names else 0
        tall = round(each * (high - low) / (right - left)) + above
        self.size = (wide // 2 * 2, rows * tall // 2 * 2)
        self._figure = new_figure(theme, figsize=(self.size[0] / dpi, self.size[1] / dpi), dpi=dpi)
        scale = each / (right - left) * 72 / dpi  # points in a metre
        self._actors: list[_Actor] = []
        for number, scene in enumerate(scenes):
            row, column = divmod(number, columns)
            box = (column / columns, 1 - ((row + 1) * tall) / self.size[1], 1 / columns, (tall - above) / self.size[1])
            axes = self._figure.add_axes(box)
            axes.set(xlim=(left, right), ylim=(low, high))
            axes.axis("off")
            self._actors.append(_Actor(axes, scene, theme, scale, 0.95 * right))
            if names:
                name = _shortened(scene.recording.name, each)
                top = box[1] + box[3] + 0.5 * above / self.size[1]
                self._figure.text(
                    box[0] + 0.5 / columns, top, name, fontsize=9, color=theme.ink, ha="center", va="center"
                )
        self._clock = self._figure.text(
            1 - 6 / self.size[0], 5 / self.size[1], "", fontsize=8, color=theme.faint, ha="right", family="monospace"
        )

    def frames(self, timing: Timing) -> Iterator[NDArray[np.uint8]]:
        """Pixels [height, width, 3] of each frame; who is done stays as they are."""
        for number in range(len(timing)):
            seconds = number / timing.rate
            for actor in self._actors:
                last = actor.scene.recording.num_frames - 1
                actor.show(min(round(seconds * actor.scene.rate), last))
            if self._names:
                self._clock.set_text(f"{seconds:.1f} s")
            canvas: Any = self._figure.canvas
            canvas.draw()
            yield np.asarray(canvas.buffer_rgba())[: self.size[1], : self.size[0], :3].copy()


def _frame(scene: Scene) -> tuple[float, float, float, float]:
    """Left, right, low and high end of what a recording needs, in metres."""
    points = (scene.recording.positions - scene.middle[None, :, None]) @ scene.camera.T
    # Almost all, so that one joint that was lost for a moment does not make everybody small.
    low, high = (np.nanpercentile(points, share, axis=(0, 1, 2)) for share in (0.05, 99.95))
    half = max(abs(low[0]), abs(high[0]), 0.4) + 0.12
    return -half, half, float(low[1]) - 0.18, float(high[1]) + 0.16


def _shortened(name: str, pixels: int) -> str:
    fits = max(pixels // 8, 6)
    return (name if len(name) <= fits else f"{name[: fits - 2]}..").replace("$", r"\$")


class _Actor:
    """The people of a recording in some axes, on a floor with a grid of half metres."""

    def __init__(self, axes: Axes, scene: Scene, theme: Theme, scale: float, radius: float) -> None:
        from matplotlib.collections import LineCollection

        self.scene, self._radius = scene, radius
        self._floor = LineCollection([], colors=theme.line, linewidths=0.8, zorder=1)
        axes.add_collection(self._floor, autolim=False)
        self._people = {
            person: Body(
                axes,
                scene.recording.layout,
                Look(
                    theme,
                    width=float(np.clip(BONE * scale, 1.0, 8.0)),
                    head=HEAD * scale,
                    alpha=1.0 if person == scene.people[-1] else PALE,
                ),
            )
            for person in scene.people
        }

    def show(self, frame: int) -> None:
        """Show a frame."""
        points = self.scene.points(frame)
        for person, body in self._people.items():
            body.show(points[person])
        self._floor.set_segments(list(floor_lines(self.scene.middle[frame], self._radius) @ self.scene.camera.T))


def floor_lines(middle: Array, radius: float, step: float = 0.5) -> Array:
    """Lines [N, 2, 3] of a grid on the floor, relative to a point on it: those in a disc around it."""
    lines = []
    for axis, other in ((0, 2), (2, 0)):
        first = np.ceil((middle[axis] - radius) / step) * step
        for place in np.arange(first, middle[axis] + radius, step):
            away = place - middle[axis]
            if abs(away) >= radius:
                continue
            reach = np.sqrt(radius**2 - away**2)
            ends = np.zeros((2, 3))
            ends[:, axis], ends[:, other] = away, (-reach, reach)
            lines.append(ends)
    return np.stack(lines)
