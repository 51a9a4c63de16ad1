"""The example of signals of a phone: its generator, its reader, and a few steps; all of it in the slow tests."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "time_series.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mamp_example_time_series", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_signals_and_files(example: ModuleType, tmp_path: Path) -> None:
    x, labels = example.make(20, np.random.default_rng(0))
    assert x.shape == (20, 100, 6) and set(labels) <= set(range(5))
    assert np.array_equal(x, example.make(20, np.random.default_rng(0))[0])
    rows = [
        ":".join([*(",".join(map(repr, map(float, channel))) for channel in one.T), str(n)])
        for one, n in zip(x, labels, strict=True)
    ]
    (tmp_path / "a.ts").write_text("#made up\n@data\n" + "\n".join(rows) + "\n")
    read, names = example.read(str(tmp_path / "a.ts"))
    assert np.array_equal(read, x) and names.tolist() == [str(n) for n in labels]


def test_nearest_neighbour(example: ModuleType) -> None:
    train, labels = np.array([[0.0, 0.0], [1.0, 10.0]]), np.array(["a", "b"])
    assert example.accuracy(train, labels, np.array([[0.1, 1.0], [0.9, 2.0]]), np.array(["a", "a"])) == 0.5


def test_a_few_steps(example: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(example, "STEPS", 2)
    monkeypatch.setattr(sys, "argv", ["time_series.py"])
    example.main()
    rows = [line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in rows] == [
        "raw series",
        "mean and deviation",
        "power spectrum",
        "untrained encoder",
        "trained encoder",
    ]
    assert all(0 < float(share.rstrip("%")) <= 100 for _, share in rows)


@pytest.mark.slow
def test_as_it_is_run() -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, cwd=EXAMPLE.parents[1])
    assert done.returncode == 0, done.stderr
    shares = {line[:20].strip(): float(line[20:].rstrip("%\n")) for line in done.stdout.splitlines()}
    assert shares["trained encoder"] > shares["raw series"]
