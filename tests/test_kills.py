"""Killed inside a rename, a write or a sync, commands leave the old output or the new one, and go on the next time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from train_helpers import ROOT, environment

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills forked processes")

SAMPLE = ("embed", "save_pretrained of a classifier", "train")
ALL = (
    *("embed", "embed through a link", "predict", "prepare", "prepare --overwrite", "save_pretrained"),
    *("save_pretrained of a classifier", "convert", "readout", "train", "train with two threads"),
    *("evaluate knn", "evaluate linear", "evaluate finetune"),
)


def kill(tmp_path: Path, seed: int, count: int, *cases: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "tests" / "kills.py"), str(tmp_path), str(seed), str(count), *cases]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-6000:]
    found: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        found |= json.loads(line)
    return found


def test_a_sample(tmp_path: Path) -> None:
    found = kill(tmp_path, 0, 3, *SAMPLE)
    assert list(found) == list(SAMPLE) and all(case["kills"] == 3 for case in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("case", ALL)
def test_at_every_rename_and_sync_and_in_every_file(tmp_path: Path, case: str, seed: int) -> None:
    found = kill(tmp_path, seed, 0, case)[case]
    renames = sum(count for kind, count in found["at"].items() if kind.startswith("after "))
    assert renames >= 1 and found["kills"] > 2 * renames and found["at"]["write"] >= 1, found
