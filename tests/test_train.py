"""A training run in one process: what it leaves behind, its switches, and what goes wrong."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from tqdm import tqdm
from train_helpers import (
    ROOT,
    TENSORBOARD,
    Process,
    assert_same,
    double_precision,
    environment,
    job,
    largest_difference,
    make_store,
    metrics,
    tiny,
    weights,
)

from mamp import MAMPConfig, MAMPEncoder
from mamp.config import Preprocessing
from mamp.data import ClipStore, StoreWriter
from mamp.data.augment import Augmentation, PackedBatch, TrainingClips
from mamp.data.loader import TrainingBatches, clip_weights
from mamp.errors import ConfigError, DataError, MAMPError, TrainingError, WeightsError
from mamp.hub import convert_checkpoint
from mamp.layouts import get_layout
from mamp.pretraining import MAMPForPretraining, Objective
from mamp.train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from mamp.train.distributed import World
from mamp.train.engine import Trainer, train
from mamp.train.estimate import estimate
from mamp.train.loop import learning_rate
from mamp.train.memory import SHARE, available_bytes, bytes_of_a_body, clips_at_a_time
from mamp.train.metrics import Metrics, TensorBoard
from mamp.train.recipes import get_recipe
from mamp.train.record import differences
from mamp.train.report import describe_run

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(autouse=True, scope="module")
def light() -> Iterator[None]:
    """One thread for all runs, since sums depend on it in the last bit; no TensorBoard, whose pictures take seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, TENSORBOARD, None)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def finished(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to the end, 12 steps."""
    output = tmp_path_factory.mktemp("finished") / "run"
    train(tiny(), store, output)
    return output


def copy(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What a run leaves behind.


def test_a_run_leaves_its_configuration_metrics_checkpoints_and_encoder(finished: Path) -> None:
    assert json.loads((finished / "run.json").read_text())["config"]["optim"]["batch_size"] == 8
    lines = metrics(finished)
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert [line["lr"] for line in lines] == [learning_rate(step / 3, 1e-3, 1e-4, 1, 4) for step in range(12)]
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert [path.name for path in list_checkpoints(finished / "checkpoints")] == [
        "step-00000009.pt",
        "step-00000012.pt",
    ]
    assert {path.name for path in (finished / "encoder").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert not [path for path in finished.rglob("*") if path.suffix == ".tmp" or path.name.startswith(".")]


def test_the_encoder_of_a_run_is_the_trunk_of_its_checkpoint(finished: Path) -> None:
    encoder = MAMPEncoder.from_pretrained(finished)
    state = load_checkpoint(finished / "checkpoints")
    assert state is not None
    assert not encoder.training and encoder.config == tiny().encoder
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, state["model"][name]), name
    x = torch.randn(2, 2, 16, 25, 3)
    fresh = MAMPEncoder(tiny().encoder)
    fresh.load_state_dict({name: state["model"][name] for name in fresh.state_dict()})
    with torch.no_grad():
        assert torch.equal(encoder(x), fresh.eval()(x))


def test_the_loss_falls_on_motion_that_can_be_learned(store: Path, tmp_path: Path) -> None:
    # Joints that swing as sines: the visible tokens say how the hidden ones go on. Predicting zero has a loss of 11/12.
    train(tiny(optim__epochs=60, optim__lr=3e-3, run__checkpoint_every=1000), store, tmp_path / "run")
    losses = [line["loss"] for line in metrics(tmp_path / "run")]
    assert np.mean(losses[:6]) > 11 / 12
    assert np.mean(losses[-12:]) < 0.6 * np.mean(losses[:6])


def test_a_finished_run_is_not_trained_again(finished: Path, store: Path, tmp_path: Path) -> None:
    run = copy(finished, tmp_path / "run")
    train(tiny(), store, run)
    assert_same(weights(run), weights(finished))
    assert metrics(run) == metrics(finished)


def test_a_run_starts_from_other_weights(store: Path, finished: Path, tmp_path: Path) -> None:
    given = MAMPEncoder.from_pretrained(finished)
    for depth in (1, 0):  # all blocks, and the first of them
        encoder = dataclasses.replace(tiny().encoder, depth=depth)
        config = dataclasses.replace(tiny(optim__lr=0.0, optim__min_lr=0.0), init=str(finished), encoder=encoder)
        trainer = Trainer(config, store, tmp_path / f"run-{depth}", ALONE)
        for name, value in trainer.model.state_dict().items():
            known = given.state_dict().get(name)
            assert known is None or torch.equal(value, known), name
        fresh = Trainer(dataclasses.replace(config, init=None), store, tmp_path / "fresh", ALONE)
        decoder = [name for name in fresh.model.state_dict() if name.startswith("decoder")]
        assert all(torch.equal(fresh.model.state_dict()[name], trainer.model.state_dict()[name]) for name in decoder)
    train(config, store, tmp_path / "run")
    assert json.loads((tmp_path / "run/run.json").read_text())["config"]["init"] == str(finished)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"depth": 2}, r"blocks.1.norm1.weight is to have shape \[16\], found none"),
        ({"dim_feat": 32}, r"shape \[1, 4, 1, 32\], found \[1, 4, 1, 16\]"),
        ({"t_patch_size": 2}, r"joints_embed.proj.weight is to have shape \[16, 3, 2, 1\]"),
    ],
)
def test_weights_to_start_from_that_do_not_fit(
    store: Path, finished: Path, tmp_path: Path, change: dict[str, int], message: str
) -> None:
    config = dataclasses.replace(tiny(), init=str(finished), encoder=tiny().encoder.replace(**change))
    with pytest.raises(ConfigError, match=message):
        Trainer(config, store, tmp_path / "run", ALONE)
    with pytest.raises(WeightsError, match="found nothing there"):
        Trainer(dataclasses.replace(tiny(), init=str(tmp_path / "nowhere")), store, tmp_path / "run", ALONE)


def test_agreement_takes_pairs_and_goes_on_after_a_stop(store: Path, tmp_path: Path) -> None:
    config = tiny(objective__agreement_weight=0.5, augment__wobble=0.02, augment__proportions=0.1)
    train(config, store, tmp_path / "whole")
    train(dataclasses.replace(config, run=dataclasses.replace(config.run, stop_after=5)), store, tmp_path / "parts")
    train(config, store, tmp_path / "parts")
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert all(line["agreement"] > 0 for line in metrics(tmp_path / "whole"))
    with pytest.raises(ConfigError, match=r"per_device_batch.*pairs"):
        tiny(objective__agreement_weight=0.5, optim__per_device_batch=1)


def test_stop_after_keeps_the_schedule(finished: Path, store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for stop in (1, 5, None):
        train(tiny(run__stop_after=stop), store, run)
        assert weights(run)["step"] == (stop or 12)
    assert_same(weights(run), weights(finished))
    assert metrics(run) == metrics(finished)


def test_a_run_that_stops_between_lines_of_its_log_says_how_far_it_is(store: Path, tmp_path: Path) -> None:
    for stop in (2, 7, None):
        train(tiny(run__stop_after=stop, run__log_every=5), store, tmp_path)
        found = describe_run(tmp_path)
        assert (found["step"], found["total_steps"], found["finished"]) == (stop or 12, 12, stop is None)
    assert [step for step, _ in found["curve"]] == [2, 5, 7, 10, 12]


@pytest.mark.parametrize("keep", [1, 3, 100])
def test_the_last_checkpoints_and_the_best_are_kept(store: Path, tmp_path: Path, keep: int) -> None:
    # A rate that rises until it is too high, so that the best is not the last.
    config = tiny(run__keep=keep, run__checkpoint_every=2, optim__lr=1.0, optim__warmup_epochs=3.9)
    train(config, store, tmp_path)
    kept = [int(path.stem.split("-")[1]) for path in list_checkpoints(tmp_path / "checkpoints")]
    assert kept == list(range(2, 13, 2))[-keep:]
    losses = [line["loss"] for line in metrics(tmp_path)]
    means = {step: (losses[step - 2] + losses[step - 1]) / 2 for step in range(2, 13, 2)}
    best = min(means, key=lambda step: means[step])
    assert weights(tmp_path, "best.pt")["step"] == best != 12
    if keep == 100:
        assert_same(weights(tmp_path, "best.pt"), weights(tmp_path, f"step-{best:08d}.pt"))


# Switches.


def test_masks_by_an_averaged_teacher(store: Path, tmp_path: Path) -> None:
    """They differ from random ones, resume as they were, and need an average."""
    learned = {"objective__masking": "learned", "optim__ema": 0.8}
    train(tiny(**learned), store, tmp_path / "whole")
    train(tiny(**learned, run__stop_after=5), store, tmp_path / "parts")
    train(tiny(**learned), store, tmp_path / "parts")
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    train(tiny(objective__masking="random", optim__ema=0.8), store, tmp_path / "random")
    assert metrics(tmp_path / "whole")[-1]["loss"] != metrics(tmp_path / "random")[-1]["loss"]
    with pytest.raises(
        ConfigError, match=r"'learned' takes the loss of an averaged teacher, expected a decay in optim.ema"
    ):
        tiny(objective__masking="learned")


def test_the_moving_average_is_exported(store: Path, tmp_path: Path) -> None:
    train(tiny(optim__ema=0.8, run__checkpoint_every=1, run__keep=100), store, tmp_path)
    states = [torch.load(path, weights_only=True) for path in list_checkpoints(tmp_path / "checkpoints")]
    name = "blocks.0.mlp.fc1.weight"
    average = states[0]["model"][name]
    for state in states[1:]:
        average = 0.8 * average + 0.2 * state["model"][name]
    exported = MAMPEncoder.from_pretrained(tmp_path).state_dict()[name]
    torch.testing.assert_close(exported, average, rtol=1e-5, atol=1e-7)
    assert float((exported - states[-1]["model"][name]).abs().max()) > 1e-5


def test_bfloat16_keeps_float32_weights(store: Path, finished: Path, tmp_path: Path) -> None:
    train(tiny(run__precision="bfloat16", run__storage="float16"), store, tmp_path)
    assert {value.dtype for name, value in weights(tmp_path).items() if name.startswith("model.")} == {torch.float32}
    ours, exact = ([line["loss"] for line in metrics(place)] for place in (tmp_path, finished))
    assert ours != exact
    assert ours == pytest.approx(exact, rel=0.05)
    assert MAMPEncoder.from_pretrained(tmp_path, dtype=torch.float16).dtype == torch.float16


@pytest.mark.slow
def test_compiled(store: Path, finished: Path, tmp_path: Path) -> None:
    config = tiny(run__compile=True, optim__ema=0.9)
    with Process([job(config, store, tmp_path / "run")], tmp_path / "logs") as run:
        assert run.wait() == [0], run.text[-4000:]
    found = {name for name in weights(tmp_path / "run") if not name.startswith("average.")}
    assert found == weights(finished).keys()
    ours, plain = ([line["loss"] for line in metrics(place)] for place in (tmp_path / "run", finished))
    assert ours == pytest.approx(plain, rel=1e-3)


def test_gradients_are_clipped(store: Path, tmp_path: Path) -> None:
    trainer = Trainer(tiny(optim__clip_grad=0.01), store, tmp_path, ALONE)
    seen: list[float] = []

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        seen.append(float(torch.stack([gradient.norm() for gradient in gradients]).norm()))

    trainer.optimizer.register_step_pre_hook(look)
    values = trainer.train_step(trainer.batches(0)[0])
    assert values["grad_norm"] > 0.1
    assert seen == [pytest.approx(0.01, rel=1e-3)]


def test_background_workers_change_nothing(store: Path, finished: Path, tmp_path: Path) -> None:
    jobs = [job(tiny(data__workers=number), store, tmp_path / str(number)) for number in (0, 1, 2)]
    with Process(jobs, tmp_path / "logs", only=False) as run:
        assert run.wait() == [0], run.text[-4000:]
    for number in (0, 1, 2):
        assert_same(weights(tmp_path / str(number)), weights(finished))
        assert metrics(tmp_path / str(number)) == metrics(finished)


def test_drawn_visibility_is_resumed(store: Path, tmp_path: Path) -> None:
    """Mask ratios and missing parts come from (seed, epoch, step): split or stopped, a run is the same."""
    drawn = {"objective__mask_ratio": 0.8, "objective__mask_ratio_low": 0.3, "objective__missing_parts": 0.5}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(tiny(**drawn), store, whole)
    for stop in (4, None):
        train(tiny(**drawn, run__stop_after=stop), store, parts)
    assert_same(weights(parts), weights(whole))
    assert metrics(parts) == metrics(whole)
    trainer = Trainer(tiny(**drawn), store, tmp_path / "new", ALONE)
    seen = [trainer.visibility(0, step, slice(0, 8)) for step in range(40)]
    ratios = np.array([one["mask_ratio"] for one in seen])
    assert ratios.min() >= 0.3 and ratios.max() <= 0.8 and ratios.std() > 0.05
    assert 0.3 < np.mean([one["missing"].any(dim=1).float().mean() for one in seen]) < 0.6
    micro = [trainer.visibility(0, 3, slice(first, first + 4)) for first in (0, 4)]
    assert torch.equal(torch.cat([one["missing"] for one in micro]), seen[3]["missing"])


def test_clips_at_a_time_follow_from_memory(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A step takes as many clips at a time as fit; the run is the same to rounding, and stays the same when resumed."""
    config = get_recipe("ntu120-xsub").config
    gigabytes = {n: clips_at_a_time(config.encoder, config.objective, 2, 128, n * 2**30) for n in (0, 1, 8, 64)}
    assert gigabytes == {0: 1, 1: 2, 8: 16, 64: 128}, "a clip takes about 160 MB"
    assert clips_at_a_time(config.encoder, config.objective, 2, 128, None) == 128
    pairs = dataclasses.replace(config.objective, agreement_weight=1.0)
    assert clips_at_a_time(config.encoder, pairs, 2, 128, 2**20) == 128, "views are compared within what is taken"
    assert (available_bytes(torch.device("cpu")) or 1) > 0

    whole, small = tmp_path / "whole", tmp_path / "small"
    with double_precision():
        train(tiny(), store, whole)
    one = 2 * bytes_of_a_body(tiny().encoder, tiny().objective)
    monkeypatch.setattr("mamp.train.engine.available_bytes", lambda *_: int(2.5 * one / SHARE))
    with caplog.at_level(logging.INFO):
        train(tiny(run__stop_after=4), store, small)
    assert "2 clips at a time, accumulated to 8 a step" in caplog.text
    assert json.loads((small / "run.json").read_text())["clips_at_a_time"] == 2
    train(tiny(), store, tmp_path / "undisturbed")
    with double_precision():
        train(tiny(), store, tmp_path / "exact")
    monkeypatch.undo()
    train(tiny(), store, small)  # there is room now, but a resumed run goes on as it began
    assert_same(weights(small), weights(tmp_path / "undisturbed"))
    assert 0 < largest_difference(weights(tmp_path / "exact"), weights(whole)) < 1e-9
    assert estimate(tiny(optim__per_device_batch=4), ClipStore(store)).free_bytes is None
    found = estimate(tiny(), ClipStore(store))
    assert found.free_bytes and found.per_device_batch == 8 and "free)" in found.text()


def test_split_and_samples_per_epoch(tmp_path: Path) -> None:
    split = ["train" if clip % 3 else "test" for clip in range(24)]
    store = ClipStore(make_store(tmp_path / "store", split=split))
    trainer = Trainer(tiny(data__split="test", optim__batch_size=4), store.path, tmp_path / "run", ALONE)
    seen = [int(clip) for epoch in (0, 1) for step in trainer.batches(epoch) for part in step for clip in part.clips]
    assert sorted(seen[:8]) == sorted(seen[8:]) == [clip for clip in range(24) if not clip % 3]
    assert seen[:8] != seen[8:]

    longer = TrainingBatches(store, Augmentation(), 8, 2, "zeros", 0, 0, samples_per_epoch=72)
    assert len(longer) == 9
    assert np.bincount(longer.order).tolist() == [3] * 24
    weighted = clip_weights(store, "split", ["train=0", "test=2"])
    assert weighted is not None
    drawn = TrainingBatches(store, Augmentation(), 8, 2, "zeros", 0, 0, weights=weighted, samples_per_epoch=500).order
    assert {split[int(clip)] for clip in drawn} == {"test"}
    frames = np.bincount(drawn, minlength=24)[::3] / store.columns["frames"][::3]
    assert frames.max() / frames.min() < 2  # in proportion to the length, not to the number


# Sizes that do not fit.


@pytest.mark.parametrize(
    ("changes", "processes", "message"),
    [
        ({"optim__batch_size": 7}, 2, "7 cannot be split over 2 processes of 3 clips each"),
        ({"optim__per_device_batch": 3}, 1, "8 cannot be split over 1 processes of 3 clips each"),
        ({"optim__per_device_batch": 8}, 2, "8 cannot be split over 2 processes of 8 clips each"),
        ({"optim__per_device_batch": -1}, 1, "optim.per_device_batch: expected at least 1"),
        ({"optim__batch_size": 0}, 1, "optim.batch_size: expected at least 1"),
        ({"optim__epochs": 0.1, "optim__warmup_epochs": 0.0}, 1, "0.1 epochs of 3 steps are no step"),
        ({"encoder__preprocessing": {"layout": "kinect20"}}, 1, "expected joints of layout 'kinect20'"),
        ({"optim__batch_size": 32}, 1, "an epoch of 24 clips is smaller than one batch of 32"),
        ({"data__split": "train"}, 1, "no column 'split'; to train on all of them: data.split none"),
        ({"data__weight_by": "corpus"}, 1, "names the column 'corpus'; it has name, first_row"),
    ],
)
def test_sizes_that_do_not_fit(
    store: Path, tmp_path: Path, changes: dict[str, Any], processes: int, message: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        Trainer(tiny(**changes), store, tmp_path / "run", World(0, processes, torch.device("cpu")))


# Losses that are not finite.


def test_a_bad_clip_is_named_and_the_last_good_checkpoint_stays(store: Path, tmp_path: Path) -> None:
    config = tiny(optim__per_device_batch=2, run__checkpoint_every=1)
    poison = int(Trainer(config, store, tmp_path / "other", ALONE).batches(0).order[13])
    store = make_store(tmp_path / "store", poison=poison)
    with pytest.raises(TrainingError, match=r"not finite at step \d+; the last good checkpoint is kept") as error:
        train(config, store, tmp_path / "run")
    named = str(error.value).rsplit(": ", 1)[1].split(", ")
    assert f"clip-{poison:03d}" in named and len(named) == 2  # its micro-batch
    assert [math.isfinite(line["loss"]) for line in metrics(tmp_path / "run")] == [True]
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())
    assert weights(tmp_path / "run")["step"] == 1
    MAMPEncoder.from_pretrained(tmp_path / "run")


def test_a_gradient_that_is_not_finite_does_not_reach_the_weights(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tiny(), store, tmp_path, ALONE)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.model.norm.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(TrainingError, match=r"the loss or its gradient is not finite at step 0.*clip-"):
        trainer.train_step(trainer.batches(0)[0])
    assert_same(trainer.model.state_dict(), before)


# Checkpoints that are damaged, and disks that are full.


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    changed = {
        "empty": b"",
        "one byte": content[:1],
        "cut at half": content[: len(content) // 2],
        "cut at the end": content[:-1],
        "text": b"not a checkpoint\n" * 100,
        "one value changed": content[: len(content) // 2] + b"\xff\x00\xff" + content[len(content) // 2 + 3 :],
    }[how]
    path.unlink()  # best.pt may be the same file
    path.write_bytes(changed)


@pytest.mark.parametrize("how", ["empty", "one byte", "cut at half", "cut at the end", "text", "one value changed"])
def test_a_damaged_checkpoint_is_passed_over(
    finished: Path, store: Path, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = copy(finished, tmp_path / "run")
    damage(run / "checkpoints" / "step-00000012.pt", how)
    (run / "checkpoints" / "step-00000010.tmp").write_bytes(b"half a checkpoint")
    with caplog.at_level(logging.WARNING):
        train(tiny(), store, run)
    assert "step-00000012.pt: damaged checkpoint" in caplog.text
    assert_same(weights(run), weights(finished))
    assert metrics(run) == metrics(finished)
    assert not list(run.rglob("*.tmp"))


def test_when_all_checkpoints_are_damaged(finished: Path, store: Path, tmp_path: Path) -> None:
    run = copy(finished, tmp_path / "run")
    for path in list_checkpoints(run / "checkpoints"):
        damage(path, "cut at half")
    before = files(run)
    with pytest.raises(TrainingError, match=r"all checkpoints are damaged \(step-00000009.pt, step-00000012.pt\)"):
        train(tiny(), store, run)
    assert files(run) == before


def test_without_a_checkpoint_the_metrics_start_again(store: Path, finished: Path, tmp_path: Path) -> None:
    run = copy(finished, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "lo')
    train(tiny(), store, run)
    assert metrics(run) == metrics(finished)


@pytest.mark.parametrize("room", [1_000, 60_000])
def test_a_file_that_cannot_grow(finished: Path, store: Path, tmp_path: Path, room: int) -> None:
    """With 1 kB not even the metrics can be written, with 60 kB no checkpoint."""
    run = tmp_path / "run"
    train(tiny(run__stop_after=5), store, run)
    assert (run / "checkpoints" / "step-00000005.pt").stat().st_size > 60_000 > (run / "metrics.jsonl").stat().st_size
    before = weights(run)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(TrainingError, match="File too large") as error:
            train(tiny(), store, run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(run) in str(error.value)
    assert_same(weights(run), before)
    assert not list((run / "checkpoints").glob("*.tmp"))
    train(tiny(), store, run)
    assert_same(weights(run), weights(finished))
    assert metrics(run) == metrics(finished)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("stage", ["run.json", "checkpoint", "encoder"])
def test_a_full_disk(finished: Path, store: Path, tmp_path: Path, small_disk: Path, stage: str) -> None:
    run, filler = small_disk / "run", small_disk / "filler"
    size = (finished / "checkpoints" / "step-00000009.pt").stat().st_size
    if stage != "run.json":
        train(tiny(run__stop_after=5, run__keep=100), store, run)
    free = shutil.disk_usage(small_disk).free
    left = {"run.json": 0, "checkpoint": size // 2, "encoder": size + 3 * 4096}[stage]
    filler.write_bytes(bytes(free - left))
    with pytest.raises(MAMPError, match="No space left on device") as error:
        train(tiny(run__keep=100), store, run)
    assert str(run) in str(error.value)
    if stage == "run.json":
        assert not (run / "run.json").exists()
    else:
        assert not list(run.rglob("*.tmp")) and not list(run.rglob(".saving-*"))
        assert weights(run)["step"] == (5 if stage == "checkpoint" else 6)
        MAMPEncoder.from_pretrained(run)
    filler.unlink()
    train(tiny(), store, run)
    assert_same(weights(run), weights(finished))
    assert metrics(run) == metrics(finished)


def test_an_output_that_is_a_file(store: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(TrainingError, match=r"cannot write here .*Choose another output folder"):
            train(tiny(), store, output)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_that_may_not_be_written(store: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(TrainingError, match=r"cannot write here .*Permission denied"):
            train(tiny(), store, tmp_path / "run")
    finally:
        tmp_path.chmod(0o700)


def test_a_checkpoint_folder_that_cannot_be_made(store: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file in its place")
    with pytest.raises(TrainingError, match="cannot write the checkpoint"):
        save_checkpoint(tmp_path / "checkpoints", 1, {"step": 1}, keep=1)


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    save_checkpoint(tmp_path, 1, {"step": 1}, keep=1, best=True)
    save_checkpoint(tmp_path, 2, {"step": 2}, keep=1)
    assert torch.load(tmp_path / "best.pt", weights_only=True) == {"step": 1}
    assert load_checkpoint(tmp_path) == {"step": 2}


def test_another_configuration_is_refused(finished: Path, store: Path) -> None:
    before = files(finished)
    with pytest.raises(TrainingError, match=r"holds another run .*encoder.depth, optim.lr.*another output folder"):
        train(tiny(optim__lr=0.5, encoder__depth=2), store, finished)
    assert files(finished) == before


def test_tensorboard_on_a_full_disk_does_not_end_the_run(
    small_disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    before = threading.excepthook
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, TENSORBOARD)
        board = TensorBoard(small_disk)
    metrics = Metrics(tmp_path, 1, 8, tqdm(disable=True), board)
    metrics.add(1, 9, 0.1, {"loss": 1.0, "lr": 0.1})
    (small_disk / "filler").write_bytes(b"0" * shutil.disk_usage(small_disk).free)
    for step in range(2, 600):
        metrics.add(step, 9, 0.1, {"loss": 1.0, "lr": 0.1})
    metrics.close()
    assert caplog.text.count("TensorBoard's files cannot be written") == 1 and threading.excepthook is before
    assert "Traceback" not in capfd.readouterr().err
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 599


# Stores that are missing or damaged.


def break_store(path: Path, how: str) -> None:
    meta = json.loads((path / "meta.json").read_text())
    with np.load(path / "clips.npz") as index:
        columns = dict(index)
    if how == "missing":
        shutil.rmtree(path)
    elif how == "no index":
        (path / "clips.npz").unlink()
    elif how == "cut index":
        (path / "clips.npz").write_bytes((path / "clips.npz").read_bytes()[:700])
    elif how == "empty index":
        (path / "clips.npz").write_bytes(b"")
    elif how == "text for an index":
        (path / "clips.npz").write_text("name,first_row\n" * 50)
    elif how == "no meta.json":
        (path / "meta.json").unlink()
    elif how == "meta.json is no object":
        (path / "meta.json").write_text("[1]")
    elif how == "meta.json is cut":
        (path / "meta.json").write_text('{"format": 1, "lay')
    elif how == "other format":
        (path / "meta.json").write_text(json.dumps(meta | {"format": 99}))
    elif how == "no layout":
        (path / "meta.json").write_text(json.dumps({"format": meta["format"]}))
    elif how == "positions cut":
        os.truncate(path / "positions.bin", 1000)
    elif how == "no positions":
        (path / "positions.bin").unlink()
    elif how == "confidence lost":
        (path / "meta.json").write_text(json.dumps(meta | {"confidence": True}))
    elif how == "columns of other lengths":
        np.savez(path / "clips.npz", **columns | {"fps": columns["fps"][:-1]})
    elif how == "clips that overlap":
        np.savez(path / "clips.npz", **columns | {"first_row": columns["first_row"][::-1]})
    elif how == "no frames":
        np.savez(path / "clips.npz", **columns | {"frames": columns["frames"] * 0})
    elif how == "no column of people":
        np.savez(path / "clips.npz", **{name: values for name, values in columns.items() if name != "people"})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "expected a folder written by python -m mamp.prepare"),
        ("no index", "not a store of clips, or damaged"),
        ("cut index", "not a store of clips, or damaged"),
        ("empty index", "not a store of clips, or damaged"),
        ("text for an index", "not a store of clips, or damaged"),
        ("no meta.json", "not a store of clips, or damaged"),
        ("meta.json is no object", "expected a meta.json of store format 1"),
        ("meta.json is cut", "not a store of clips, or damaged"),
        ("other format", "store format 1 .*found format 99"),
        ("no layout", "with a layout"),
        ("positions cut", "positions.bin has 1000 bytes, the index needs"),
        ("no positions", "positions.bin has 0 bytes"),
        ("confidence lost", "confidence.bin has 0 bytes"),
        ("columns of other lengths", "clips.npz is damaged"),
        ("clips that overlap", "clips.npz is damaged"),
        ("no frames", "clips.npz is damaged"),
        ("no column of people", "lacks the columns people"),
    ],
)
def test_a_store_that_cannot_be_used(store: Path, tmp_path: Path, how: str, message: str) -> None:
    broken = copy(store, tmp_path / "store")
    break_store(broken, how)
    with pytest.raises(DataError, match=message) as error:
        train(tiny(), broken, tmp_path / "run")
    assert str(broken) in str(error.value) and "prepare" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_positions_that_vanish_while_they_are_read(store: Path, tmp_path: Path) -> None:
    place = copy(store, tmp_path / "store")
    opened = ClipStore(place)
    expected = opened.read(23)
    assert expected.any()
    os.truncate(place / "positions.bin", 10_000)
    with pytest.raises(DataError, match=r"positions\.bin ended in clip clip-023"):
        opened.read(23)


def test_a_store_that_does_not_fit_on_the_disk(small_disk: Path) -> None:
    layout = get_layout("ntu25")
    with pytest.raises(DataError, match="No space left on device"), StoreWriter(small_disk / "store", layout) as writer:
        for clip in range(100):
            writer.add(str(clip), np.ones((1, 100, 25, 3), np.float32))
    assert not list(small_disk.iterdir())


# Memory of the loader.


def loader_memory(gigabytes: float, seconds: float, workers: int) -> dict[str, float]:
    program = [sys.executable, str(ROOT / "benchmarks" / "loader.py")]
    options = ["--gigabytes", str(gigabytes), "--seconds", str(seconds), "--workers", str(workers)]
    done = subprocess.run([*program, *options], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    result: dict[str, float] = json.loads(done.stdout)
    return result


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_reading_a_whole_store_takes_no_memory(tmp_path: Path) -> None:
    """All of 1.5 GB is read once; what a memory map would leave behind is 1.5 GB."""
    program = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from loader import make_sparse_store, megabytes
libraries = megabytes("VmRSS")
from mamp.data import ClipStore
store = ClipStore(make_sparse_store(Path(sys.argv[2]), 1.5))
store.read(0)
before = megabytes("VmRSS")
size = sum(store.read(clip).nbytes for clip in range(len(store)))
print(size / 1e9, megabytes("VmRSS") - before, megabytes("VmRSS"), libraries)
"""
    command = [sys.executable, "-c", program, str(ROOT / "benchmarks"), str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    read, grown, total, libraries = map(float, done.stdout.split())
    assert read == pytest.approx(1.5, rel=0.01)
    assert grown < 50
    assert total - libraries < 150, (total, libraries)
    assert total < 400 or torch.version.cuda is not None  # whose libraries alone take more


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_loader_over_ten_gigabytes_stays_under_one() -> None:
    result = loader_memory(gigabytes=10, seconds=60, workers=2)
    assert result["store_gb"] >= 10
    assert result["read_gb"] > 1  # more than the bound, so that keeping what was read would show
    assert result["rss_mb"] < 1000, result


def test_spread_of_the_work_may_change_on_the_way() -> None:
    config = json.loads(json.dumps(tiny().to_dict()))
    other = json.loads(json.dumps(tiny(data__workers=2, optim__per_device_batch=1, run__log_every=7).to_dict()))
    assert differences(config, other) == []
    assert differences(config, json.loads(json.dumps(tiny(optim__lr=0.123).to_dict()))) == ["optim.lr"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optim__ema": 0.5},
        {"encoder__attention": "factorised", "encoder__pooling": "std", "objective__agreement_weight": 0.5},
        {"encoder__readout_dim": 4},
    ],
    ids=["plain", "ema", "agreement", "distilled"],
)
def test_every_checkpoint_can_be_exported(store: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """What a checkpoint states of its encoder is kept, and only the encoder's own tensors are."""
    taught = changes.get("encoder__readout_dim") is not None
    config = tiny(**({} if taught else changes))
    facing = Preprocessing(facing=True, max_people=2)
    config = dataclasses.replace(config, encoder=config.encoder.replace(preprocessing=facing))
    if taught:
        encoder = config.encoder.replace(readout_dim=changes["encoder__readout_dim"])
        MAMPEncoder(encoder).save_pretrained(tmp_path / "teacher")
        config = dataclasses.replace(config, encoder=encoder, teacher=str(tmp_path / "teacher"))
    train(config, store, tmp_path / "run")
    newest = list_checkpoints(tmp_path / "run" / "checkpoints")[-1]
    convert_checkpoint(newest, tmp_path / "out")
    exported = MAMPEncoder.from_pretrained(tmp_path / "out")
    assert exported.config == config.encoder
    assert_same(exported.state_dict(), MAMPEncoder.from_pretrained(tmp_path / "run").state_dict())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("when", ["before the first block", "before the gradient", "between micro-batches"])
def test_a_step_is_given_up_to_stop(
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
    when: str,
    threads: int,
) -> None:
    """SIGTERM is obeyed within a block of a step, however long the step takes, and costs nothing but the step."""
    request.addfinalizer(lambda: torch.set_num_threads(1))
    torch.set_num_threads(threads)
    monkeypatch.setattr("mamp.train.engine.CLIPS_AT_ONCE", 2)
    config = tiny(optim__per_device_batch=4, run__log_every=3)
    train(config, store, tmp_path / "undisturbed")
    predict, seen, calls = Trainer.predict, Trainer.seen, []

    def count(self: Trainer, part: PackedBatch, micro: int) -> tuple[TrainingClips, dict[str, Any]]:
        calls.append((self.step, micro))
        return seen(self, part, micro)

    def stop(self: Trainer, clips: TrainingClips, drawn: dict[str, Any], rows: slice) -> dict[str, Tensor]:
        at = calls == [*((step, micro) for step in range(5) for micro in (0, 1)), (5, 0)]
        at = at if when != "between micro-batches" else len(calls) == 12 and rows.start == 0
        if at and when != "before the gradient":
            os.kill(os.getpid(), signal.SIGTERM)
            while not self.asked_to_stop:
                time.sleep(0.001)
        found = predict(self, clips, drawn, rows)
        if at:
            assert when == "before the gradient", "the forward pass went on"
            os.kill(os.getpid(), signal.SIGTERM)
            while not self.asked_to_stop:
                time.sleep(0.001)
        return found

    monkeypatch.setattr(Trainer, "seen", count)
    monkeypatch.setattr(Trainer, "predict", stop)
    train(config, store, tmp_path / "run")
    assert list_checkpoints(tmp_path / "run" / "checkpoints")[-1].name == "step-00000005.pt"
    assert describe_run(tmp_path / "run")["step"] == 5
    train(config, store, tmp_path / "run")
    assert_same(weights(tmp_path / "run"), weights(tmp_path / "undisturbed"))


# The same numbers again.


def test_no_gradient_is_added_up_by_racing_threads() -> None:
    """The gradient of advanced indexing is an addition in whichever order the threads come."""
    objective = Objective(
        decoder_dim_feat=16, decoder_depth=1, decoded_tokens=9, joints_weight=1.0, agreement_weight=1.0
    )
    model = MAMPForPretraining(MAMPConfig(dim_feat=16, depth=1, num_heads=2, num_frames=16, pooling="std"), objective)
    loss = model(torch.randn(4, 2, 16, 25, 3), confidence=torch.rand(4, 2, 16, 25)).loss
    nodes, found = [loss.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in found:
            found.add(node)
            nodes += [before for before, _ in node.next_functions]
    names = {type(node).__name__.rstrip("0") for node in found}
    assert "EmbeddingBackward" in names and not names & {"IndexBackward", "IndexPutBackward", "TakeBackward"}, names


@pytest.mark.slow
def test_runs_are_the_same_again_with_two_threads(store: Path, tmp_path: Path) -> None:
    """Runs of one seed, stopped or not, with two threads and clips read ahead: bit for bit."""
    torch.set_num_threads(2)
    config = tiny(encoder__dim_feat=64, objective__decoder_dim_feat=64, data__workers=1, objective__joints_weight=0.5)
    try:
        for number in range(6):
            for stop in (4, None) if number % 2 else (None,):
                run = dataclasses.replace(config.run, stop_after=stop)
                train(dataclasses.replace(config, run=run), store, tmp_path / str(number))
    finally:
        torch.set_num_threads(1)
    for number in range(1, 6):
        assert_same(weights(tmp_path / str(number)), weights(tmp_path / "0"))
