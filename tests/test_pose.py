"""The pose that a readout takes beside the tokens: its numbers, what is unknown of them, ways to embed, exports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from train_helpers import make_store

import mamp.export
from mamp import MAMPConfig, MAMPEncoder, Preprocessing, Skeleton
from mamp.cli import main
from mamp.data import ClipStore
from mamp.distillation import Distillation
from mamp.errors import ConfigError, WeightsError
from mamp.hub import fingerprint
from mamp.pose import pose_numbers
from mamp.pretraining import Objective
from mamp.train.average import average_encoders
from mamp.train.readout import ReadoutSettings, add_readout

SETTINGS = ReadoutSettings(dim=6, clips=64, window=(8, 24), pose=True)
ALL = Preprocessing(max_people=None, absent_person="none", crop=1.0)
CENTRE = 1  # spine_mid


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def plain() -> MAMPEncoder:
    torch.manual_seed(0)
    return MAMPEncoder(MAMPConfig(dim_feat=16, depth=1, num_heads=2, num_frames=16, preprocessing=ALL)).eval()


@pytest.fixture(scope="module")
def encoder(plain: MAMPEncoder, store: Path) -> MAMPEncoder:
    return add_readout(plain, ClipStore(store), SETTINGS)


def recording(people: int = 1, frames: int = 24, seed: int = 0) -> Skeleton:
    rng = np.random.default_rng(seed)
    return Skeleton(rng.normal(size=(people, frames, 25, 3)).cumsum(axis=1) / 10, "ntu25", 30)


def added(encoder: MAMPEncoder, clip: Skeleton, **options: Any) -> np.ndarray:
    """What the pose makes of the embedding."""
    return np.asarray(encoder.encode(clip, **options) - encoder.without_pose().encode(clip, **options))


def test_numbers_are_the_mean_and_spread_of_what_is_known() -> None:
    x = torch.randn(2, 8, 25, 3, generator=torch.Generator().manual_seed(0))
    known = torch.ones(2, 8, 25, dtype=torch.bool)
    known[1, :3, 5], known[1, :, 6] = False, False
    mean, spread = rearrange(pose_numbers(x, known, CENTRE), "n (two v c) -> two n v c", two=2, v=25)
    relative = x - x[:, :, CENTRE : CENTRE + 1]
    torch.testing.assert_close(mean[0], relative[0].mean(0))
    torch.testing.assert_close(spread[0], relative[0].std(0, correction=0))
    torch.testing.assert_close(mean[1, 5], relative[1, 3:, 5].mean(0))
    torch.testing.assert_close(spread[1, 5], relative[1, 3:, 5].std(0, correction=0))
    assert mean[1, 6].isnan().all() and spread[1, 6].isnan().all() and not mean[1, 7].isnan().any()
    moved = pose_numbers(x + torch.randn(2, 8, 1, 3), known, CENTRE)
    torch.testing.assert_close(moved[0], torch.cat([mean[0].flatten(), spread[0].flatten()]), rtol=1e-4, atol=1e-5)


def test_the_pose_is_fitted_beside_the_tokens(encoder: MAMPEncoder, plain: MAMPEncoder) -> None:
    assert set(encoder.state_dict()) - set(plain.state_dict()) == {
        "readout.weight", "readout.bias", "pose.weight", "pose.mean",
    }  # fmt: skip
    assert encoder.config.readout_pose and encoder.pose is not None and encoder.config.pose_dim == 150
    assert not any("pose" in name for name, _ in encoder.named_parameters()), "it is not trained"
    assert encoder.pose.weight.abs().sum() > 0
    clip = recording()
    for options in ({}, {"pool": "person"}, {"pool": "frame"}, {"window": 12}):
        assert np.abs(added(encoder, clip, **options)).max() > 0.01, options
    assert not added(encoder, clip, pool="joint").any()
    assert not (encoder.encode(clip, pool="tokens") - plain.encode(clip, pool="tokens")).any()


def test_the_pose_stands_still_where_the_body_goes(encoder: MAMPEncoder) -> None:
    clip = recording()
    walk = np.linspace(0, 3, 24)[None, :, None, None] * np.array([1, 0, 0])
    away = clip.replace(positions=clip.positions + walk.astype(np.float32))
    np.testing.assert_allclose(added(encoder, away), added(encoder, clip), atol=1e-4)
    assert np.abs(encoder.encode(away) - encoder.encode(clip)).max() > 0.01, "tokens do see it"


def test_people_are_averaged(encoder: MAMPEncoder) -> None:
    pair = recording(people=2)
    each = encoder.encode(pair, pool="person")
    np.testing.assert_allclose(encoder.encode(pair), each.mean(axis=0), atol=1e-5)


def test_a_joint_that_is_not_there_counts_as_the_average(encoder: MAMPEncoder) -> None:
    clip = recording()
    assert encoder.pose is not None
    changed = clip.positions.copy()
    changed[:, :, 7] = np.nan
    x, there = torch.zeros(1, 16, 25, 3), torch.ones(1, 100, dtype=torch.bool)
    rearrange(there, "1 (t v) -> t v", v=25)[:, 7] = False
    x[:, :, 7] = 1e3
    first = encoder.pose(x, there)
    x[:, :, 7] = -1e3
    torch.testing.assert_close(encoder.pose(x, there), first)
    with_mean = encoder.pose.mean.clone()
    numbers = encoder.pose.numbers(torch.zeros(1, 16, 25, 3))
    seven = [7 * 3 + axis + part for part in (0, 75) for axis in range(3)]
    numbers[:, seven] = with_mean[seven]
    torch.testing.assert_close(first, torch.nn.functional.linear(numbers - with_mean, encoder.pose.weight))
    assert np.isfinite(encoder.encode(clip.replace(positions=changed))).all()


def test_frames_have_the_pose_of_their_moment(encoder: MAMPEncoder) -> None:
    low, high = recording(seed=1).positions[:, :1], recording(seed=2).positions[:, :1]
    held = np.concatenate([np.repeat(low, 12, axis=1), np.repeat(high, 12, axis=1)], axis=1)
    first, last = (Skeleton(np.repeat(pose, 24, axis=1), "ntu25", 30) for pose in (low, high))
    poses = added(encoder, Skeleton(held, "ntu25", 30), pool="frame")
    np.testing.assert_allclose(poses[4], added(encoder, first, pool="frame")[4], atol=1e-4)
    np.testing.assert_allclose(poses[-4], added(encoder, last, pool="frame")[-4], atol=1e-4)
    assert np.abs(poses[4] - poses[-4]).max() > 0.01


def test_saved_loaded_averaged(encoder: MAMPEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path / "weights")
    again = MAMPEncoder.from_pretrained(tmp_path / "weights")
    assert fingerprint(again) == fingerprint(encoder)
    np.testing.assert_array_equal(again.encode(recording()), encoder.encode(recording()))
    mean = average_encoders([encoder, again], readout=True)
    np.testing.assert_allclose(mean.encode(recording()), encoder.encode(recording()), atol=1e-5)
    values = json.loads((tmp_path / "weights" / "config.json").read_text()) | {"readout_pose": False}
    values.pop("weights_sha256", None)
    (tmp_path / "weights" / "config.json").write_text(json.dumps(values))
    with pytest.raises(WeightsError, match=r"pose\.weight"):
        MAMPEncoder.from_pretrained(tmp_path / "weights")


def test_half_precision_is_close(encoder: MAMPEncoder) -> None:
    clip = recording()
    np.testing.assert_allclose(added(encoder, clip, precision="bfloat16"), added(encoder, clip), atol=1e-5)


@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_exports(encoder: MAMPEncoder, tmp_path: Path, format: mamp.export.Format) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(format, format))
    pytest.importorskip({"onnx": "onnxscript"}.get(format, format))
    if format == "torch" and tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        pytest.skip("needs torch 2.6")
    mamp.export.export(encoder, tmp_path / "out", format)
    exported = mamp.export.load(tmp_path / "out")
    gaps = recording(people=2)
    positions = gaps.positions.copy()
    positions[0, :, 5:9], positions[1, :10] = np.nan, np.nan
    gaps = gaps.replace(positions=positions)
    for clip in (recording(), gaps):
        for pool in ("clip", "person", "frame", "joint"):
            expected = encoder.encode(clip, pool=pool)
            np.testing.assert_allclose(exported.encode(clip, pool=pool), expected, atol=2e-4, err_msg=pool)
    np.testing.assert_allclose(exported.encode(gaps, token_share=0.5), encoder.encode(gaps, token_share=0.5), atol=2e-4)


def test_a_student_has_the_pose_of_its_teacher(encoder: MAMPEncoder) -> None:
    student = Distillation(encoder.config, Objective(mask_ratio=0.5), encoder)
    assert student.pose is not None and encoder.pose is not None
    torch.testing.assert_close(student.pose.weight, encoder.pose.weight)
    assert student(torch.randn(2, 1, 16, 25, 3)).loss.requires_grad
    with pytest.raises(ConfigError, match="expected readout_pose as the teacher has it: True"):
        Distillation(encoder.config.replace(readout_pose=False), Objective(), encoder)


@pytest.mark.parametrize(
    "changes", [{"readout_pose": True}, {"readout_pose": True, "readout_dim": 4, "preprocessing": {"stream": "bone"}}]
)
def test_a_pose_needs_a_readout_and_positions(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected a readout_dim and preprocessing\\.stream 'joint'"):
        MAMPConfig(**changes)


def test_command(store: Path, plain: MAMPEncoder, encoder: MAMPEncoder, tmp_path: Path) -> None:
    plain.save_pretrained(tmp_path / "plain")
    words = f"readout {tmp_path / 'out'} --weights {tmp_path / 'plain'} --data {store} --dim 6 --clips 64 --pose"
    assert main([*words.split(), "--window", "8", "24"]) == 0
    found = MAMPEncoder.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(found.state_dict(), encoder.state_dict(), rtol=1e-3, atol=1e-4)
    without = replace(SETTINGS, pose=False)
    assert add_readout(plain, ClipStore(store), without).pose is None
