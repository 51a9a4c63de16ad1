"""Several people, each placed alone: how they stand to each other is in the embedding of the clip."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mamp import MAMPConfig, MAMPEncoder, Preprocessing, Skeleton, load
from mamp.errors import ConfigError, LayoutError
from mamp.geometry import face_camera
from mamp.layouts import MODEL_LAYOUT, get_layout
from mamp.relation import SIZE, relation, superpose
from mamp.synthetic import synthesize

Array = NDArray[np.float32]
APART = Preprocessing(facing=True, max_people=None, absent_person="none", apart=True)
JOINTS = MODEL_LAYOUT.joints


def make(preprocessing: Preprocessing = APART) -> MAMPEncoder:
    torch.manual_seed(0)
    config = MAMPConfig(dim_feat=32, depth=1, num_heads=2, num_frames=16, readout_dim=64, preprocessing=preprocessing)
    return MAMPEncoder(config).eval()


@cache
def person(number: int) -> Array:
    """[24, V, 3], upright, facing -z, at the origin."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "take.bvh")
        path.write_text(synthesize(("wave", "punch", "bow")[number], seconds=0.8))
        x = load(path).to_layout("ntu25").positions[:, :24]
    x = face_camera(x, everywhere(x)[0], MODEL_LAYOUT)[0]
    return np.asarray(x - x[0, JOINTS.index("spine_mid")] * [1, 0, 1], np.float32)


def turned(x: Array, angle: float) -> Array:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(x @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]), np.float32)


def face_to_face(distance: float) -> Array:
    """[2, T, V, 3]."""
    return np.stack([person(0), turned(person(1), np.pi) - np.float32([0, 0, distance])])


def encode(positions: Array, encoder: MAMPEncoder | None = None, **options: Any) -> Array:
    return np.asarray((encoder or make()).encode(Skeleton(positions, "ntu25", fps=30), **options))


def everywhere(positions: Array) -> NDArray[np.bool_]:
    return np.ones(positions.shape[:-1], bool)


def numbers(positions: Array) -> dict[str, Array]:
    """Mean, minimum, maximum and change [12] of each series."""
    found = relation(positions, everywhere(positions), MODEL_LAYOUT)
    return dict(zip(("mean", "least", "most", "change"), np.split(found, 4), strict=True))


def test_one_person_is_embedded_as_ever() -> None:
    x = person(0)[None]
    assert np.array_equal(encode(x), encode(x, make(replace(APART, apart=False))))


def test_somebody_who_is_never_tracked_changes_nothing() -> None:
    x = person(0)[None]
    assert np.array_equal(encode(np.concatenate([x, np.full_like(x, np.nan)])), encode(x))


@pytest.mark.parametrize("pool", ["clip", "person", "frame", "joint"])
def test_each_person_is_embedded_as_if_alone(pool: str) -> None:
    pair = face_to_face(1.0)
    alone = [encode(pair[[i]], pool=pool) for i in (0, 1)]
    both = encode(pair, pool=pool)
    if pool == "person":
        expected = np.concatenate(alone)
    else:
        expected = np.mean(alone, axis=0)
        if pool == "clip":
            expected = superpose(expected, relation(pair, everywhere(pair), MODEL_LAYOUT))
    np.testing.assert_allclose(both, expected, rtol=0, atol=1e-5)


def test_neither_order_nor_place_nor_direction_matters() -> None:
    pair = face_to_face(0.8)
    expected = encode(pair)
    assert np.array_equal(encode(pair[::-1].copy()), expected)
    elsewhere = turned(pair, 1.0) + np.float32([2, 0, 3])
    np.testing.assert_allclose(encode(elsewhere), expected, rtol=0, atol=2e-4)
    np.testing.assert_allclose(
        relation(1.3 * pair, everywhere(pair), MODEL_LAYOUT), np.concatenate([*numbers(pair).values()]), atol=1e-4
    )


def test_distance_facing_and_approach_are_told_apart() -> None:
    near, far = numbers(face_to_face(0.8)), numbers(face_to_face(1.6))
    assert (far["mean"][:10] > near["mean"][:10]).all()
    assert near["mean"][10:].min() > 1.5  # face to face; at most 2
    behind = numbers(np.stack([person(0), person(1) - np.float32([0, 0, 1.0])]))
    assert behind["least"][10] < -1.5 and behind["most"][11] > 1.5  # one sees the other's back
    coming = face_to_face(2.0)
    coming[1] += np.linspace(0, 1, coming.shape[1], dtype=np.float32)[:, None, None] * np.float32([0, 0, 1.2])
    assert numbers(coming)["change"][0] < -1 < -0.3 < near["change"][0]


def test_frames_with_both_people_count_and_what_is_alone_is_zero() -> None:
    pair, there = face_to_face(0.8), everywhere(face_to_face(0.8))
    there[1, 12:] = False
    first = relation(pair[:, :12], there[:, :12], MODEL_LAYOUT)
    np.testing.assert_allclose(relation(pair, there, MODEL_LAYOUT), first, atol=1e-5)
    assert not np.allclose(relation(pair, everywhere(pair), MODEL_LAYOUT), first, atol=0.1)
    there[1] = False
    assert not relation(pair, there, MODEL_LAYOUT).any()


def test_of_three_people_all_pairs_count() -> None:
    pair = face_to_face(0.8)
    three = np.concatenate([pair, turned(person(2), 0.3)[None] + np.float32([1, 0, 0])])
    pairs = [relation(three[[i, j]], everywhere(pair), MODEL_LAYOUT) for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(relation(three, everywhere(three), MODEL_LAYOUT), np.mean(pairs, axis=0), atol=1e-6)


def test_numbers_are_added_along_orthogonal_directions() -> None:
    rng = np.random.default_rng(0)
    embedding, some, others = rng.normal(size=256), *rng.normal(size=(2, SIZE))
    apart = superpose(embedding, some) - superpose(embedding, others)
    assert np.linalg.norm(apart) == pytest.approx(np.linalg.norm(some - others), rel=1e-4)


def test_what_it_needs_is_said(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="absent_person: expected 'none' with apart"):
        Preprocessing(apart=True)
    hand = get_layout("hand21")
    with pytest.raises(LayoutError, match="expected apart to be off"):
        relation(np.zeros((2, 4, 21, 3), np.float32), np.ones((2, 4, 21), bool), hand)


def test_heads_on_tokens_place_people_together() -> None:
    plain = make().without_readout()
    assert not plain.config.preprocessing.apart and plain.config.readout_dim is None


def test_without_a_readout_nothing_is_added() -> None:
    torch.manual_seed(0)
    encoder = MAMPEncoder(make().config.replace(readout_dim=None)).eval()
    pair = face_to_face(0.8)
    expected = np.mean([encode(pair[[i]], encoder) for i in (0, 1)], axis=0)
    np.testing.assert_allclose(encode(pair, encoder), expected, rtol=0, atol=1e-5)


def test_apart_is_part_of_the_weights(tmp_path: Any) -> None:
    make().save_pretrained(tmp_path / "weights")
    again = MAMPEncoder.from_pretrained(tmp_path / "weights")
    assert again.config.preprocessing.apart
    pair = face_to_face(0.8)
    assert np.array_equal(encode(pair, again), encode(pair))
    together = encode(pair, again, preprocessing={"apart": False})
    assert not np.allclose(together, encode(pair), atol=1e-2)
