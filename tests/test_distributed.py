"""Embedding on a Ray cluster: several nodes on this machine, real processes, one node killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from train_helpers import ROOT, environment, make_store

from mamp import MAMPConfig, MAMPEncoder
from mamp.cli import main
from mamp.distributed import embed
from mamp.errors import DataError, MissingExtraError, MissingFileError

CLIPS = 300


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    np.save(tmp_path / "a.npy", np.zeros((1, 2, 25, 3)))
    with pytest.raises(MissingExtraError, match=r"pip install 'mamp\[ray\]'"):
        embed([tmp_path / "a.npy"])


def test_what_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="expected a folder, a store or a list of paths"):
        embed(tmp_path / "absent")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, of the extra ray")
    pa = pytest.importorskip("pyarrow")
    parquet.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="expected a column file or path, found x"):
        embed(tmp_path / "a.parquet")


@pytest.mark.slow
def test_a_node_is_killed(tmp_path: Path) -> None:
    """Nothing lost, nothing twice: the output is to the byte that of this process alone."""
    pytest.importorskip("ray", reason="needs Ray, of the extra ray: pip install 'mamp[ray]'")
    torch.manual_seed(0)
    weights, store, files, folder = (tmp_path / name for name in ("weights", "store", "files", "out"))
    MAMPEncoder(MAMPConfig(dim_feat=128, depth=3, num_heads=4)).save_pretrained(weights)
    make_store(store, CLIPS)
    files.mkdir()
    folder.mkdir()
    for number in range(20):
        positions = np.random.default_rng(number).normal(size=(1, 20, 25, 3))
        np.save(files / f"{number:02}.npy", positions.astype(np.float32))
    command = [sys.executable, str(ROOT / "tests" / "ray_cluster.py"), *map(str, (weights, store, files, folder))]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0"}
    done = subprocess.run(command, env=environment() | quiet, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-6000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["shards when a node was killed"] < CLIPS / 2 and found["nodes alive"] == 2
    assert (found["embedded"], found["failed"], found["again"]) == (CLIPS, {}, [CLIPS, 0])
    assert found["growth"] and max(found["growth"]) < 60 and found["actors"] >= 2
    assert "1 files failed" in found["strict"] and found.get("indexed", [20, {}]) == [20, {}]

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert (
            main(["embed", str(store), "-o", str(tmp_path / "a.npz"), "--weights", str(weights), "--batch-size", "2"])
            == 0
        )
    finally:
        torch.set_num_threads(before)
    assert (folder / "killed.npz").read_bytes() == (tmp_path / "a.npz").read_bytes()
    parquet = pytest.importorskip("pyarrow.parquet")
    tables = {name: parquet.read_table(folder / f"{name}.parquet") for name in ("list", "folder", "parquet", "dataset")}
    assert all(table.equals(tables["list"]) for table in tables.values()) and len(tables["list"]) == 20
    rows = parquet.read_table(folder / "rows").to_pandas().sort_values("file")
    assert rows["file"].tolist() == tables["list"]["file"].to_pylist() and set(rows["error"]) == {""}
    np.testing.assert_array_equal(np.stack(rows["embedding"]), np.stack(tables["list"]["embedding"].to_pylist()))
    assert {path.name for path in folder.glob(".*")} <= {".strict.npz.embedding"}
