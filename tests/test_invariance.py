"""What must not change an embedding, as documented in docs/recordings.md."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mamp import MAMPConfig, MAMPEncoder, Preprocessing, Skeleton, get_layout
from mamp.errors import ConfigError
from mamp.geometry import body_height
from mamp.preprocessing import normalize

Array = NDArray[np.float32]
LAYOUT = get_layout("ntu25")
property_test = settings(max_examples=12, deadline=None, derandomize=True)


def make(**preprocessing: Any) -> MAMPEncoder:
    torch.manual_seed(0)
    expected = Preprocessing(**{"max_people": None, "absent_person": "none"} | preprocessing)
    return MAMPEncoder(MAMPConfig(dim_feat=16, depth=2, num_heads=2, num_frames=16, preprocessing=expected)).eval()


def positions(frames: int, people: int, seed: int, holes: bool) -> Array:
    """[M, T, V, 3], with tracking lost here and there when ``holes``."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(people, 1, 25, 3)) + 0.05 * rng.normal(size=(people, frames, 25, 3)).cumsum(axis=1)
    if holes:
        lost = rng.random(x.shape[:3]) < 0.2
        lost[:, 0] = False
        x[lost] = np.nan
    return np.asarray(x, np.float32)


takes = st.builds(positions, st.integers(1, 30), st.integers(1, 3), st.integers(0, 1000), st.booleans())
metres = st.floats(-5, 5)


def encode(encoder: MAMPEncoder, x: Array, pool: Any = "clip") -> Array:
    return encoder.encode(Skeleton(x, "ntu25"), pool=pool)


def turned(x: Array, angle: float) -> Array:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(x @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]), np.float32)


@property_test
@given(takes, st.tuples(metres, metres, metres), st.booleans(), st.booleans())
def test_place(x: Array, shift: tuple[float, float, float], facing: bool, published: bool) -> None:
    people: dict[str, Any] = {"max_people": 2, "absent_person": "zeros"} if published else {}
    encoder = make(facing=facing, **people)
    moved = x + np.asarray(shift, np.float32)
    for pool in ("clip", "tokens"):
        np.testing.assert_allclose(encode(encoder, moved, pool), encode(encoder, x, pool), rtol=0, atol=2e-4)


def test_place_counts_where_the_weights_say_so() -> None:
    x = positions(10, 1, 0, False)
    assert abs(encode(make(center="none"), x + 1) - encode(make(center="none"), x)).max() > 0.01


@property_test
@given(takes, st.floats(-np.pi, np.pi))
def test_direction(x: Array, angle: float) -> None:
    """Where the weights ask for ``facing``, or the user does, a turn about the vertical changes nothing."""
    encoder = make(facing=True)
    for pool in ("clip", "tokens"):
        np.testing.assert_allclose(encode(encoder, turned(x, angle), pool), encode(encoder, x, pool), rtol=0, atol=2e-4)


def test_direction_counts_without_facing() -> None:
    x = positions(10, 1, 0, False)
    assert abs(encode(make(), turned(x, 1.0)) - encode(make(), x)).max() > 0.01
    tilted = x[..., [0, 2, 1]] * np.float32([1, 1, -1])
    assert abs(encode(make(facing=True), tilted) - encode(make(facing=True), x)).max() > 0.01, "only the vertical"


@property_test
@given(takes, st.floats(0.3, 3.0), st.booleans())
def test_size(x: Array, factor: float, facing: bool) -> None:
    encoder = make(height=1.7, facing=facing)
    scaled = np.asarray(x * np.float32(factor), np.float32)
    np.testing.assert_allclose(encode(encoder, scaled), encode(encoder, x), rtol=0, atol=2e-4)


def test_size_counts_without_height() -> None:
    x = positions(10, 1, 0, False)
    assert abs(encode(make(), x * 1.2) - encode(make(), x)).max() > 0.01


@property_test
@given(takes, st.randoms(use_true_random=False))
def test_order_of_people(x: Array, random: Any) -> None:
    """In camera coordinates people may come in any order; otherwise the first is the one the clip is centred by."""
    order = list(range(len(x)))
    random.shuffle(order)
    encoder = make(center="none")
    for pool in ("clip", "frame", "joint"):
        np.testing.assert_allclose(encode(encoder, x[order], pool), encode(encoder, x, pool), rtol=0, atol=1e-5)
    for pool in ("person", "tokens"):
        np.testing.assert_allclose(encode(encoder, x[order], pool), encode(encoder, x, pool)[order], rtol=0, atol=1e-5)


@property_test
@given(st.integers(0, 1000), st.permutations(range(4)), st.sampled_from(["zeros", "copy", "none"]), st.booleans())
def test_order_of_a_crowd(seed: int, order: list[int], absent: Any, facing: bool) -> None:
    """Of more people than the weights take, those who move most are first, in whatever order they come."""
    x = positions(12, 4, seed, False)
    encoder = make(max_people=2, absent_person=absent, facing=facing)
    for pool in ("clip", "frame", "joint", "tokens"):
        np.testing.assert_allclose(encode(encoder, x[order], pool), encode(encoder, x, pool), rtol=0, atol=1e-5)
    person = encode(encoder, x, "person")
    assert np.isfinite(person).all() and person.shape == (4, 16), "all are encoded"
    np.testing.assert_allclose(encode(encoder, x[order], "person"), person[order], rtol=0, atol=1e-5)


