"""Runs that are killed, terminated and damaged end with the weights of one that was left alone. Real processes."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from train_helpers import (
    Forked,
    Process,
    Server,
    assert_same,
    job,
    kill_at_random_moments,
    make_store,
    metrics,
    steps_done,
    tiny,
    weights,
)

from mamp.train.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find processes")

CONFIG = tiny(
    optim__epochs=30, optim__ema=0.9, objective__decoded_tokens=30, objective__joints_weight=0.5, data__workers=1
)
STEPS = 90


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def undisturbed(server: Server, store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Runs that nobody disturbs, in one and in two processes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for processes in (1, 2):
        with Forked(server, job(CONFIG, store, folder / str(processes)), folder / "logs", processes) as run:
            assert run.wait() == [0] * processes, run.text[-4000:]
    return {processes: folder / str(processes) for processes in (1, 2)}


def assert_equal_runs(output: Path, expected: Path) -> None:
    """Same weights, same averages, each step written down once, and nothing left over."""
    assert_same(weights(output), weights(expected))
    assert_same(weights(output, "best.pt"), weights(expected, "best.pt"))
    assert metrics(output) == metrics(expected)
    assert [line["step"] for line in metrics(output)] == list(range(1, STEPS + 1))
    assert (output / "encoder" / "model.safetensors").read_bytes() == (
        expected / "encoder" / "model.safetensors"
    ).read_bytes()
    assert not list(output.rglob("*.tmp"))


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_random_moments(
    server: Server, store: Path, undisturbed: dict[int, Path], tmp_path: Path, processes: int
) -> None:
    output, logs = tmp_path / "run", tmp_path / "logs"
    entry = job(CONFIG, store, output)
    seen = kill_at_random_moments(lambda: Forked(server, entry, logs, processes), output, 4, random.Random(processes))
    assert len(seen) >= 3 and seen[-1] > seen[0]
    with Forked(server, entry, logs, processes) as run:
        assert run.wait() == [0] * processes, run.text[-4000:]
    assert_equal_runs(output, undisturbed[processes])


@pytest.mark.parametrize("receiver", ["torchrun", pytest.param("worker", marks=pytest.mark.slow)])
def test_killed_and_terminated_under_torchrun(
    server: Server, store: Path, undisturbed: dict[int, Path], tmp_path: Path, receiver: str
) -> None:
    output, logs = tmp_path / "run", tmp_path / "logs"
    entry = job(CONFIG, store, output)
    kill_at_random_moments(lambda: Process([entry], logs, 2), output, 1, random.Random(7))
    with Process([entry], logs, 2) as run:
        target = steps_done(output) + 5
        assert run.until(lambda: steps_done(output) >= target), run.text[-4000:]
        workers = run.workers()
        assert len(workers) == 2
        os.kill(run.popen.pid if receiver == "torchrun" else workers[1], signal.SIGTERM)
        status = run.wait()
    # torchrun passes the signal on to its workers, and ends with a status of its own when it was the one asked.
    assert receiver == "torchrun" or status == [0], run.text[-4000:]
    stopped = load_checkpoint(output / "checkpoints")
    assert stopped is not None and target <= stopped["step"] < STEPS
    assert steps_done(output) == stopped["step"]
    with Forked(server, entry, logs, 2) as last:
        assert last.wait() == [0, 0], last.text[-4000:]
    assert_equal_runs(output, undisturbed[2])


@pytest.mark.parametrize("which", ["the only process", "its whole group", "one of two"])
def test_sigterm_saves_and_ends_well(
    server: Server, store: Path, undisturbed: dict[int, Path], tmp_path: Path, which: str
) -> None:
    output, logs = tmp_path / "run", tmp_path / "logs"
    processes = 2 if which == "one of two" else 1
    entry = job(CONFIG, store, output)
    with Forked(server, entry, logs, processes) as run:
        assert run.until(lambda: steps_done(output) >= 4), run.text[-4000:]
        if which == "its whole group":  # with the background worker that reads clips
            os.killpg(run.pids()[0], signal.SIGTERM)
        else:
            os.kill(run.pids()[-1], signal.SIGTERM)
        assert run.wait() == [0] * processes, run.text[-4000:]
    stopped = load_checkpoint(output / "checkpoints")
    assert stopped is not None and 4 <= stopped["step"] < STEPS
    assert steps_done(output) == stopped["step"]
    with Forked(server, entry, logs, processes) as run:
        assert run.wait() == [0] * processes, run.text[-4000:]
    assert_equal_runs(output, undisturbed[processes])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_many_times_under_torchrun(store: Path, undisturbed: dict[int, Path], tmp_path: Path, seed: int) -> None:
    output, logs = tmp_path / "run", tmp_path / "logs"
    entry = job(CONFIG, store, output)
    kill_at_random_moments(lambda: Process([entry], logs, 2), output, 4, random.Random(100 + seed))
    with Process([entry], logs, 2) as run:
        assert run.wait() == [0], run.text[-4000:]
    assert_equal_runs(output, undisturbed[2])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_many_times(
    server: Server, store: Path, undisturbed: dict[int, Path], tmp_path: Path, seed: int
) -> None:
    output, logs = tmp_path / "run", tmp_path / "logs"
    entry = job(CONFIG, store, output)
    kill_at_random_moments(lambda: Forked(server, entry, logs), output, 12, random.Random(200 + seed))
    with Forked(server, entry, logs) as run:
        assert run.wait() == [0], run.text[-4000:]
    assert_equal_runs(output, undisturbed[1])
