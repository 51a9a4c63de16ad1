"""Protocols that train: they learn, go on where they were stopped, and do the same on two processes as on one."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluate_helpers import environment, make_store, make_weights
from supervised_helpers import ALONE, FINETUNE, LINEAR, STOPPED, double_precision, run

from mamp import MAMPEncoder
from mamp.classifier import MAMPClassifier
from mamp.config import Preprocessing
from mamp.data import ClipStore, StoreWriter
from mamp.data.augment import Augmentation
from mamp.errors import ConfigError, DataError, TrainingError
from mamp.evaluate.clips import PreparedClips
from mamp.evaluate.data import open_labelled
from mamp.evaluate.finetune import FinetuneConfig, SemiConfig
from mamp.evaluate.linear import LinearConfig
from mamp.hub import convert_checkpoint
from mamp.layouts import get_layout
from mamp.train.checkpoint import load_checkpoint
from mamp.train.distributed import World
from mamp.train.start import training_augmentation

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 clips of three classes, 12 of them for training."""
    return make_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_weights(tmp_path_factory.mktemp("weights") / "encoder")


@pytest.fixture(scope="module")
def processes(store: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What runs in processes of their own left."""
    output = tmp_path_factory.mktemp("processes") / "runs"
    command = [sys.executable, str(ROOT / "tests" / "supervised_helpers.py"), str(store), str(weights), str(output)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    (output / "stderr").write_text(done.stderr)
    return output


def state(output: Path, seed: int = 0) -> dict[str, Any]:
    found = load_checkpoint(output / f"seed={seed}" / "checkpoints")
    assert found is not None
    return found


def assert_equal_runs(a: Path, b: Path) -> None:
    one, other = state(a), state(b)
    assert one["step"] == other["step"] and one["history"] == other["history"]
    for name, value in one["model"].items():
        assert torch.equal(value, other["model"][name]), name
    assert torch.equal(one["scores"], other["scores"])


# They learn.


def test_finetuning_learns(store: Path, weights: Path, tmp_path: Path) -> None:
    config = FinetuneConfig(**{**FINETUNE, "epochs": 12, "drop_path": 0.1, "dropout": 0.3})
    result = run("finetune", store, weights, tmp_path, config)
    (trial,) = result.trials
    assert trial.metrics["top1"] > 80 and trial.scores is not None and trial.scores.shape == (6, 3)
    assert trial.clips == [f"clip-{n:02d}" for n in range(18) if n // 3 % 3 == 2]
    assert trial.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert [entry["epoch"] for entry in trial.history] == list(range(1, 13))
    assert trial.history[-1]["loss"] < 0.7 * trial.history[0]["loss"]
    assert trial.history[-1]["top1"] == trial.metrics["top1"] == 100 * np.mean(trial.scores.argmax(1) == trial.labels)
    assert trial.best is not None and trial.best["top1"] == max(entry["top1"] for entry in trial.history)
    assert (result.headline, result.weights["kind"], result.settings["train_clips"]) == ("top1", "pretrained", 12)
    trained, before = MAMPEncoder.from_pretrained(tmp_path / "seed=0" / "encoder"), MAMPEncoder.from_pretrained(weights)
    assert trained.config == before.config
    assert not torch.equal(trained.norm.weight, before.norm.weight)
    converted = convert_checkpoint(next((tmp_path / "seed=0" / "checkpoints").glob("*.pt")), tmp_path / "converted")
    assert converted.kind == "fine-tuned" and converted.config == trained.config


def test_the_linear_probe_learns_and_leaves_the_encoder_alone(store: Path, weights: Path, tmp_path: Path) -> None:
    result = run("linear", store, weights, tmp_path, LinearConfig(**{**LINEAR, "epochs": 30, "eval_every": 12}))
    (trial,) = result.trials
    assert trial.metrics["top1"] > 80
    assert [entry["epoch"] for entry in trial.history] == [12, 24, 30]
    model, encoder = state(tmp_path)["model"], MAMPEncoder.from_pretrained(weights).state_dict()
    assert all(torch.equal(model[name], value) for name, value in encoder.items())
    assert not (tmp_path / "seed=0" / "encoder").exists()


def test_the_linear_probe_on_features_that_are_extracted_once(store: Path, weights: Path, tmp_path: Path) -> None:
    config = LinearConfig(**{**LINEAR, "epochs": 30, "augment": "none"})
    learned = run("linear", store, weights, tmp_path / "long", dataclasses.replace(config, epochs=90))
    assert learned.trials[0].metrics["top1"] > 80
    result = run("linear", store, weights, tmp_path / "a", config, seeds=(0, 1))
    assert "Not the published recipe" in result.notes[0]
    again = run("linear", store, weights, tmp_path / "b", config)
    np.testing.assert_array_equal(again.trials[0].scores, result.trials[0].scores)
    assert np.abs(again.trials[0].scores - result.trials[1].scores).max() > 0
    # The same head in the loop that augments, with an augmentation that does next to nothing.
    still = Augmentation(crop_share=(0.95, 0.95), crop_min=1, rotation=0.0)
    loop = run(
        "linear", store, weights, tmp_path / "c", dataclasses.replace(config, augment="train", augmentation=still)
    )
    np.testing.assert_allclose(loop.trials[0].scores, again.trials[0].scores, atol=0.3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pooling": "mean+max+std"},
        {"pooling": "mean+std", "readout_dim": 12},
        {"pooling": "mean+std", "readout_dim": 12, "readout_pose": True},
    ],
)
def test_the_quick_linear_probe_leaves_its_classifier(store: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    weights = make_weights(tmp_path / "weights", **changes)
    encoder = MAMPEncoder.from_pretrained(weights)
    if encoder.pose is not None:
        torch.nn.init.normal_(encoder.pose.weight)
        encoder.save_pretrained(weights)
    config = LinearConfig(**{**LINEAR, "epochs": 10, "augment": "none"})
    result = run("linear", store, weights, tmp_path / "result", config)
    assert any("takes of poses" in note for note in result.notes) == (encoder.pose is not None)
    (trial,) = result.trials
    classifier, data = MAMPClassifier.from_pretrained(tmp_path / "result"), open_labelled(store)
    found = classifier.predict([data.store.recording(clip) for clip in data.test])
    np.testing.assert_allclose(found.probabilities, torch.from_numpy(trial.scores).softmax(dim=1), atol=1e-5)
    assert found.labels == [classifier.classes[k] for k in trial.scores.argmax(axis=1)]
    head = json.loads((tmp_path / "result" / "seed=0" / "classifier" / "head.json").read_text())
    assert head.get("pooling", "mean") == changes.get("pooling", "mean")


def test_scratch_takes_the_architecture_only(store: Path, weights: Path, tmp_path: Path) -> None:
    config = FinetuneConfig(**{**FINETUNE, "epochs": 1.5, "warmup_epochs": 0, "lr": 0.0})
    result = run("scratch", store, f"untrained:{weights}", tmp_path, config, encoder_overrides={"depth": 2})
    encoder = MAMPEncoder.from_pretrained(tmp_path / "seed=0" / "encoder")
    assert encoder.config.depth == 2 and encoder.config.dim_feat == 16
    assert not torch.equal(encoder.pos_embed, MAMPEncoder.from_pretrained(weights).pos_embed)
    assert result.weights["kind"] == "untrained"
    assert [entry["epoch"] for entry in result.trials[0].history] == [1, 1.5]


def test_seeds_differ_and_repeat(store: Path, weights: Path, tmp_path: Path) -> None:
    config = FinetuneConfig(**{**FINETUNE, "epochs": 2, "dropout": 0.3, "drop_path": 0.2})
    both = run("finetune", store, weights, tmp_path / "both", config, seeds=(3, 4)).trials
    torch.rand(7)  # whatever else was drawn
    alone = run("finetune", store, weights, tmp_path / "alone", config, seeds=(4,)).trials
    np.testing.assert_array_equal(both[1].scores, alone[0].scores)
    assert [trial.seed for trial in both] == [3, 4]
    assert np.abs(both[0].scores - both[1].scores).max() > 1e-3


def test_transfer_says_what_it_is(store: Path, weights: Path, tmp_path: Path) -> None:
    result = run("transfer", store, weights, tmp_path / "a", FinetuneConfig(**{**FINETUNE, "epochs": 2}))
    assert "fine-tuned on the labels of 'swings'" in result.notes[0]
    with pytest.raises(ConfigError, match="expected weights that were trained on another set, found untrained ones"):
        run("transfer", store, f"untrained:{weights}", tmp_path / "b", FinetuneConfig(**FINETUNE))


@pytest.mark.parametrize(("balanced", "count"), [(False, 6), (True, 6)])
def test_few_labels(store: Path, weights: Path, tmp_path: Path, balanced: bool, count: int) -> None:
    config = SemiConfig(**{**FINETUNE, "epochs": 2}, share=0.5, balanced=balanced)
    result = run("semi", store, weights, tmp_path, config, seeds=(0, 1))
    assert f"labels of {count} of 12 training clips" in result.notes[0]
    assert result.settings["train_clips"] == count and len(result.trials) == 2


# Going on.


def test_a_stopped_run_equals_one_that_was_not(store: Path, weights: Path, processes: Path, tmp_path: Path) -> None:
    ends = json.loads((processes / "ends.json").read_text())
    assert ends["killed"] == [-signal.SIGKILL, ["step-00000003.pt"]]
    assert ends["terminated"] == [2, ["step-00000006.pt"]]  # the signal after step 6 gives up step 7
    assert "StoppedError" in (processes / "stderr").read_text()
    assert "stopped at step 6 of 8; the same command resumes" in (processes / "stderr").read_text()
    assert ends["finished"] == [0, ["step-00000008.pt"]]
    run("finetune", store, weights, tmp_path / "whole", STOPPED)
    assert_equal_runs(processes / "stopped", tmp_path / "whole")
    lines = (processes / "stopped" / "seed=0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 9))


def test_a_finished_run_is_read(store: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = LinearConfig(**{**LINEAR, "epochs": 2})
    first = run("linear", store, weights, tmp_path, config).trials[0]
    monkeypatch.setattr("mamp.evaluate.supervised.Supervised.train", lambda self: pytest.fail("trained again"))
    second = run("linear", store, weights, tmp_path, dataclasses.replace(config, workers=3)).trials[0]
    np.testing.assert_array_equal(first.scores, second.scores)
    assert (first.metrics, first.best, first.history) == (second.metrics, second.best, second.history)
    with pytest.raises(TrainingError, match=r"holds another run \(different: config.lr\).*another output folder"):
        run("linear", store, weights, tmp_path, dataclasses.replace(config, lr=0.2))
    other = make_store(tmp_path / "store", split=["train" if clip % 5 else "test" for clip in range(18)])
    with pytest.raises(TrainingError, match=r"different: labels"):
        run("linear", other, weights, tmp_path, config)
    other = make_weights(tmp_path / "other", seed=5)
    with pytest.raises(TrainingError, match=r"different: weights"):
        run("linear", store, other, tmp_path, config)


# Several processes, and a batch in parts.


def test_two_processes_equal_one(store: Path, weights: Path, processes: Path, tmp_path: Path) -> None:
    two = processes / "two"
    assert json.loads((processes / "ends.json").read_text())["two"] == [0, 0], (processes / "stderr").read_text()
    with double_precision():
        run("finetune", store, weights, tmp_path / "finetune", FinetuneConfig(**FINETUNE))
        run("linear", store, weights, tmp_path / "linear", LinearConfig(**LINEAR))
    for name in ("finetune", "linear"):
        ours, expected = state(two / name), state(tmp_path / name)
        assert ours["scores"].shape == (6, 3) and ours["model"]["norm.weight"].dtype == torch.float64
        torch.testing.assert_close(ours["scores"], expected["scores"], rtol=1e-5, atol=1e-5)
        for key, value in expected["model"].items():
            torch.testing.assert_close(ours["model"][key], value, rtol=1e-6, atol=1e-6, msg=f"{name} {key}")
        for a, b in zip(ours["history"], expected["history"], strict=True):
            assert a == pytest.approx(b, rel=1e-5)
    alone = run("linear", store, weights, tmp_path / "once", LinearConfig(**LINEAR, augment="none")).trials[0].scores
    for rank in (0, 1):
        np.testing.assert_allclose(np.load(two / f"once-{rank}.npy"), alone, atol=1e-4)
    shares = [np.load(two / f"share-{rank}.npy").tolist() for rank in (0, 1)]
    assert shares[0] == shares[1] and len(shares[0]) == 6
    errors = [(two / f"error-{rank}").read_text() for rank in (0, 1)]
    assert "holds another run" in errors[0] and "another process of this run failed" in errors[1]


def test_each_test_clip_goes_to_one_process(store: Path, weights: Path) -> None:
    data, config = open_labelled(store), MAMPEncoder.from_pretrained(weights).config
    for size in (1, 2, 4):
        parts = [
            PreparedClips(data.store, data.test, config, World(rank, size, torch.device("cpu")), 2)
            for rank in range(size)
        ]
        for _ in range(2):  # the second time from memory
            seen = [int(place) for part in parts for batch in part for place in batch.place]
            assert sorted(seen) == list(range(len(data.test)))


def test_a_batch_in_parts(store: Path, weights: Path, tmp_path: Path) -> None:
    """Batch norm sees the parts, so that the result is near, not the same."""
    whole = run("linear", store, weights, tmp_path / "a", LinearConfig(**{**LINEAR, "epochs": 2, "lr": 1e-3})).trials[0]
    config = LinearConfig(**{**LINEAR, "epochs": 2, "lr": 1e-3, "per_device_batch": 3})
    parts = run("linear", store, weights, tmp_path / "b", config).trials[0]
    assert [e["loss"] for e in parts.history] == pytest.approx([e["loss"] for e in whole.history], rel=0.1)
    with pytest.raises(ConfigError, match="6 cannot be split over 1 processes of 4 clips each"):
        run("linear", store, weights, tmp_path / "c", dataclasses.replace(config, per_device_batch=4))
    with pytest.raises(ConfigError, match="batch norm needs at least two clips at a time"):
        run("linear", store, weights, tmp_path / "d", dataclasses.replace(config, per_device_batch=1))


def test_bfloat16(store: Path, weights: Path, tmp_path: Path) -> None:
    exact = run("finetune", store, weights, tmp_path / "a", FinetuneConfig(**{**FINETUNE, "epochs": 2})).trials[0]
    config = FinetuneConfig(**{**FINETUNE, "epochs": 2, "precision": "bfloat16"})
    mixed = run("finetune", store, weights, tmp_path / "b", config).trials[0]
    assert [e["loss"] for e in mixed.history] != [e["loss"] for e in exact.history]
    assert [e["loss"] for e in mixed.history] == pytest.approx([e["loss"] for e in exact.history], rel=0.1)
    assert {value.dtype for value in state(tmp_path / "b")["model"].values()} == {torch.float32, torch.int64}


# The clips as the weights expect them.


@pytest.mark.parametrize("absent", ["none", "zeros", "copy"])
def test_scores_of_test_clips_are_those_of_encode(tmp_path: Path, absent: Any) -> None:
    """The pooled features behind the scores are what ``encode`` gives, whoever is absent."""
    people = Preprocessing(facing=True, absent_person=absent, max_people=None if absent == "none" else 2)
    encoder = MAMPEncoder.from_pretrained(make_weights(tmp_path / "weights", preprocessing=people))
    layout, rng = get_layout("ntu25"), np.random.default_rng(0)
    with StoreWriter(tmp_path / "store", layout) as writer:
        for clip, count in enumerate((1, 2, 1)):
            positions = rng.normal(0, 0.4, (count, 1, 25, 3)) + rng.normal(0, 0.05, (count, 30 + clip, 25, 3))
            writer.add(str(clip), positions.astype(np.float32), 30.0)
    store = ClipStore(tmp_path / "store")
    from mamp.evaluate.linear import make_classifier
    from mamp.evaluate.supervised import classifier_of

    model = classifier_of(encoder, lambda config: make_classifier(config, 3), 0).eval()
    found = PreparedClips(store, np.arange(3), encoder.config, ALONE, 2).map(model.pool)
    np.testing.assert_allclose(found, encoder.encode(list(store.recordings())), atol=2e-6)


def test_what_is_added_to_the_augmentation(store: Path, tmp_path: Path) -> None:
    plain, expected = Augmentation(rotation=0.2), Preprocessing(facing=True)
    found = training_augmentation(plain, expected, ClipStore(store))
    assert found == dataclasses.replace(plain, center=True, facing=True)
    placed = ClipStore(store)
    placed.info["preprocessing"] = {"layout": "ntu25", "unit": "m", "up": "y", "center": "clip", "facing": True}
    assert training_augmentation(plain, expected, placed) == plain
    assert training_augmentation(plain, Preprocessing(center="none"), ClipStore(store)) == plain
    with pytest.raises(ConfigError, match="expect clips with unit cm, these have m"):
        training_augmentation(plain, Preprocessing(unit="cm"), ClipStore(store))
    with pytest.raises(ConfigError, match="centred on head"):
        training_augmentation(plain, Preprocessing(center_joint="head"), ClipStore(store))


# What cannot be trained on.


def test_a_batch_that_is_too_large(store: Path, weights: Path, tmp_path: Path) -> None:
    for augment in ("train", "none"):
        with pytest.raises(DataError, match="12 training clips are fewer than one batch of 256"):
            run("linear", store, weights, tmp_path / augment, LinearConfig(augment=augment, workers=0))


def test_weights_for_other_joints(store: Path, tmp_path: Path) -> None:
    other = Preprocessing(layout="kinect20", center_joint="spine", max_people=1)
    weights = make_weights(tmp_path / "weights", num_joints=20, preprocessing=other)
    with pytest.raises(DataError, match=r"weights expect the layout kinect20, the clips have ntu25"):
        run("finetune", store, weights, tmp_path / "run", FinetuneConfig(**FINETUNE))


def test_another_number_of_frames(store: Path, weights: Path, tmp_path: Path) -> None:
    config = FinetuneConfig(**{**FINETUNE, "epochs": 1, "warmup_epochs": 0, "lr": 0.0, "min_lr": 0.0, "num_frames": 24})
    run("finetune", store, weights, tmp_path / "a", config)
    trained = MAMPEncoder.from_pretrained(tmp_path / "a" / "seed=0" / "encoder")
    from mamp.transformer import resize_temp_embed

    expected = resize_temp_embed(MAMPEncoder.from_pretrained(weights).temp_embed, 6)
    assert torch.equal(trained.temp_embed, expected) and trained.config.num_frames == 24
    with pytest.raises(ConfigError, match="num_frames: expected a multiple of t_patch_size"):
        run("finetune", store, weights, tmp_path / "b", dataclasses.replace(config, num_frames=23))


def test_a_loss_that_is_not_finite_names_the_clips(weights: Path, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    values = np.memmap(store / "positions.bin", "<f4", "r+")
    values[: 25 * 3 * 20 : 2] = 1e30  # of the first clip
    values.flush()
    with pytest.raises(TrainingError, match=r"not finite at step \d.*a lower lr or with clip_grad.*clip-00"):
        run("finetune", store, weights, tmp_path / "run", FinetuneConfig(**FINETUNE))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FinetuneConfig(epochs=5), r"epochs: expected more than warmup_epochs \(5\), found 5"),
        (lambda: FinetuneConfig(layer_decay=0.0), r"layer_decay: expected a factor in \(0, 1\]"),
        (lambda: FinetuneConfig(dropout=1.0), r"dropout: expected a number in \[0, 1\)"),
        (lambda: FinetuneConfig(batch_size=1), "batch_size: expected at least 2, found 1"),
        (lambda: FinetuneConfig(lr=math.inf), "lr: expected at least 0, found inf"),
        (lambda: FinetuneConfig(augmentation={"rotate": 1}), "augmentation: unknown field 'rotate'"),  # type: ignore[arg-type]
        (lambda: SemiConfig(share=0.0), r"share: expected a share in \(0, 1\]"),
        (lambda: LinearConfig(momentum=1.0), "momentum"),
        (lambda: LinearConfig(augment="none", num_frames=60), "num_frames: features that are extracted once"),
    ],
)
def test_settings_that_make_no_sense(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_folder_that_cannot_be_used(store: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "seed=0").write_text("mine")
    with pytest.raises(TrainingError, match=r"seed=0: cannot .*another output folder"):
        run("linear", store, weights, tmp_path / "run", LinearConfig(**LINEAR))
    assert (tmp_path / "run" / "seed=0").read_text() == "mine"
