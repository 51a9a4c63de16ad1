"""Several processes: results in order, few in flight, and nothing lost or done twice when some of them are killed."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from mamp.errors import ReadError, WorkerError
from mamp.workers import in_order


class Square:
    """Notes each task it ends in a file of its own, and kills its process at some tasks the first time."""

    def __init__(self, folder: Path, deadly: tuple[int, ...] = (), attempts: int = 1) -> None:
        self.folder, self.deadly, self.attempts = folder, deadly, attempts

    def __call__(self, task: int) -> tuple[int, int, int]:
        tries = len(list(self.folder.glob(f"{task}-*")))
        (self.folder / f"{task}-{os.getpid()}-{tries}").touch()
        if task in self.deadly and tries < self.attempts:
            os.kill(os.getpid(), signal.SIGKILL)
        if task < 0:
            raise ReadError(f"{task}: expected a positive number.")
        time.sleep(0.001 * (task % 3))
        return task * task, os.getpid(), torch.get_num_threads()


def test_in_order_by_several_processes_of_one_thread(tmp_path: Path) -> None:
    results = list(in_order(Square(tmp_path), range(60), 3))
    assert [square for square, _, _ in results] == [task * task for task in range(60)]
    assert 2 <= len({pid for _, pid, _ in results}) <= 3 and os.getpid() not in {pid for _, pid, _ in results}
    assert {threads for _, _, threads in results} == {1}
    assert [square for square, _, _ in in_order(Square(tmp_path), range(4), 1)] == [0, 1, 4, 9]
    assert list(in_order(Square(tmp_path), (), 3)) == []


@pytest.mark.parametrize("seed", range(2))
def test_the_work_of_killed_processes_is_done_again(tmp_path: Path, seed: int) -> None:
    deadly = tuple(random.Random(seed).sample(range(40), 6))
    results = list(in_order(Square(tmp_path, deadly), range(40), 2))
    assert [square for square, _, _ in results] == [task * task for task in range(40)]
    tries = [len(list(tmp_path.glob(f"{task}-*"))) for task in range(40)]
    assert tries == [2 if task in deadly else 1 for task in range(40)]


def test_a_task_that_kills_every_process_is_an_error(tmp_path: Path) -> None:
    results = in_order(Square(tmp_path, (5,), attempts=9), range(40), 2)
    with pytest.raises(WorkerError, match="killed 3 times at the same task"):
        for _ in results:
            pass
    assert len(list(tmp_path.glob("5-*"))) == 3


def test_errors_come_in_order_and_endless_tasks_are_taken_as_needed(tmp_path: Path) -> None:
    results = in_order(Square(tmp_path), itertools.chain([1, 2, 3, -1], itertools.count(4)), 2)
    assert [next(results)[0] for _ in range(3)] == [1, 4, 9]
    with pytest.raises(ReadError, match="expected a positive number"):
        next(results)
    assert len(list(tmp_path.iterdir())) < 4 + 4 * 2 + 2
