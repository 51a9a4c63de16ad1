"""One process at a time writes in the folder of a run; the lock ends with the process, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from train_helpers import ROOT, make_store, tiny

from mamp.errors import ConfigError, DataError, TrainingError
from mamp.evaluate.runner import evaluate
from mamp.outputs import lock, one_writer
from mamp.train.engine import train

HOLD = """
import sys
from pathlib import Path
from mamp.errors import TrainingError
from mamp.outputs import one_writer
with one_writer(Path(sys.argv[1]), "run", TrainingError):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder_of(folder: Path) -> subprocess.Popen[str]:
    """Another process that works in a folder until its standard input ends."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("one") / "store")


def test_a_second_training_is_told_who_works_there(store: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    with holder_of(output) as first:
        for config in (tiny(), tiny(optim__lr=0.5)):  # the same run twice would mix its metrics too
            with pytest.raises(TrainingError, match=f"another process works on this run.* It is process {first.pid} "):
                train(config, store, output)
        assert [path.name for path in output.iterdir()] == [".lock"], "the second one wrote something"
        first.kill()
    train(tiny(run__stop_after=1), store, output)
    assert not (output / ".lock").exists()


def test_an_evaluation_too(store: Path, tmp_path: Path) -> None:
    columns = {"label": [k % 2 for k in range(24)], "split": ["train" if k % 4 < 2 else "test" for k in range(24)]}
    labelled = make_store(tmp_path / "labelled", **columns)
    with one_writer(tmp_path / "results", "evaluation", ConfigError), pytest.raises(ConfigError, match="another proc"):
        evaluate("knn", "poses", labelled, tmp_path / "results")
    assert evaluate("knn", "poses", labelled, tmp_path / "results")["trials"]


def test_where_nobody_can_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write here"), one_writer(tmp_path / "file" / "run", "run", DataError):
        pass


def test_only_one_holds_a_lock_whose_file_comes_and_goes(tmp_path: Path) -> None:
    """The holder removes the file at the end, while others wait to open it, have opened it, or make a new one."""
    inside, most = 0, 0
    end = time.monotonic() + 60

    def work() -> None:
        nonlocal inside, most
        taken = 0
        while taken < 50 and time.monotonic() < end:
            try:
                with lock(tmp_path / "lock", DataError("busy")):
                    inside += 1
                    most, taken = max(most, inside), taken + 1
                    os.sched_yield()
                    inside -= 1
            except DataError:
                os.sched_yield()
        counts.append(taken)

    counts: list[int] = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and counts == [50] * 4 and not (tmp_path / "lock").exists()
