"""Two processes under ``torchrun`` train as one does; what goes wrong in one of them ends both."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from train_helpers import (
    TENSORBOARD,
    Process,
    double_precision,
    job,
    largest_difference,
    make_store,
    metrics,
    tiny,
    weights,
)

from mamp.train.checkpoint import load_checkpoint
from mamp.train.engine import train

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"optim__per_device_batch": 2},
    "everything": {
        "optim__per_device_batch": 1,
        "optim__ema": 0.9,
        "optim__clip_grad": 0.1,
        "objective__decoded_tokens": 20,
        "objective__joints_weight": 0.5,
    },
}
POISONED = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def store(folder: Path) -> Path:
    make_store(folder / "poisoned", poison=POISONED)
    return make_store(folder / "store")


@pytest.fixture(scope="module")
def two(folder: Path, store: Path) -> Path:
    """Outputs of everything that is run in two processes here: starting them takes longer than all the runs."""
    single, double = folder / "single", folder / "double"
    jobs = [job(tiny(**VARIANTS[name]), store, single / name) for name in VARIANTS]
    jobs += [job(tiny(**VARIANTS[name]), store, double / name, double=True) for name in VARIANTS]
    jobs += [
        job(tiny(run__precision="bfloat16"), store, folder / "bfloat16"),
        job(tiny(run__checkpoint_every=1), folder / "poisoned", folder / "bad-clip"),
        job(tiny(optim__lr=0.5), store, single / "plain"),
        job(tiny(), folder / "nowhere", folder / "no-store"),
        job(tiny(), store, store / "meta.json"),
        job(tiny(run__stop_after=2), store, folder / "of-{rank}"),
        job(tiny(), store, folder / "of-{rank}"),
        job(tiny(optim__batch_size=9), store, folder / "uneven"),
    ]
    with Process(jobs, folder / "logs", processes=2, only=False) as run:
        assert run.wait() == [0], run.text[-4000:]
    return folder


@pytest.fixture(scope="module")
def one(folder: Path, store: Path) -> Path:
    """The same runs in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, TENSORBOARD, None)
        for name, changes in VARIANTS.items():
            train(tiny(**changes), store, folder / "one" / "single" / name)
            with double_precision():
                train(tiny(**changes), store, folder / "one" / "double" / name)
    return folder / "one"


def errors(folder: Path, name: str) -> list[str]:
    """Messages of the two processes."""
    return [(folder / f"{name}.error-{rank}").read_text(encoding="utf-8") for rank in (0, 1)]


@pytest.mark.parametrize("name", VARIANTS)
def test_equals_one_process_in_float64(two: Path, one: Path, name: str) -> None:
    ours, expected = weights(two / "double" / name), weights(one / "double" / name)
    assert ours["model.norm.weight"].dtype == expected["model.norm.weight"].dtype
    assert ours["step"] == 12
    assert largest_difference(ours, expected) < 1e-9
    if name == "everything":
        assert largest_difference(ours, expected, "average.") < 1e-9
    for a, b in zip(metrics(two / "double" / name), metrics(one / "double" / name), strict=True):
        assert a == pytest.approx(b, rel=1e-9)


@pytest.mark.parametrize("name", VARIANTS)
def test_equals_one_process_in_float32(two: Path, one: Path, name: str) -> None:
    for a, b in zip(metrics(two / "single" / name), metrics(one / "single" / name), strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    # Adam makes steps of full length from gradients that are rounding only, as those of the biases of the keys are.
    ours, expected = (
        {key: value for key, value in weights(place / "single" / name).items() if not key.endswith("attn.qkv.bias")}
        for place in (two, one)
    )
    assert largest_difference(ours, expected) < 2e-5


def test_accumulation_changes_nothing_but_memory(one: Path) -> None:
    plain, accumulated = one / "double" / "plain", one / "double" / "accumulated"
    assert largest_difference(weights(plain), weights(accumulated)) < 1e-9
    assert [line["lr"] for line in metrics(plain)] == [line["lr"] for line in metrics(accumulated)]


def test_bfloat16(two: Path) -> None:
    losses = [line["loss"] for line in metrics(two / "bfloat16")]
    exact = [line["loss"] for line in metrics(two / "single" / "plain")]
    assert losses != exact
    assert losses == pytest.approx(exact, rel=0.05)


def test_a_bad_clip_stops_both_and_both_name_it(two: Path) -> None:
    first, second = errors(two, "bad-clip")
    assert first == second
    assert first.startswith("TrainingError: the loss or its gradient is not finite at step")
    named = first.rsplit(": ", 1)[1].split(", ")
    assert f"clip-{POISONED:03d}" in named
    assert len(named) == 4  # the half of the batch in which it was, and not the other process's
    state = load_checkpoint(two / "bad-clip" / "checkpoints")
    assert (state["step"] if state else 0) == len(metrics(two / "bad-clip"))
    assert f"at step {len(metrics(two / 'bad-clip'))}" in first
    if state:
        assert all(value.isfinite().all() for value in state["model"].values())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("single/plain", "holds another run .different: optim.lr"),
        ("no-store", "expected a folder written by python -m mamp.prepare"),
        ("store/meta.json", "cannot write here"),
        ("uneven", "9 cannot be split over 2 processes of 4 clips each"),
        ("of-{rank}", "the processes found checkpoints of different steps .2, 0."),
    ],
)
def test_what_cannot_start_ends_in_both(two: Path, name: str, message: str) -> None:
    found = errors(two, name)
    assert all(re.search(message, text) or "another process of this run failed" in text for text in found), found
    assert any(re.search(message, text) for text in found), found


def test_an_earlier_run_is_untouched_by_a_refused_one(two: Path, one: Path) -> None:
    assert len(metrics(two / "single" / "plain")) == 12
    assert weights(two / "single" / "plain")["step"] == 12
