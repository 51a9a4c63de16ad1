"""Stick figures: recordings seen from somewhere, and bodies drawn into the axes of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ConfigError, LayoutError
from mamp.figures import LIGHT, Theme
from mamp.layouts import Layout, between, body_of
from mamp.skeleton import Skeleton

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.floating]

# Degrees from the front towards the person's left, and above the floor.
VIEWS = {"front": (0.0, 0.0), "side": (-90.0, 0.0), "top": (0.0, 90.0), "corner": (40.0, 14.0)}
UP = np.array([0.0, 1.0, 0.0])


def to_the_left(model: Array, body: Layout) -> Array:
    """Horizontal direction [3] to the left of somebody, of the joints [..., V, 3] of a body.

    Of several frames it is the mean; of a person without hips and shoulders, and of a body without sides, x.
    """
    across = np.zeros(3)
    for pair in body.facing:
        left, right = (model[..., body.joints.index(joint), :] for joint in pair)
        across = across + np.nan_to_num(left - right).reshape(-1, 3).sum(0)
    across[1] = 0.0
    length = float(np.linalg.norm(across))
    return across / length if length > 1e-6 else np.array([1.0, 0.0, 0.0])


def camera(recording: Skeleton, view: str = "corner", level: bool = False) -> Array:
    """Directions [2, 3] that are right and up in a picture of a recording.

    They go by where the person who is seen most faces on average. The front has the person's left on the right of the
    picture; the side is seen from the person's right. ``level`` looks from no higher than the floor, except from the
    top.

    Raises:
        ConfigError: There is no such view.
    """
    if view not in VIEWS:
        raise ConfigError(f"view: expected one of {', '.join(VIEWS)}, found {view!r}.")
    try:
        body = body_of(recording.layout)
        left = to_the_left(recording.to_layout(body).positions[most_seen(recording)], body)
    except LayoutError:  # joints that are none of the model's: as the axes of the file are
        left = np.array([1.0, 0.0, 0.0])
    around, above = np.radians(VIEWS[view])
    above = 0.0 if level and view != "top" else above
    ahead = np.cross(left, UP)
    towards = np.cos(around) * ahead + np.sin(around) * left
    right = np.cross(UP, towards)
    return np.stack([right, np.cos(above) * UP - np.sin(above) * towards])


def most_seen(recording: Skeleton) -> int:
    """Index of the person of whom most is tracked."""
    return int(recording.tracked.sum((1, 2)).argmax())


def joint_colours(layout: Layout, theme: Theme = LIGHT) -> list[str]:
    """Colour of each joint, by side."""
    sides = dict.fromkeys(layout.joints, theme.middle)
    for left, right in layout.pairs:
        sides[left], sides[right] = theme.left, theme.right
    return [sides[joint] for joint in layout.joints]


@dataclass(frozen=True)
class Look:
    """How a body is drawn.

    Attributes:
        theme: Colours of its sides.
        colour: One colour for the whole body in place of those.
        width: Of a bone, in points; the left side of a body of one colour is drawn thicker.
        joints: Size of a joint, in points; 0 for none.
        head: Size of a disc for the head, in points; 0 for none.
        alpha: Opacity.
    """

    theme: Theme = LIGHT
    colour: str | None = None
    width: float = 1.5
    joints: float = 0.0
    head: float = 0.0
    alpha: float = 1.0


class Body:
    """A body in some axes, which can be moved.

    Args:
        axes: Where it is drawn.
        layout: Of its joints.
        look: How it is drawn.
    """

    def __init__(self, axes: Axes, layout: Layout, look: Look) -> None:
        from matplotlib.collections import LineCollection

        colours = [look.colour or colour for colour in joint_colours(layout, look.theme)]
        lefts = {left for left, _ in layout.pairs} if look.colour else set()
        self._bones = [(joint, parent) for joint, parent in enumerate(layout.parents) if parent >= 0]
        thick = [look.width * (1.5 if layout.joints[joint] in lefts else 1.0) for joint, _ in self._bones]
        self._lines = LineCollection(
            [], linewidths=thick, colors=[colours[joint] for joint, _ in self._bones], alpha=look.alpha,
            capstyle="round", zorder=3,
        )  # fmt: skip
        axes.add_collection(self._lines, autolim=False)
        self._joints = axes.scatter(
            [np.nan] * len(colours),
            [np.nan] * len(colours),
            c=colours,
            s=look.joints**2,
            alpha=look.alpha,
            linewidths=0,
            zorder=4,
        )
        self._head = _head(layout)
        colour = look.colour or look.theme.middle
        self._disc = axes.scatter(
            [np.nan], [np.nan], c=colour, s=look.head**2, alpha=look.alpha, linewidths=0, zorder=4
        )

    def show(self, points: Array) -> None:
        """Move the joints to points [V, 2] of the axes; those that are NaN are not drawn, nor their bones."""
        self._lines.set_segments([points[[joint, parent]] for joint, parent in self._bones])
        self._joints.set_offsets(points)
        used = self._head != 0
        place = self._head[used] @ points[used] if used.any() else np.full(2, np.nan)
        self._disc.set_offsets(place[None])


def _head(layout: Layout) -> Array:
    """Weights [V] of the joints for the middle of the head; zeros where there is none."""
    source = layout.mapping.get("head", "head" if "head" in layout.joints else {})
    if isinstance(source, str):  # the joint at which the head turns: the middle is on the way to its top
        joint = layout.joints.index(source)
        above = [layout.joints[child] for child, parent in enumerate(layout.parents) if parent == joint]
        source = between(source, above[0] if len(above) == 1 else source)
    return np.array([source.get(joint, 0.0) for joint in layout.joints])


def draw_body(axes: Axes, points: Array, layout: Layout, look: Look | None = None) -> None:
    """Draw one pose of a body, of its joints [V, 2] in the axes."""
    Body(axes, layout, look or Look()).show(points)
