"""Forecasting: the objective, predictions in the recording's own frame, and the evaluation."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from evaluate_helpers import make_store
from torch import Tensor

from mamp import MAMPEncoder, Skeleton, load
from mamp.config import MAMPConfig
from mamp.errors import ConfigError, RecordingError, WeightsError
from mamp.evaluate.forecast import Windows, distances, interval
from mamp.evaluate.runner import evaluate
from mamp.forecast import Forecaster
from mamp.forecast.baselines import constant_velocity, cosines, last_pose
from mamp.forecast.carry import carry
from mamp.future import Extrapolation, displacement, future_key, mean_distance
from mamp.geometry import rotation_matrix
from mamp.pretraining import MAMPForPretraining, Objective
from mamp.synthetic import synthesize
from mamp.train.config import TrainConfig
from mamp.train.engine import start_from, train
from mamp.train.recipes import get_recipe
from mamp.transformer import resize_temp_embed

CONFIG = MAMPConfig(dim_feat=16, depth=1, num_heads=2, num_frames=16)
FORECAST = Objective(
    target="displacement", masking="future", mask_ratio=0.5, norm_target=False, decoder_dim_feat=16, decoder_depth=1
)


def make_model(seed: int = 0) -> MAMPForPretraining:
    """A small model with weights that are not zero."""
    torch.manual_seed(seed)
    model = MAMPForPretraining(CONFIG, FORECAST).double().eval()
    torch.nn.init.normal_(model.decoder_pred.weight)
    torch.nn.init.normal_(model.decoder_past.weight)
    return model


def make_clips(seed: int = 1) -> Tensor:
    return torch.randn(2, 1, 16, 25, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# The objective


def test_the_future_is_what_is_masked() -> None:
    noise = torch.rand(3, 100, generator=torch.Generator().manual_seed(0))
    order = future_key(noise, 4).argsort(dim=1)
    assert (order.sort(dim=1).values == torch.arange(100)).all()
    assert (order.view(3, 4, 25) // 25 == torch.arange(4)[:, None]).all()
    mask = make_model()(make_clips()).mask
    assert mask.view(2, 4, 25).mean(dim=2).tolist() == [[0, 0, 1, 1]] * 2


def test_the_loss_is_the_mean_distance_to_the_coming_positions() -> None:
    x = make_clips()
    output = make_model()(x)
    coming = rearrange(output.prediction, "n (t v) (u c) -> n (t u) v c", t=4, c=3)[:, 8:]
    distance = (x[:, 0, 7:8] + coming - x[:, 0, 8:]).norm(dim=-1)
    assert output.loss.item() == pytest.approx(distance.mean().item(), rel=1e-6)
    assert set(output.losses) == {"displacement"}


def test_a_prediction_does_not_depend_on_what_comes_or_on_the_noise() -> None:
    model, x = make_model(), make_clips()
    other = x.clone()
    other[:, :, 8:] = 7.0
    expected = model(x, torch.zeros(2, 100)).prediction[:, 50:]
    torch.testing.assert_close(model(other, torch.rand(2, 100)).prediction[:, 50:], expected)


def test_it_begins_with_the_last_pose() -> None:
    output = MAMPForPretraining(CONFIG, FORECAST)(make_clips().float())
    assert not output.prediction[:, 50:].any()


def test_extrapolation_turns_with_the_body() -> None:
    linear = Extrapolation(8, 8).double()
    torch.nn.init.normal_(linear.weight)
    x = make_clips()[:, 0]
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    torch.testing.assert_close(linear(x @ turn + 5), linear(x) @ turn)
    by_hand = torch.einsum("fp,npvc->nfvc", linear.weight, displacement(x[:, :8], 8))
    torch.testing.assert_close(linear(x)[:, 8:], by_hand)


def test_mean_distance_by_hand() -> None:
    a = torch.tensor([[3.0, 4.0, 0.0, 0.0, 0.0, 2.0]])
    assert mean_distance(a, torch.zeros(1, 6)).item() == pytest.approx(3.5, abs=1e-3)


def test_the_linear_forecast_is_a_least_squares_fit() -> None:
    linear, truth = Extrapolation(4, 2), torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    past = torch.randn(50, 4, 5, 3, generator=torch.Generator().manual_seed(1))
    past[:, -1] = 0
    coming = torch.einsum("fp,npvc->nfvc", truth, past)
    linear.fit(torch.cat([past, coming], dim=1).split(7))
    torch.testing.assert_close(linear.weight[:, :3].detach(), truth[:, :3], atol=1e-3, rtol=0)


def test_gradients_reach_every_parameter() -> None:
    model = make_model()
    model(make_clips()).loss.backward()
    assert not [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masking": "random"}, "objective.masking: expected 'future' with target 'displacement', found 'random'"),
        ({"norm_target": True}, "objective.norm_target: expected False"),
        ({"joints_weight": 1.0}, "objective.joints_weight: expected 0"),
        ({"missing_parts": 0.5}, "objective.missing_parts: expected 0"),
        ({"mask_ratio": 0.6}, "whole time steps of 25 tokens .* leaves 40 of 100"),
        ({"mask_ratio": 0.999}, "leaves 0 of 100"),
    ],
)
def test_objectives_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MAMPForPretraining(CONFIG, FORECAST, **changes)


# Predictions


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run: three steps on bodies that swing about."""
    folder = tmp_path_factory.mktemp("forecast")
    store = make_store(folder / "store", split=["train"] * 12 + ["test"] * 6)
    train(small_config(), store, folder / "run")
    return folder / "run"


