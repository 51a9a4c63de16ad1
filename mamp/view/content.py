"""What a page knows of a recording: positions, joints, how the model's joints are derived, and facts to print."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from mamp.errors import LayoutError
from mamp.layouts import Layout
from mamp.skeleton import Skeleton, take_frames
from mamp.view.packing import Block
from mamp.view.scene import relative_size

logger = logging.getLogger(__name__)

UNKNOWN_RATE = 30.0  # frames per second to play at


def rate_of(recording: Skeleton) -> float:
    """Frames per second to play at."""
    return recording.fps or UNKNOWN_RATE


def thinning(recording: Skeleton, fps: float) -> int:
    """Keep every n-th frame, so that at most ``fps`` are left a second."""
    return max(1, int(np.ceil(rate_of(recording) / fps - 1e-3)))


def describe(recording: Skeleton, model: Layout, block: Block, every: int = 1) -> dict[str, Any]:
    """A recording for the page, its arrays in ``block``; other bodies than people are made as large as these.

    Args:
        recording: Any recording.
        model: Joints of the model.
        block: Takes the arrays.
        every: Keep every n-th frame.
    """
    layout, positions, tracked = recording.layout, recording.positions[:, ::every], recording.tracked[:, ::every]
    return {
        "name": recording.name,
        "fps": rate_of(recording) / every,
        "rate": "unknown, played at 30 frames a second"
        if recording.fps is None
        else f"{recording.fps:g} frames a second",
        "frames": positions.shape[1],
        "people": positions.shape[0],
        "every": every,
        "layout": describe_layout(layout),
        "positions": block.add_positions(positions / relative_size(recording), layout.parents),
        "tracked": None if tracked.all() else block.add_bits(tracked),
        "conversion": _conversion(recording, model),
        "facts": _facts(recording, every),
    }


def describe_layout(layout: Layout) -> dict[str, Any]:
    """Joints and tree of a layout."""
    return {"name": layout.name, "joints": list(layout.joints), "parents": list(layout.parents)}


def _conversion(recording: Skeleton, model: Layout) -> dict[str, Any] | None:
    """Weights of the model's joints over those of the recording, and how each is derived; ``None`` if it cannot be."""
    try:
        weights, how = recording.layout.conversion(model), recording.layout.describe(model)
    except LayoutError as error:
        logger.warning("%s: shown without the joints of the model: %s", recording.name, error)
        return None
    rows = [[[int(v), round(float(row[v]), 6)] for v in np.flatnonzero(row)] for row in weights]
    return {"rows": rows, "status": [text.split()[0] for text in how.values()], "how": list(how.values())}


def _facts(recording: Skeleton, every: int) -> list[tuple[str, str]]:
    missing = 1 - float(recording.tracked.mean())
    seconds = recording.num_frames / rate_of(recording)
    facts = {
        "layout": f"{recording.layout.name}, {len(recording.layout.joints)} joints",
        "people": f"{recording.num_people}",
        "frames": f"{recording.num_frames:,}" + (f", every {_nth(every)} shown" if every > 1 else ""),
        "rate": "unknown" if recording.fps is None else f"{recording.fps:g} /s",
        "duration": f"{seconds:.1f} s" if recording.fps is not None else None,
        "not tracked": f"{missing:.1%} of the joints" if missing else None,
        "unit": recording.info.get("unit"),
        "size": None if (size := relative_size(recording)) == 1 else f"shown {1 / size:.2g} times as large",
    }
    return [(name, str(value)) for name, value in facts.items() if value is not None]


def _nth(number: int) -> str:
    return f"{number}{ {2: 'nd', 3: 'rd'}.get(number, 'th') }"


def cut(recording: Skeleton, start: float, end: float) -> Skeleton:
    """The part between two seconds, at least a frame."""
    fps = rate_of(recording)
    first = min(max(round(start * fps), 0), recording.num_frames - 1)
    return take_frames(recording, slice(first, max(min(round(end * fps), recording.num_frames), first + 1)))
