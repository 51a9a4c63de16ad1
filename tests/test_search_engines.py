"""Engines of an index: the rows are the same, whatever embeds, and whatever is killed meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from search_helpers import small_encoder

from mamp.search import Index
from mamp.search.embedder import Embedded, Failed, Task
from mamp.workers import in_order

pytest.importorskip("lancedb", reason="needs lancedb: make setup-all, or pip install 'mamp[search]'")
READING = {"layout": "ntu25", "fps": 30, "unit": "m", "up": "y"}


class Deadly:
    """Kills its process at every tenth recording, the first time."""

    def __init__(self, work: Callable[[Task], Embedded | Failed]) -> None:
        self.work = work

    def __call__(self, task: Task) -> Embedded | Failed:
        mark = Path(task.source.folder).with_name(f"killed-{task.source.file}")
        if task.source.file[:2] in ("00", "10", "20", "30", "40", "50", "60") and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.work(task)


def killed(work: Callable[[Task], Embedded | Failed], tasks: Sequence[Task]) -> Iterator[Embedded | Failed]:
    return in_order(Deadly(work), tasks, 2)


def test_processes_that_are_killed_change_nothing(tmp_path: Path) -> None:
    weights = small_encoder(tmp_path / "weights")
    (tmp_path / "files").mkdir()
    for number in range(66):
        positions = np.random.default_rng(number).normal(size=(1, 20, 25, 3))
        np.save(tmp_path / "files" / f"{number:02}.npy", positions.astype(np.float32))
    (tmp_path / "files" / "bad.npy").write_bytes(b"none")
    found = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, engine in (("here", map), ("processes", killed)):
            index = Index.create(tmp_path / name, str(weights), window=0.4)
            report = index.add(tmp_path / "files", engine=engine, **READING)
            assert len(report.added) == 66 and list(report.failed) == ["bad.npy"]
            found[name] = index.to_pandas().sort_values(["file", "start"])
    finally:
        torch.set_num_threads(threads)
    assert len(list(tmp_path.glob("killed-*"))) == 7
    keys = [found[name][["file", "start", "end"]].values.tolist() for name in ("here", "processes")]
    assert keys[0] == keys[1] and len(keys[0]) > 66
    np.testing.assert_allclose(np.stack(found["here"]["vector"]), np.stack(found["processes"]["vector"]), atol=1e-6)
