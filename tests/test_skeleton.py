"""``Skeleton``: what it takes, and what it refuses with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mamp import Skeleton, get_layout
from mamp.errors import LayoutError, MAMPError, RecordingError


def positions(people: int = 2, frames: int = 6, joints: int = 25) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(people, frames, joints, 3)).astype(np.float32)


def test_shapes_and_properties() -> None:
    x = positions()
    recording = Skeleton(x, "ntu25", fps=30, name="wave", info={"label": 3})
    assert (recording.num_people, recording.num_frames, recording.duration) == (2, 6, 0.2)
    assert recording.layout is get_layout("ntu25") and recording.info == {"label": 3}
    assert recording.positions.dtype == np.float32
    np.testing.assert_array_equal(recording.positions, x)
    assert isinstance(recording.fps, float) and recording.confidence is None
    assert recording.tracked.shape == (2, 6, 25) and recording.tracked.all()


def test_one_person() -> None:
    recording = Skeleton(positions()[0], "ntu25", confidence=np.ones((6, 25)))
    assert recording.positions.shape == (1, 6, 25, 3)
    assert recording.confidence is not None and recording.confidence.shape == (1, 6, 25)
    assert recording.duration is None


def test_lists_and_other_numbers() -> None:
    recording = Skeleton(positions().astype(np.float64).tolist(), "ntu25")
    assert recording.positions.dtype == np.float32
    assert Skeleton(np.ones((2, 25, 3), int), "ntu25").positions.dtype == np.float32


def test_layout_as_name_object_or_names() -> None:
    kinect = get_layout("kinect20")
    x = positions(joints=20)
    assert Skeleton(x, kinect).layout is kinect
    assert Skeleton(x, "kinect20").layout is kinect
    assert Skeleton(x, list(reversed(kinect.joints))).layout.joints == tuple(reversed(kinect.joints))


def test_tracked_needs_all_coordinates() -> None:
    x = positions()
    x[0, 2, 4, 1] = np.nan
    tracked = Skeleton(x, "ntu25").tracked
    assert not tracked[0, 2, 4] and tracked.sum() == 2 * 6 * 25 - 1


@pytest.mark.parametrize(
    "x, options, error, message",
    [
        (
            np.zeros((4, 25)),
            {},
            RecordingError,
            r"expected positions \[people, frames, joints, 3\].*found shape \(4, 25\)",
        ),
        (np.zeros((1, 1, 4, 25, 3)), {}, RecordingError, r"found shape \(1, 1, 4, 25, 3\)"),
        (np.zeros((4, 25, 2)), {}, RecordingError, r"found shape \(4, 25, 2\).*Two coordinates look like 2D keypoints"),
        (np.zeros((1, 4, 25, 4)), {}, RecordingError, r"found shape \(1, 4, 25, 4\)\.$"),
        (np.float32(3), {}, RecordingError, r"found shape \(\)"),
        ([[[1, 2, 3]], [[1, 2]]], {}, RecordingError, r"positions are not a regular array of numbers"),
        ([[["a", "b", "c"]]], {}, RecordingError, r"positions are not a regular array of numbers"),
        (
            np.zeros((4, 24, 3)),
            {},
            LayoutError,
            r"layout 'ntu25' has 25 joints, the positions have 24.*register_layout",
        ),
        (np.zeros((0, 4, 25, 3)), {}, RecordingError, r"expected at least one person, found none"),
        (np.zeros((1, 0, 25, 3)), {}, RecordingError, r"expected at least one frame, found none"),
        (np.full((4, 25, 3), np.inf), {}, RecordingError, r"infinite values; mark what was not tracked with NaN"),
        (np.full((4, 25, 3), -np.inf), {}, RecordingError, r"infinite values"),
        (np.zeros((4, 25, 3)), {"fps": 0}, RecordingError, r"expected a frame rate above zero, or None, found 0"),
        (np.zeros((4, 25, 3)), {"fps": -30}, RecordingError, r"frame rate above zero, or None, found -30"),
        (np.zeros((4, 25, 3)), {"fps": np.nan}, RecordingError, r"frame rate above zero, or None, found nan"),
        (np.zeros((4, 25, 3)), {"fps": np.inf}, RecordingError, r"frame rate above zero"),
        (
            np.zeros((4, 25, 3)),
            {"confidence": np.ones((3, 25))},
            RecordingError,
            r"expected confidence of shape \(1, 4, 25\), found \(1, 3, 25\)",
        ),
        (np.zeros((4, 25, 3)), {"confidence": np.ones(4)}, RecordingError, r"expected confidence of shape"),
        (np.zeros((4, 25, 3)), {"layout": "ntu26"}, LayoutError, r"unknown layout 'ntu26'\. Did you mean 'ntu25'"),
        (np.zeros((4, 25, 3)), {"layout": ["a"] * 25}, LayoutError, r"joint names not understood"),
    ],
)
def test_refused(x: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        Skeleton(x, **{"layout": "ntu25", "name": "clip 7", **options})
    assert isinstance(caught.value, MAMPError) and isinstance(caught.value, ValueError)
    if error is RecordingError:
        assert str(caught.value).startswith("clip 7: "), "the message names the recording"


def test_replace() -> None:
    recording = Skeleton(positions(), "ntu25", fps=30, name="a", info={"label": 1})
    changed = recording.replace(name="b", positions=positions(1, 3))
    assert (changed.name, changed.num_people, changed.num_frames, changed.fps) == ("b", 1, 3, 30.0)
    assert changed.info == {"label": 1} and recording.name == "a"
    with pytest.raises(RecordingError, match="infinite"):
        recording.replace(positions=np.full((4, 25, 3), np.inf))


def test_repr() -> None:
    assert repr(Skeleton(positions(), "ntu25", fps=29.97, name="wave")) == (
        "Skeleton('wave': 2 people, 6 frames, 25 joints (ntu25), 29.97 fps)"
    )
    assert repr(Skeleton(positions(1, 1), "ntu25")).endswith("unknown rate)")


def test_to_its_own_layout_is_itself() -> None:
    recording = Skeleton(positions(), "ntu25")
    assert recording.to_layout("ntu25") is recording


def test_frozen() -> None:
    recording: Any = Skeleton(positions(), "ntu25")
    with pytest.raises(AttributeError):
        recording.fps = 3


@pytest.mark.parametrize("fps", ["30", [30], 10**400, True, np.nan, 0, -1, 0.05, 10_001, 30j])
def test_frame_rates_that_no_recorder_has(fps: Any) -> None:
    with pytest.raises(
        RecordingError, match=r"expected a frame rate above zero, or None, found .* from 0\.1 to 10000"
    ) as error:
        Skeleton(np.zeros((4, 25, 3)) + np.arange(25)[:, None], "ntu25", fps=fps)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("layout", [None, 5, [1, 2], {"a": 1}, b"ntu25"])
def test_layouts_of_the_wrong_type(layout: Any) -> None:
    with pytest.raises(LayoutError, match="expected a registered name"):
        Skeleton(np.ones((4, 25, 3)), layout)


def test_positions_that_are_not_real_numbers() -> None:
    x = np.random.default_rng(0).normal(size=(4, 25, 3))
    for wrong in (x + 1j, x.astype(str), [*x.tolist()[:2], 1]):
        with pytest.raises(RecordingError, match="not a regular array of numbers"):
            Skeleton(wrong, "ntu25")
    with pytest.raises(RecordingError, match="detach"):
        Skeleton(torch.from_numpy(x).requires_grad_(), "ntu25")  # type: ignore[arg-type]
    np.testing.assert_array_equal(Skeleton(x.astype(object), "ntu25").positions[0], x.astype(np.float32))
    np.testing.assert_array_equal(Skeleton(torch.from_numpy(x), "ntu25").positions[0], x.astype(np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize("far", [1e20, -1e20, 1001.0, 1e300])
def test_positions_where_no_body_is(far: float) -> None:
    x = np.random.default_rng(0).normal(size=(4, 25, 3))
    x[1, 3, 0] = far
    with pytest.raises(RecordingError, match=r"in metres|infinite"):
        Skeleton(x, "ntu25")
    x[1, 3] = np.nan
    assert Skeleton(x, "ntu25").num_frames == 4


@pytest.mark.parametrize("info", [5, "abc", [1], object()])
def test_info_that_is_no_dict(info: Any) -> None:
    with pytest.raises(RecordingError, match="expected info as a dict, found"):
        Skeleton(np.random.default_rng(0).normal(size=(5, 25, 3)), "ntu25", info=info)
    assert Skeleton(np.random.default_rng(0).normal(size=(5, 25, 3)), "ntu25", name=Path("a.bvh")).name == "a.bvh"  # type: ignore[arg-type]
