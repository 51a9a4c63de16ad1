"""Flat input: refused with the reason, unless asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mamp import Skeleton
from mamp.errors import RecordingError


def keypoints(people: int = 1, frames: int = 5, coordinates: int = 3) -> NDArray[np.float32]:
    """COCO keypoints [M, T, 17, C]."""
    return np.random.default_rng(0).normal(size=(people, frames, 17, coordinates)).astype(np.float32)


@pytest.mark.parametrize("shape", [(5, 17, 2), (1, 5, 17, 2)])
def test_two_coordinates_are_refused_with_the_reason(shape: tuple[int, ...]) -> None:
    with pytest.raises(RecordingError, match=r"^dance: .*found shape .*2\).*trained on 3D poses only.*lift.*allow_2d"):
        Skeleton(np.ones(shape), "coco17", name="dance")


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("value", [0.0, 2.5])
def test_a_coordinate_that_never_changes_is_refused(axis: int, value: float) -> None:
    x = keypoints(people=2)
    x[..., axis] = value
    x[0, 1, 3] = np.nan
    with pytest.raises(RecordingError, match=rf"^dance: {'xyz'[axis]} is the same for every joint in every frame.*2D"):
        Skeleton(x, "coco17", name="dance")


def test_two_coordinates_get_a_depth_of_zero_when_asked_for() -> None:
    x = keypoints(coordinates=2)
    x[0, 2, 4] = np.nan
    x[0, 3, 5, 1] = np.nan
    recording = Skeleton(x, "coco17", allow_2d=True)
    np.testing.assert_array_equal(recording.positions[..., :2], x)
    assert (recording.positions[..., 2] == 0).all()
    missing = [tuple(where) for where in np.argwhere(~recording.tracked).tolist()]
    assert missing == [(0, 2, 4), (0, 3, 5)], "what was not tracked stays so"
    assert Skeleton(x[0], "coco17", allow_2d=True).positions.shape == (1, 5, 17, 3)


def test_permission_goes_along() -> None:
    """Copies and conversions of a flat recording are flat as well, and are not refused."""
    recording = Skeleton(keypoints(coordinates=2), "coco17", allow_2d=True)
    for other in (recording.to_layout("ntu25"), recording.replace(name="b")):
        assert other.allow_2d and (other.positions[..., 2][other.tracked] == 0).all()
    assert not Skeleton(keypoints(), "coco17").allow_2d
    with pytest.raises(RecordingError, match="2D"):
        recording.replace(allow_2d=False)


def test_other_numbers_of_coordinates_stay_refused() -> None:
    for coordinates in (1, 4):
        with pytest.raises(RecordingError, match="expected positions") as caught:
            Skeleton(keypoints(coordinates=coordinates), "coco17", allow_2d=True)
        assert "2D" not in str(caught.value)


def solid(**change: Any) -> NDArray[np.float32]:
    x = keypoints(frames=40)
    x[..., 2] = 1.0
    x[change["where"]] += 0.01
    return x


@pytest.mark.parametrize("where", [(0, 0, 0, 2), (0, -1, -1, 2)], ids=["first joint", "last joint of the last frame"])
def test_any_depth_at_all_is_depth(where: tuple[int, ...]) -> None:
    assert Skeleton(solid(where=where), "coco17").num_frames == 40


def test_degenerate_but_not_flat() -> None:
    """One point, or points on a line, say nothing about a missing coordinate."""
    point, line = np.zeros((2, 17, 3)), np.zeros((2, 17, 3))
    line[..., 1] = np.arange(17)
    slanted = np.arange(17)[None, :, None] * np.array([0.3, 1.0, 0.0])
    for x in (point, line, slanted, np.full((2, 17, 3), np.nan)):
        Skeleton(x, "coco17")
