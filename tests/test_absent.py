"""What was not tracked is left out of the encoder, not invented."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mamp import MAMPConfig, MAMPEncoder, Preprocessing, Skeleton, get_layout
from mamp.inference import equal_counts
from mamp.preprocessing import NormalizedClip, normalize, prepare_clip, token_presence
from mamp.tokens import most_moving

Array = NDArray[np.float32]
JOINTS = get_layout("ntu25").joints
ALL = Preprocessing(max_people=None, absent_person="none", crop=1.0)
POOLS = ("clip", "person", "frame", "joint", "tokens")


def make(preprocessing: Preprocessing = ALL, **changes: Any) -> MAMPEncoder:
    torch.manual_seed(0)
    config = MAMPConfig(dim_feat=16, depth=2, num_heads=2, num_frames=16, preprocessing=preprocessing)
    return MAMPEncoder(config.replace(**changes)).eval()


def positions(frames: int = 16, people: int = 1, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(people, 1, 25, 3)) + 0.05 * rng.normal(size=(people, frames, 25, 3)).cumsum(axis=1)
    return np.asarray(x, np.float32)


def presence(x: Array, config: MAMPConfig | None = None) -> NDArray[np.bool_]:
    """[M, t, V] of a recording."""
    config = config or make().config
    there = token_presence(normalize(Skeleton(x, "ntu25"), config.preprocessing), config)
    t, v = config.grid
    return there.reshape(-1, t, v)


def by_hand(encoder: MAMPEncoder, x: Array) -> tuple[Tensor, NDArray[np.bool_]]:
    """Tokens [M, t, V, D], NaN where absent, of each person alone; and which are there."""
    there = presence(x, encoder.config)
    clip, _ = prepare_clip(Skeleton(x, "ntu25"), encoder.config.preprocessing, encoder.config.num_frames)
    clips = torch.from_numpy(clip).to(encoder.dtype)
    tokens = torch.full((*there.shape, encoder.config.dim_feat), torch.nan, dtype=encoder.dtype)
    for person, kept in enumerate(there):
        ids = torch.from_numpy(kept.reshape(-1)).nonzero()[:, 0]
        with torch.no_grad():
            tokens[person][torch.from_numpy(kept)] = encoder.encode_tokens(clips[person : person + 1], ids[None])[0]
    return tokens, there


# --- which tokens are there -----------------------------------------------------------------------------------------


def test_all_are_there() -> None:
    assert presence(positions(people=2)).shape == (2, 4, 25) and presence(positions(people=2)).all()
    x = positions()
    x[0, :, 3] = np.nan
    assert presence(x, make(dataclasses.replace(ALL, missing="fill")).config).all()


def test_one_position_of_a_token_is_enough() -> None:
    x = positions()
    x[0, 0:3, 3] = np.nan  # three of the four frames of token 0
    x[0, 4:8, 5] = np.nan  # all of token 1
    x[0, 3:9, 7] = np.nan  # all of token 1, and one frame of its neighbours
    x[0, :, 9] = np.nan
    expected = np.ones((1, 4, 25), bool)
    expected[0, 1, [5, 7]] = expected[0, :, 9] = False
    np.testing.assert_array_equal(presence(x), expected)


def test_all_coordinates_are_needed() -> None:
    x = positions()
    x[0, :, 9, 1] = np.nan
    assert not presence(x)[0, :, 9].any()


def test_of_a_resized_clip() -> None:
    """What counts is the recorded frames that a token is interpolated from."""
    x = positions(32)  # two frames become one, halfway between them: token 1 is made of frames 8 to 15
    x[0, 8:15, 3] = np.nan
    x[0, 8:16, 5] = np.nan
    there = presence(x)[0]
    assert there[1, 3] and not there[1, 5] and there.sum() == 99
    x = positions(8)  # a frame becomes two: token 1 is made of frames 1 to 4
    x[0, 2:5, 3] = np.nan
    x[0, 1:5, 5] = np.nan
    there = presence(x)[0]
    assert there[1, 3] and not there[1, 5] and there.sum() == 99
    x = positions(64)  # of four frames two are looked at: token 1 is made of 17, 18, 21, 22, 25, 26, 29 and 30
    x[0, [17, 18, 21, 22, 25, 26, 29, 30], 5] = np.nan
    assert not presence(x)[0, 1, 5] and presence(x).sum() == 99


def test_cut_frames_do_not_count() -> None:
    x = positions(20)
    x[0, [0, 1, 2, 3, 16, 17, 18, 19], 3] = np.nan
    config = make(dataclasses.replace(ALL, crop=0.6)).config
    assert presence(x, config).all()


def test_tokens_of_several_joints() -> None:
    x = positions()
    x[0, :, [0, 1, 2, 3, 4, 10, 11]] = np.nan
    config = make(patch_size=5).config
    np.testing.assert_array_equal(presence(x, config)[0], [[False, True, True, True, True]] * 4)


@pytest.mark.parametrize("stream", ["bone", "motion", "bone_motion"])
def test_streams(stream: Any) -> None:
    config = make(dataclasses.replace(ALL, stream=stream)).config
    x = positions()
    x[0, :, JOINTS.index("elbow_left")] = np.nan
    x[0, 5:9, JOINTS.index("head")] = np.nan  # frame 4 is there, its motion to the next is not
    there = presence(x, config)[0]
    gone = {JOINTS[joint] for joint in np.flatnonzero(~there.any(axis=0))}
    assert gone == ({"elbow_left", "wrist_left"} if stream.startswith("bone") else {"elbow_left"})
    assert there[:, JOINTS.index("head")].tolist() == [True, not stream.endswith("motion"), True, True]


def test_one_who_is_not_in_what_is_looked_at() -> None:
    x = positions(160, people=2)
    x[0, :1] = np.nan
    x[0, 2:] = np.nan  # seen in frame 1 of 160, which no frame of 16 looks at
    assert presence(x).all(), "the pose is held"
    assert np.isfinite(make().encode(Skeleton(x, "ntu25"), pool="person")).all()


def test_published_zeros_are_there() -> None:
    x = positions(people=2)
    x[1, :8] = np.nan
    x[0, :, 3] = np.nan
    for absent in ("zeros", "copy"):
        there = presence(x, make(Preprocessing(absent_person=absent, crop=1.0)).config)
        assert there[1].all() and not there[0, :, 3].any()
    assert not presence(x)[1, :2].any()


def test_copy_lacks_what_the_first_lacks() -> None:
    x = positions()
    x[0, :, 3] = np.nan
    there = token_presence(
        normalize(Skeleton(x, "ntu25"), Preprocessing(absent_person="copy")),
        make(Preprocessing(absent_person="copy")).config,
    )
    assert np.array_equal(there[0], there[1]) and not there.all()


def test_equal_counts() -> None:
    there = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1], [1, 0, 0, 0]], dtype=torch.bool)
    groups = {ids.shape[1]: (rows.tolist(), ids.tolist()) for rows, ids in equal_counts(there)}
    assert groups == {1: ([3], [[0]]), 2: ([0, 2], [[0, 1], [1, 3]]), 4: ([1], [[0, 1, 2, 3]])}


# --- what the encoder makes of them ---------------------------------------------------------------------------------


def holes(people: int = 1, seed: int = 0, frames: int = 16) -> Array:
    rng = np.random.default_rng(seed)
    x = positions(frames, people, seed)
    x[rng.random(x.shape[:3]) < 0.3] = np.nan
    x[:, :, rng.permutation(25)[: seed % 4]] = np.nan
    return x


def test_what_is_absent_has_no_influence() -> None:
    """Whatever would be put in the place of what was not tracked, the embedding is the same."""
    encoder, x = make(), positions()
    hand = JOINTS.index("hand_tip_left")  # nothing hangs on it
    x[0, :, hand] = np.nan
    clip = normalize(Skeleton(x, "ntu25"), ALL)
    found = encoder.encode(Skeleton(x, "ntu25"))
    tokens, _ = by_hand(encoder, x)
    for filled in (0.0, 7.0):
        other = clip.positions.copy()
        other[0, :, hand] = filled
        ids = torch.from_numpy(np.flatnonzero(presence(x)))
        with torch.no_grad():
            again = encoder.encode_tokens(torch.from_numpy(other), ids[None])
        np.testing.assert_allclose(again.mean(dim=1)[0], found, rtol=0, atol=1e-6)
    assert abs(encoder.encode(Skeleton(x, "ntu25"), preprocessing={"missing": "fill"}) - found).max() > 1e-3
    assert tokens.isnan().any()


@pytest.mark.parametrize("people", [1, 3])
@pytest.mark.parametrize("seed", [1, 2])
def test_pools_are_means_of_what_is_there(people: int, seed: int) -> None:
    encoder, x = make().double(), holes(people, seed)  # in float32 processors differ by more than the bound
    tokens, there = by_hand(encoder, x)
    found = {pool: encoder.encode(Skeleton(x, "ntu25"), pool=pool) for pool in POOLS}
    person = tokens.flatten(1, 2).nanmean(dim=1)
    expected = {
        "clip": person.mean(dim=0),
        "person": person,
        "frame": tokens.nanmean(dim=2).nanmean(dim=0).repeat_interleave(4, dim=0),
        "joint": tokens.nanmean(dim=1).nanmean(dim=0),
        "tokens": tokens,
    }
    assert not there.all()
    for pool in ("clip", "person", "joint", "tokens"):
        np.testing.assert_allclose(found[pool], expected[pool], rtol=0, atol=1e-6, err_msg=pool)
    assert found["frame"].shape == (16, 16) and np.isfinite(found["frame"]).all()
    np.testing.assert_allclose(found["frame"][[0, -1]], expected["frame"][[0, -1]], rtol=0, atol=1e-6)


def test_share_of_the_tokens_that_are_there() -> None:
    encoder, x = make(), holes(people=2)
    clip = torch.from_numpy(prepare_clip(Skeleton(x, "ntu25"), ALL, 16)[0])
    expected = []
    for person, there in enumerate(torch.from_numpy(presence(x)).flatten(1)):
        chosen = most_moving(clip[person : person + 1].numpy(), there[None].numpy(), encoder.config, 0.5)
        kept = torch.from_numpy(chosen).nonzero()[None, :, 1]
        assert kept.shape == (1, int(there.sum()) // 2) and bool(there[kept[0]].all())
        with torch.no_grad():
            expected.append(encoder.encode_tokens(clip[person : person + 1], kept).mean(dim=1)[0])
    found = encoder.encode(Skeleton(x, "ntu25"), pool="person", token_share=0.5)
    np.testing.assert_allclose(found, torch.stack(expected), rtol=0, atol=1e-6)


def test_a_joint_that_nobody_has_is_nan() -> None:
    x = positions(people=2)
    x[:, :, 3] = np.nan
    x[0, :, 5] = np.nan
    found = make().encode(Skeleton(x, "ntu25"), pool="joint")
    assert np.isnan(found[3]).all() and np.isfinite(np.delete(found, 3, axis=0)).all()
    filled = make().encode(Skeleton(x, "ntu25"), pool="joint", preprocessing={"missing": "fill"})
    assert np.isfinite(filled).all()


def test_times_without_tokens_lie_between_their_neighbours() -> None:
    x = positions()
    x[0, 4:8, 1:] = np.nan
    x[0, 4:7] = np.nan  # one joint of one frame is left of step 1
    encoder = make()
    found = encoder.encode(Skeleton(x, "ntu25"), pool="frame")
    assert np.isfinite(found).all()


def test_one_who_comes_late_is_encoded_over_their_own_time() -> None:
    encoder, x = make(dataclasses.replace(ALL, center="none")), positions(people=2)
    x[1, :8] = np.nan
    x[1, 12:] = np.nan
    tokens = encoder.encode(Skeleton(x, "ntu25"), pool="tokens")
    assert np.isfinite(tokens[0]).all()
    np.testing.assert_array_equal(np.isnan(tokens[1]).all(axis=(1, 2)), [True, True, False, True])
    steps, _ = by_hand(encoder, x)
    np.testing.assert_allclose(tokens[1, 2], steps[1, 2], rtol=0, atol=1e-6)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 40), st.integers(1, 40)), min_size=2, max_size=5))
def test_batches_of_mixed_patterns_are_as_each_alone(clips: list[tuple[int, int, int]]) -> None:
    encoder = make()
    takes = [
        Skeleton(holes(people, seed, frames) if seed % 5 else positions(frames, people, seed), "ntu25")
        for people, seed, frames in clips
    ]
    for pool in ("clip", "tokens"):
        together = encoder.encode(takes, pool=pool, batch_size=4)
        for take, found in zip(takes, together, strict=True):
            np.testing.assert_allclose(found, encoder.encode(take, pool=pool), rtol=0, atol=1e-6)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("absent, people", [("none", None), ("zeros", 2), ("copy", 2)])
def test_batches_of_every_convention(pool: Any, absent: Any, people: int | None) -> None:
    encoder = make(Preprocessing(max_people=people, absent_person=absent))
    takes = [Skeleton(holes(1 + seed % 3, seed), "ntu25") for seed in range(4)]
    takes += [Skeleton(positions(20, people=count), "ntu25") for count in (1, 2)]
    for take, found in zip(takes, encoder.encode(takes, pool=pool), strict=True):
        np.testing.assert_allclose(found, encoder.encode(take, pool=pool), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_of_weights(dtype: torch.dtype) -> None:
    take = Skeleton(holes(), "ntu25")
    found = make().to(dtype).encode(take)
    np.testing.assert_allclose(found, make().encode(take), atol=1e-5 if dtype == torch.float64 else 0.1)


def test_layouts_that_cannot_give_all_joints() -> None:
    x = np.random.default_rng(0).normal(size=(16, 17, 3))
    take = Skeleton(x, "h36m17")
    absent = take.layout.absent(get_layout("ntu25"))
    found = make().encode(take, pool="joint")
    assert absent and {JOINTS[joint] for joint in np.flatnonzero(np.isnan(found).all(axis=1))} == set(absent)


def test_fill_is_as_before() -> None:
    """With missing="fill", positions are put in, and every token is there."""
    encoder, x = make(dataclasses.replace(ALL, missing="fill")), holes(people=2)
    clip, _ = prepare_clip(Skeleton(x, "ntu25"), encoder.config.preprocessing, 16)
    with torch.no_grad():
        expected = encoder(torch.from_numpy(clip)[None])[0].numpy()
    np.testing.assert_allclose(encoder.encode(Skeleton(x, "ntu25"), pool="tokens"), expected, rtol=0, atol=1e-6)


# --- what the clip is centred, turned and scaled by -----------------------------------------------------------------


def placed(x: Array, **changes: Any) -> NormalizedClip:
    return normalize(Skeleton(x, "ntu25"), dataclasses.replace(ALL, **changes))


def test_centre_is_where_it_was_first_tracked() -> None:
    x, centre = positions(), JOINTS.index("spine_mid")
    x[0, :5, centre] = np.nan
    np.testing.assert_allclose(placed(x).positions[0, 9], x[0, 9] - x[0, 5, centre], atol=1e-6)


@pytest.mark.parametrize("lost", [["hip_left"], ["shoulder_right"], ["hip_left", "hip_right"]])
def test_facing_is_from_what_was_tracked(lost: list[str]) -> None:
    """Hips and shoulders that point elsewhere do not count in frames where one of the two was not tracked."""
    x = positions()
    hips = [JOINTS.index(side) for side in ("hip_right", "hip_left")]
    shoulders = [JOINTS.index(side) for side in ("shoulder_right", "shoulder_left")]
    x[0, :, hips[1]] = x[0, :, shoulders[1]] = 0
    x[0, :, hips[0]] = x[0, :, shoulders[0]] = [-1, 0, 0]  # so the person looks along +z
    joints = [JOINTS.index(joint) for joint in lost]
    pair = hips if "hip_left" in lost else shoulders
    x[0, 8:, pair] = x[0, 8:, pair] @ np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float32)
    x[0, 8:, joints] = np.nan
    found = placed(x, facing=True).positions
    across = found[0, :8, shoulders[0]] - found[0, :8, shoulders[1]]
    np.testing.assert_allclose(across, np.broadcast_to([1, 0, 0], across.shape), atol=1e-5)


def test_facing_without_hips_and_shoulders_turns_nothing() -> None:
    x = positions()
    x[0, :, [JOINTS.index(joint) for joint in ("hip_left", "shoulder_right")]] = np.nan
    np.testing.assert_array_equal(placed(x, facing=True).positions, placed(x).positions)