def small_config() -> TrainConfig:
    base = get_recipe("forecast").config
    return replace(
        base,
        init=None,
        encoder=replace(CONFIG, preprocessing=base.encoder.preprocessing),
        objective=FORECAST,
        augment=replace(base.augment, window=(16, 16)),
        optim=replace(base.optim, batch_size=4, epochs=1, warmup_epochs=0),
        data=replace(base.data, samples_per_epoch=12),
        run=replace(base.run, device="cpu", precision="float32"),
    )


@pytest.fixture(scope="module")
def forecaster(run: Path) -> Forecaster:
    return Forecaster.from_pretrained(run)


def walking(frames: int = 60, fps: float = 30.0, speed: float = 1.5) -> Skeleton:
    """Somebody who glides forwards without a change of pose, in the joints of Mixamo's rigs and more."""
    recording = load_text(synthesize("walk"))
    positions = np.repeat(recording.positions[:, :1], frames, axis=1)
    positions[..., 2] += (speed * np.arange(frames) / fps)[:, None]
    return recording.replace(positions=positions, fps=fps, confidence=None)


def load_text(text: str) -> Skeleton:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "walk.bvh"
        path.write_text(text)
        return load(path)


def test_a_prediction_is_in_the_frame_of_the_recording(forecaster: Forecaster) -> None:
    """Constant velocity is linear: the fitted part of a model that predicts it goes on with it, whatever the frame."""
    exact = Forecaster(with_constant_velocity(forecaster.model), forecaster.fps)
    for fps in (24.0, 30.0, 120.0):
        recording = walking(frames=round(2 * fps), fps=fps)
        coming = exact.predict(recording, 1.0)
        assert (coming.layout, coming.fps, coming.num_frames) == (recording.layout, fps, round(fps))
        expected = walking(frames=round(3 * fps), fps=fps).positions[:, round(2 * fps) :]
        np.testing.assert_allclose(coming.positions, expected, atol=2e-4)


def with_constant_velocity(model: MAMPForPretraining) -> MAMPForPretraining:
    """A model that goes on with the last velocity."""
    model = copy.deepcopy(model)
    for parameter in (model.decoder_pred.weight, model.decoder_pred.bias, model.decoder_past.weight):
        torch.nn.init.zeros_(parameter)
    model.decoder_past.weight.data[:, -2] = -torch.arange(1.0, 9.0)
    return model