def test_clip_of_a_crowd_is_of_those_who_move_most() -> None:
    x = positions(12, 4, 0, False)
    spread = np.nanvar(x.reshape(4, -1, 3), axis=1).sum(axis=1)
    first, second = np.argsort(-spread)[:2]
    for absent in ("zeros", "copy", "none"):
        encoder = make(max_people=2, absent_person=absent)
        person = encode(encoder, x, "person")
        np.testing.assert_allclose(encode(encoder, x), person[[first, second]].mean(axis=0), rtol=0, atol=1e-6)
        np.testing.assert_allclose(encode(encoder, x[[first, second]]), encode(encoder, x), rtol=0, atol=1e-6)


@property_test
@given(takes, st.integers(0, 5), st.integers(0, 5), st.integers(0, 2))
def test_what_holds_nobody(x: Array, before: int, after: int, people: int) -> None:
    """Frames without anybody at the ends, and people who are never tracked, change nothing."""
    encoder = make()
    wide = np.pad(x, [(0, people), (before, after), (0, 0), (0, 0)], constant_values=np.nan)
    for pool in ("clip", "joint"):
        np.testing.assert_array_equal(encode(encoder, wide, pool), encode(encoder, x, pool))
    person = encode(encoder, wide, "person")
    np.testing.assert_array_equal(person[: len(x)], encode(encoder, x, "person"))
    assert np.isnan(person[len(x) :]).all() and len(person) == len(x) + people


# --- body height ----------------------------------------------------------------------------------------------------

SEGMENTS = {  # m, of a person of 1.8 m by the table
    ("hip_left", "knee_left"): 0.441,
    ("knee_left", "ankle_left"): 0.4428,
    ("shoulder_right", "elbow_right"): 0.3348,
    ("elbow_right", "wrist_right"): 0.2628,
    ("spine_base", "spine_shoulder"): 0.5184,
}


def standing() -> tuple[Array, NDArray[np.bool_]]:
    """[T, V, 3] and [T, V]: only the joints of ``SEGMENTS`` are tracked, each in a direction of its own."""
    rng = np.random.default_rng(0)
    x, tracked = np.full((5, 25, 3), np.nan, np.float32), np.zeros((5, 25), bool)
    for (a, b), length in SEGMENTS.items():
        start, end = LAYOUT.joints.index(a), LAYOUT.joints.index(b)
        if not tracked[0, start]:
            x[:, start] = rng.normal(size=(5, 3))
        direction = rng.normal(size=(5, 3))
        x[:, end] = x[:, start] + length * direction / np.linalg.norm(direction, axis=1, keepdims=True)
        tracked[:, [start, end]] = True
    return x, tracked


def test_body_height() -> None:
    x, tracked = standing()
    assert body_height(x, tracked, LAYOUT) == pytest.approx(1.8, abs=1e-5)
    assert body_height(x, np.zeros_like(tracked), LAYOUT) is None
    x[3] *= 9  # a glitch in one frame
    assert body_height(x, tracked, LAYOUT) == pytest.approx(1.8, abs=1e-5)
    x, tracked = standing()
    tracked[:, LAYOUT.joints.index("knee_left")] = False
    x[:, LAYOUT.joints.index("knee_left")] = 50
    assert body_height(x, tracked, LAYOUT) == pytest.approx(1.8, abs=1e-5), "only what was tracked"


def test_height_scales_about_the_first_person() -> None:
    x = positions(8, 2, 0, False)
    encoder = make(center="none", height=1.7)
    clip = normalize(Skeleton(x, "ntu25"), encoder.config.preprocessing)
    centre = LAYOUT.joints.index("spine_mid")
    np.testing.assert_allclose(clip.positions[0, 0, centre], x[0, 0, centre], atol=1e-6)
    factor = 1.7 / body_height(x[0], np.ones((8, 25), bool), LAYOUT)
    np.testing.assert_allclose(clip.positions, x[0, 0, centre] + (x - x[0, 0, centre]) * factor, rtol=1e-5, atol=1e-5)
    assert body_height(clip.positions[0], np.ones((8, 25), bool), LAYOUT) == pytest.approx(1.7, abs=1e-4)


def test_height_that_cannot_be_measured(caplog: pytest.LogCaptureFixture) -> None:
    x = positions(8, 1, 0, False)
    x[:, :, [j for j, name in enumerate(LAYOUT.joints) if name != "head"]] = np.nan
    found = make(height=1.7).encode(Skeleton(x, "ntu25", name="take"))
    assert "take: no trunk, arm or leg to measure the body height from; not scaled" in caplog.text
    np.testing.assert_array_equal(found, encode(make(), x))


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("height", 0, r"preprocessing.height: expected a number of at least 0.001, found 0"),
        ("height", "tall", "preprocessing.height: expected a number"),
        ("missing", "zeros", "preprocessing.missing: expected one of 'drop', 'fill'; found 'zeros'"),
    ],
)
def test_bad_configurations(field: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Preprocessing(**{field: value})
