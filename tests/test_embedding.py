"""From recordings to embeddings: pools, batches of mixed recordings, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from mamp import MAMPConfig, MAMPEncoder, Preprocessing, Skeleton
from mamp.config import Pool
from mamp.errors import RecordingError
from mamp.geometry import middle_crop
from mamp.masking import motion_intensity
from mamp.preprocessing import prepare_clip
from mamp.tokens import intensity, most_moving

Array = NDArray[np.float32]
POOLS = get_args(Pool)
ZEROS = Preprocessing()
COPY = Preprocessing(absent_person="copy")
NONE = Preprocessing(absent_person="none", max_people=None)


def make(preprocessing: Preprocessing = ZEROS) -> MAMPEncoder:
    torch.manual_seed(0)
    config = MAMPConfig(dim_feat=32, depth=2, num_heads=4, num_frames=16, preprocessing=preprocessing)
    return MAMPEncoder(config).eval()


def recording(people: int = 1, frames: int = 30, seed: int = 0, layout: str = "ntu25") -> Skeleton:
    joints = 25 if layout == "ntu25" else 20
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 4, frames)[None, :, None, None]
    x = rng.normal(size=(people, 1, joints, 3)) + np.sin(t + rng.uniform(0, 6, (people, 1, joints, 3)))
    return Skeleton(x, layout, fps=30, name=f"clip {seed}")


def mixed() -> list[Skeleton]:
    """One and more people, short and long, another layout, somebody who comes and goes."""
    visitor = recording(2, 41, seed=7)
    x = visitor.positions.copy()
    x[1, 10:25] = np.nan
    return [
        recording(1, 30, 1), recording(2, 17, 2), recording(1, 1, 3), recording(3, 200, 4),
        recording(1, 9, 5, "kinect20"), visitor.replace(positions=x), recording(2, 2, 8),
    ]  # fmt: skip


def tokens_of(encoder: MAMPEncoder, clip: Skeleton) -> Array:
    """[M, t, V, D], straight from the encoder."""
    x, _ = prepare_clip(clip, encoder.config.preprocessing, encoder.config.num_frames)
    with torch.no_grad():
        return np.asarray(encoder(torch.from_numpy(x)[None])[0].numpy())


@pytest.mark.parametrize("preprocessing", [ZEROS, COPY, NONE], ids=["zeros", "copy", "none"])
@pytest.mark.parametrize("people", [1, 2])
def test_pools_are_means_of_tokens(preprocessing: Preprocessing, people: int) -> None:
    encoder, clip = make(preprocessing), recording(people)
    tokens = tokens_of(encoder, clip)
    assert len(tokens) == (people if preprocessing is NONE else 2)
    found = {pool: encoder.encode(clip, pool=pool) for pool in POOLS}
    expected = {
        "clip": tokens.mean(axis=(0, 1, 2)),
        "person": tokens[:people].mean(axis=(1, 2)),
        "joint": tokens.mean(axis=(0, 1)),
        "tokens": tokens,
    }
    for pool, value in expected.items():
        np.testing.assert_allclose(found[pool], value, rtol=0, atol=1e-5, err_msg=pool)
        assert found[pool].dtype == np.float32
    assert {pool: value.shape for pool, value in found.items()} == {
        "clip": (32,), "person": (people, 32), "frame": (30, 32), "joint": (25, 32), "tokens": (len(tokens), 4, 25, 32),
    }  # fmt: skip


@pytest.mark.parametrize("how", ["max", "std"])
def test_other_ways_to_pool(how: str) -> None:
    """Over the tokens of a person, frame or joint; over people it is the mean. With and without absent tokens."""
    encoder = make(NONE)
    encoder.config = encoder.config.replace(pooling=how)
    reduce = {"max": np.nanmax, "std": np.nanstd}[how]
    whole = recording(2)
    x = whole.positions.copy()
    x[0, :, 5] = x[1, :20] = np.nan
    for clip in (whole, whole.replace(positions=x)):
        tokens = np.asarray(encoder.encode(clip, pool="tokens"))
        of_persons = np.stack([reduce(person.reshape(-1, 32), axis=0) for person in tokens])
        close = {"rtol": 0, "atol": 1e-5}
        np.testing.assert_allclose(encoder.encode(clip, pool="person"), of_persons, **close)
        np.testing.assert_allclose(encoder.encode(clip), of_persons.mean(axis=0), **close)
        by_joint = np.stack([[reduce(person[:, v], axis=0) for v in range(25) if v != 5] for person in tokens])
        np.testing.assert_allclose(
            np.delete(encoder.encode(clip, pool="joint"), 5, axis=0), by_joint.mean(axis=0), **close
        )
    assert np.abs(encoder.encode(whole) - tokens_of(encoder, whole).mean(axis=(0, 1, 2))).max() > 0.1
    nobody = np.asarray(
        encoder.encode(whole.replace(positions=np.where(np.arange(25)[:, None] == 3, np.nan, x)), pool="joint")
    )
    assert np.isnan(nobody[3]).all() and np.isfinite(nobody[4]).all()


def test_absent_person_takes_part_in_the_mean() -> None:
    """As the published weights expect, an absent person counts in the mean over people."""
    clip = recording(1)
    zeros, copy, none = (make(p).encode(clip) for p in (ZEROS, COPY, NONE))
    absent = tokens_of(make(), recording(1))[1].mean(axis=(0, 1))
    np.testing.assert_allclose(zeros, (none + absent) / 2, atol=1e-5)
    np.testing.assert_allclose(copy, none, atol=1e-5)
    assert abs(zeros - none).max() > 0.01


@pytest.mark.parametrize("frames", [1, 2, 15, 16, 17, 300])
@pytest.mark.parametrize("crop", [1.0, 0.95, 0.5])
def test_frames(frames: int, crop: float) -> None:
    encoder = make(dataclasses.replace(ZEROS, crop=crop))
    clip = recording(2, frames)
    found = encoder.encode(clip, pool="frame")
    assert found.shape == (frames, 32)
    steps = torch.from_numpy(tokens_of(encoder, clip).mean(axis=(0, 2)))
    start, length = middle_crop(frames, crop)
    inside = F.interpolate(steps.T[None], size=length, mode="linear", align_corners=False)[0].T.numpy()
    np.testing.assert_allclose(found[start : start + length], inside, atol=1e-5)
    np.testing.assert_allclose(found[:start], np.repeat(inside[:1], start, axis=0), atol=1e-5)
    np.testing.assert_allclose(
        found[start + length :], np.repeat(inside[-1:], frames - start - length, axis=0), atol=1e-5
    )


def test_frames_in_which_nobody_is_seen() -> None:
    encoder = make(dataclasses.replace(ZEROS, crop=1.0))
    whole = recording(1, 40)
    x = whole.positions.copy()
    x[:, [0, 1, 20, 21, 39]] = np.nan
    found = encoder.encode(whole.replace(positions=x), pool="frame")
    expected = encoder.encode(whole.replace(positions=x[:, 2:39]), pool="frame")
    assert found.shape == (40, 32)
    np.testing.assert_allclose(found[2:39], expected, atol=1e-5)
    np.testing.assert_allclose(found[[0, 1]], expected[[0, 0]], atol=1e-5)
    np.testing.assert_allclose(found[39], expected[-1], atol=1e-5)
    zeros = torch.from_numpy(np.nan_to_num(x[:, 2:39] - x[0, 2, 1]))[None]  # joint 1: spine_mid
    zeros[0, 0, [18, 19]] = 0
    clip = prepare_clip(whole.replace(positions=x), encoder.config.preprocessing, 37)[0]
    np.testing.assert_allclose(clip[:1], zeros[0], atol=1e-5)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("preprocessing", [ZEROS, COPY, NONE], ids=["zeros", "copy", "none"])
def test_many_are_as_one_by_one(pool: Pool, preprocessing: Preprocessing) -> None:
    encoder, clips = make(preprocessing), mixed()
    alone = [encoder.encode(clip, pool=pool) for clip in clips]
    for batch_size in (1, 3, 100):
        together = encoder.encode(clips, pool=pool, batch_size=batch_size)
        assert isinstance(together, np.ndarray) == (pool in ("clip", "joint"))
        assert len(together) == len(clips)
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_allclose(other, one, rtol=0, atol=1e-5)
    assert np.shape(encoder.encode(clips[:1], pool="clip")) == (1, 32)


def test_order_of_recordings_does_not_matter() -> None:
    encoder, clips = make(), mixed()
    forwards, backwards = encoder.encode(clips), np.asarray(encoder.encode(clips[::-1]))[::-1]
    np.testing.assert_allclose(forwards, backwards, atol=1e-5)


def test_layout_does_not_matter_where_joints_are_the_same() -> None:
    encoder, clip = make(), recording(2)
    order = np.random.default_rng(0).permutation(25)
    names = [clip.layout.joints[i] for i in order]
    shuffled = Skeleton(clip.positions[:, :, order], names, fps=30)
    np.testing.assert_allclose(encoder.encode(shuffled), encoder.encode(clip), atol=1e-6)


def test_place_does_not_matter() -> None:
    encoder, clip = make(), recording(2)
    moved = clip.replace(positions=clip.positions + np.float32(2))
    np.testing.assert_allclose(encoder.encode(moved), encoder.encode(clip), atol=1e-4)
    fixed = make(dataclasses.replace(ZEROS, center="none"))
    assert abs(fixed.encode(moved) - fixed.encode(clip)).max() > 0.01


def test_nothing_to_encode() -> None:
    encoder = make()
    assert np.asarray(encoder.encode([])).shape == (0, 32)
    assert encoder.encode([], pool="frame") == []


def test_nothing_to_encode_by_joint() -> None:
    assert np.asarray(make().encode([], pool="joint")).shape == (0, 25, 32)


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_gradients_are_left_as_they_were(training: bool) -> None:
    encoder = make().train(training)
    first = encoder.encode(recording())
    assert encoder.training is training and torch.is_grad_enabled()
    assert all(p.grad is None and p.requires_grad for p in encoder.parameters())
    np.testing.assert_array_equal(first, make().encode(recording()))
    nobody = recording().replace(positions=np.full((1, 3, 25, 3), np.nan))
    with pytest.raises(RecordingError, match="clip 0: expected at least one tracked joint"):
        encoder.encode([recording(), nobody])
    assert encoder.training is training


def test_drop_path_is_off_in_encode() -> None:
    torch.manual_seed(0)
    encoder = MAMPEncoder(make().config, drop_path_rate=0.9).train()
    encoder.load_state_dict(make().state_dict())
    np.testing.assert_array_equal(encoder.encode(recording()), make().encode(recording()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_of_weights(dtype: torch.dtype) -> None:
    found = make().to(dtype).encode(mixed())
    expected = make().encode(mixed())
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5 if dtype == torch.float64 else 0.1)


def test_progress(capfd: pytest.CaptureFixture[str]) -> None:
    encoder = make()
    encoder.encode(mixed(), batch_size=2)
    assert capfd.readouterr() == ("", "")
    encoder.encode(mixed(), batch_size=2, progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "7/7" in err


@pytest.mark.parametrize(
    "what, options, message",
    [
        ("walk.bvh", {}, r"expected a mamp.Skeleton, found str. Read files with mamp.load"),
        ([np.zeros((4, 25, 3))], {}, r"expected a mamp.Skeleton, found ndarray.*mamp.Skeleton\(positions"),
        (np.zeros((4, 25, 3)), {}, r"expected a mamp.Skeleton, found ndarray"),
        ([recording(), None], {}, r"expected a mamp.Skeleton, found NoneType"),
        (recording(), {"pool": "mean"}, r"pool: expected one of clip, person, frame, joint, tokens; found 'mean'"),
        (recording(), {"batch_size": 0}, r"batch_size: expected at least 1, found 0"),
        ([], {"batch_size": -1}, r"batch_size: expected at least 1, found -1"),
        ([], {"batch_size": 2.5}, r"batch_size: expected a whole number, found 2.5"),
        ([], {"batch_size": True}, r"batch_size: expected a whole number, found True"),
        (recording(), {"token_share": "half"}, r"token_share: expected more than 0 and at most 1, found 'half'"),
    ],
)
def test_refused(what: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        make().encode(what, **options)


@pytest.mark.parametrize("what", [None, 3])
def test_refused_when_nothing_to_iterate(what: Any) -> None:
    with pytest.raises(RecordingError, match=f"expected a mamp.Skeleton.*found {type(what).__name__}"):
        make().encode(what)


def test_any_iterable_of_recordings() -> None:
    clips = mixed()
    found: Any = make().encode(clip for clip in clips)  # type: ignore[call-overload]
    np.testing.assert_allclose(found, make().encode(clips), atol=1e-6)


# --- faster and approximate -----------------------------------------------------------------------------------------


def test_bfloat16() -> None:
    encoder, clips = make(), mixed()
    exact, rough = np.asarray(encoder.encode(clips)), np.asarray(encoder.encode(clips, precision="bfloat16"))
    assert rough.dtype == np.float32 and not np.array_equal(rough, exact)
    spread = np.mean([np.linalg.norm(a - b) for i, a in enumerate(exact) for b in exact[:i]])
    assert np.linalg.norm(rough - exact, axis=1).mean() < 0.05 * spread
    np.testing.assert_array_equal(encoder.encode(clips), exact, err_msg="nothing rough is kept")


def test_autocast_of_the_caller_is_kept() -> None:
    encoder = make()
    expected = encoder.encode(recording(), precision="bfloat16")
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(encoder.encode(recording()), expected)


def test_tokens_that_move_most_are_looked_at() -> None:
    """A body of which only some tokens move: they are the ones that are encoded."""
    encoder = make(NONE)
    x = torch.randn(1, 1, 25, 3).repeat(1, 16, 1, 1)
    moving = [3, 7, 11]
    x[:, :, moving] += torch.randn(1, 16, 3, 3)
    there = np.ones((1, 100), bool)
    chosen = most_moving(x.numpy(), there, encoder.config, 12 / 100)
    assert np.flatnonzero(chosen[0]).tolist() == sorted(t * 25 + v for t in range(4) for v in moving)
    assert most_moving(x.numpy(), there, encoder.config, 1e-9).sum() == 1
    assert np.flatnonzero(most_moving(0 * x.numpy() + 1, there, encoder.config, 0.1)[0]).tolist() == list(range(10))
    assert most_moving(0 * x.numpy(), there, encoder.config, 0.1).all(), "nobody is encoded as ever"


def test_intensity_is_that_of_the_masks() -> None:
    config = MAMPConfig(num_frames=16, num_joints=24, patch_size=2)
    for frames in (16, 4):
        x = torch.randn(3, frames, 24, 3)
        found = intensity(x.numpy(), config.replace(num_frames=frames))
        torch.testing.assert_close(torch.from_numpy(found), motion_intensity(x, 4, 2))


def ids_of(body: torch.Tensor, encoder: MAMPEncoder, share: float) -> torch.Tensor:
    there = np.ones((1, encoder.config.num_tokens), bool)
    return torch.from_numpy(most_moving(body[None].numpy(), there, encoder.config, share)).nonzero()[None, :, 1]


@pytest.mark.parametrize("preprocessing", [ZEROS, COPY, NONE], ids=["zeros", "copy", "none"])
def test_share_of_tokens(preprocessing: Preprocessing) -> None:
    encoder = make(preprocessing)
    clips = [clip for clip in mixed() if np.isfinite(clip.positions).all()]
    found = np.asarray(encoder.encode(clips, token_share=0.25))
    for clip, vector in zip(clips, found, strict=True):
        x, normalized = prepare_clip(clip, preprocessing, 16)
        bodies = torch.from_numpy(x)
        with torch.no_grad():
            people = [
                encoder.encode_tokens(one[None], ids_of(one, encoder, 0.25)).mean(dim=(0, 1))
                if bool(one.any())
                else encoder.encode_tokens(one[None]).mean(dim=(0, 1))
                for one in bodies
            ]
        np.testing.assert_allclose(vector, torch.stack(people).mean(dim=0), rtol=0, atol=1e-5)
        by_person = encoder.encode(clip, pool="person", token_share=0.25)
        taken = torch.stack(people[: normalized.num_present])
        np.testing.assert_allclose(by_person[normalized.people], taken, rtol=0, atol=1e-5)
    assert abs(found - np.asarray(encoder.encode(clips))).max() > 1e-3
    np.testing.assert_array_equal(encoder.encode(clips, token_share=1.0), encoder.encode(clips))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"precision": "float16"}, r"precision: expected 'bfloat16' or None, found 'float16'"),
        ({"token_share": 0}, r"token_share: expected more than 0 and at most 1, found 0"),
        ({"token_share": 1.5}, r"token_share: expected more than 0 and at most 1, found 1.5"),
        ({"token_share": float("nan")}, r"token_share: expected more than 0"),
        ({"token_share": 0.5, "pool": "frame"}, r"token_share: expected 1 with pool 'frame', found 0.5"),
    ],
)
def test_refused_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        make().encode(recording(), **options)


def test_a_generator_is_consumed_a_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, alive, most = make(), 0, 0

    class Counted(Skeleton):
        def __init__(self, *args: Any, **options: Any) -> None:
            nonlocal alive, most
            super().__init__(*args, **options)
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    clips = [recording(1, 20, seed=i) for i in range(10)]
    made = (Counted(clip.positions, clip.layout, clip.fps) for clip in clips)
    found = encoder.encode(made, batch_size=2)
    np.testing.assert_array_equal(found, encoder.encode(clips, batch_size=2))
    assert most <= 4
    with pytest.raises(RecordingError, match=r"expected a mamp.Skeleton, found int"):
        encoder.encode(iter([clips[0], 5]))  # type: ignore[list-item]
    assert encoder.encode(iter([])).shape == (0, encoder.config.embedding_dim)


def test_a_batch_larger_than_any_machine() -> None:
    encoder = MAMPEncoder(MAMPConfig(dim_feat=16, depth=1, num_heads=2)).eval()
    clips = [recording(1, 10)] * 2
    np.testing.assert_array_equal(encoder.encode(clips, batch_size=10**400), encoder.encode(clips, batch_size=2))