def test_predictions_turn_and_move_with_the_recording(forecaster: Forecaster) -> None:
    recording = load_text(synthesize("walk"))
    angle = 2.0
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]], np.float32)
    moved = recording.replace(
        positions=recording.positions @ turn.T + np.array([3, 0, -2], np.float32), confidence=None
    )
    expected = forecaster.predict(recording, 0.5).positions @ turn.T + np.array([3, 0, -2], np.float32)
    np.testing.assert_allclose(forecaster.predict(moved, 0.5).positions, expected, atol=1e-4)


def test_predictions_are_the_same_each_time_and_for_each_person(forecaster: Forecaster) -> None:
    recording = load_text(synthesize("jump"))
    once = forecaster.predict(recording, 1.5)
    assert np.array_equal(once.positions, forecaster.predict(recording, 1.5).positions)
    gone = np.full_like(recording.positions, np.nan)
    gone[:, :-1] = recording.positions[:, :-1]
    other = recording.positions + np.array([1, 0, 0], np.float32)
    three = recording.replace(positions=np.concatenate([other, gone, recording.positions]), confidence=None)
    found = forecaster.predict(three, 1.5).positions
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[2], once.positions[0], atol=1e-5)
    np.testing.assert_allclose(found[0], once.positions[0] + np.array([1, 0, 0], np.float32), atol=1e-4)


def test_a_joint_that_is_missing_stays_so_and_a_pose_alone_will_do(forecaster: Forecaster) -> None:
    recording = load_text(synthesize("walk"))
    positions = recording.positions[:, :1].copy()
    positions[0, -1, 5] = np.nan
    found = forecaster.predict(recording.replace(positions=positions, confidence=None), 0.2).positions
    assert np.isnan(found[0, :, 5]).all() and np.isfinite(np.delete(found, 5, axis=2)).all()


def test_continued_is_the_recording_and_then_the_prediction(forecaster: Forecaster) -> None:
    recording = load_text(synthesize("walk"))
    shown = forecaster.continued(recording, 1.0)
    frame = round(recording.fps or 0)
    assert shown.num_frames == recording.num_frames
    np.testing.assert_array_equal(shown.positions[:, :frame], recording.positions[:, :frame])
    assert not np.array_equal(shown.positions[:, frame:], recording.positions[:, frame:])
    with pytest.raises(RecordingError, match="expected to predict from within its"):
        forecaster.continued(recording, 1000.0)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 61, "1"])
def test_times_that_make_no_sense(forecaster: Forecaster, seconds: Any) -> None:
    with pytest.raises(RecordingError, match="seconds: expected at least a frame"):
        forecaster.predict(walking(), seconds)


def test_recordings_that_cannot_be_predicted(forecaster: Forecaster) -> None:
    with pytest.raises(RecordingError, match="expected a frame rate, found none"):
        forecaster.predict(walking().replace(fps=None), 1.0)
    empty = walking()
    empty.positions[:, -1] = np.nan
    with pytest.raises(RecordingError, match="expected somebody in the last frame"):
        forecaster.predict(empty, 1.0)
    with pytest.raises(RecordingError, match=r"past: expected positions \[N, 8, 25, 3\]"):
        forecaster.predict_positions(np.zeros((1, 7, 25, 3)))


