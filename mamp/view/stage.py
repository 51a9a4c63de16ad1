"""What a film shows: people on a floor who move with time, several recordings beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mamp.figures import Theme, new_figure
from mamp.stick import Body, Look
from mamp.view.scene import BONE, HEAD, PALE, Array, Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    half = max(abs(low[0]), abs(high[0]), 0.4 * scene.size) + 0.12 * scene.size
    return -half, half, float(low[1]) - 0.18 * scene.size, float(high[1]) + 0.16 * scene.size


def _shortened(name: str, pixels: int) -> str:
    fits = max(pixels // 8, 6)
    return (name if len(name) <= fits else f"{name[: fits - 2]}..").replace("$", r"\$")


class _Actor:
    """The people of a recording in some axes, on a floor with a grid of half metres, for a person."""

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
                    width=float(np.clip(BONE * scale * scene.size, 1.0, 8.0)),
                    head=HEAD * scale * scene.size,
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
        self._floor.set_segments(
            list(floor_lines(self.scene.middle[frame], self._radius, 0.5 * self.scene.size) @ self.scene.camera.T)
        )


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