def test_runs_that_cannot_forecast(tmp_path: Path, run: Path) -> None:
    with pytest.raises(WeightsError, match="expected the folder of a run with its decoder"):
        Forecaster.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="expected a model with target 'displacement', found 'motion'"):
        Forecaster(MAMPForPretraining(CONFIG), 30.0)
    copied = shutil.copytree(run, tmp_path / "run")
    record = json.loads((copied / "run.json").read_text())
    record["config"]["augment"]["window"] = [16, 20]
    (copied / "run.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="crops of one length"):
        Forecaster.from_pretrained(copied)


def test_joints_that_the_model_lacks_move_with_their_neighbours() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(0, 0.1, (12, 3)).astype(np.float32)
    pose = np.concatenate([before[:4], before[:1] + 0.05]).astype(np.float32)
    conversion = np.eye(12, 5, dtype=np.float32)
    conversion[4:] = [0.25, 0.25, 0.25, 0.25, 0]
    turn = rotation_matrix(np.array([[0.5, 1.0, 0.2]]))[0]
    after = (before @ turn.T + 1)[None].astype(np.float32)
    np.testing.assert_allclose(carry(pose, before, after, conversion)[0], pose @ turn.T + 1, atol=0.005)
    np.testing.assert_allclose(carry(pose, before, before[None] + 2, conversion)[0], pose + 2, atol=1e-5)


def test_weights_of_another_number_of_frames_are_resized(tmp_path: Path) -> None:
    torch.manual_seed(0)
    MAMPEncoder(replace(CONFIG, num_frames=32)).save_pretrained(tmp_path / "encoder")
    model = make_model().float()
    start_from(model, str(tmp_path / "encoder"))
    found = MAMPEncoder.from_pretrained(tmp_path / "encoder")
    assert torch.equal(model.pos_embed, found.pos_embed)
    assert torch.equal(model.temp_embed, resize_temp_embed(found.temp_embed, 4))


# Evaluation


def test_cosines_are_orthonormal() -> None:
    torch.testing.assert_close(cosines(8) @ cosines(8).T, torch.eye(8), atol=1e-6, rtol=0)


def test_simple_forecasts_by_hand() -> None:
    past = np.arange(3, dtype=np.float32)[None, :, None, None] ** 2 * np.ones((1, 1, 2, 3), np.float32)
    assert last_pose(past, 2)[0, :, 0, 0].tolist() == [4, 4]
    assert constant_velocity(past, 2)[0, :, 0, 0].tolist() == [7, 10]


def test_distances_by_hand(forecaster: Forecaster) -> None:
    positions = np.zeros((1, 16, 25, 3), np.float32)
    windows = Windows(positions, np.zeros(1, np.int64))
    predicted = np.zeros((1, 8, 25, 3), np.float32)
    predicted[0, :, :, 0] = 0.01 * np.arange(1, 9)[:, None]  # everything drifts by 10 mm a frame of 1/30 s
    in_place, aligned = distances(predicted, windows, forecaster, (50, 200))
    np.testing.assert_allclose(in_place, [[15, 60]], rtol=1e-4)
    np.testing.assert_allclose(aligned, 0, atol=1e-4)


def test_the_interval_resamples_clips() -> None:
    clip = np.repeat(np.arange(50), 4)
    values = np.repeat(np.random.default_rng(0).normal(10, 1, 50), 4)
    low, high = interval(values, clip)
    width = 2 * 1.96 * values.std() / 50**0.5
    assert low < values.mean() < high and high - low == pytest.approx(width, rel=0.15)


def test_evaluate_end_to_end(run: Path, tmp_path: Path) -> None:
    changes = {"horizons": ["80", "200"], "mlp.depth": "2", "mlp.clips": "16", "mlp.batch": "4", "stride": "0.3"}
    found = evaluate("forecast", str(run), run.parent / "store", tmp_path / "a", overrides=changes, device="cpu")
    rows = found["tables"]["Mean error of the joints in place, mm"]
    assert [row[0] for row in rows] == [
        "ms",
        "forecast",
        "MLP",
        "its linear part",
        "constant velocity",
        "last pose",
        "forecast - MLP",
    ]
    assert found["headline"]["unit"] == "mm" and found["headline"]["interval"][0] < found["metrics"]["error"]["mean"]
    page = (tmp_path / "a" / "results.md").read_text(encoding="utf-8")
    assert "** mm" in page and "| constant velocity |" in page
    again = evaluate("forecast", str(run), run.parent / "store", tmp_path / "b", overrides=changes, device="cpu")
    assert again["tables"] == found["tables"]  # the MLP is the one that was kept
    with pytest.raises(ConfigError, match="horizons: expected at most 267"):
        evaluate("forecast", str(run), run.parent / "store", tmp_path / "c", overrides={"horizons": "300"})
