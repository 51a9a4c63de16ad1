"""What the tests of search share: a small encoder, recordings, and processes that index them.

As a program it is a server that forks a process for each line of standard input, real processes to be killed, without
the seconds that importing torch and LanceDB takes.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mamp import MAMPConfig, MAMPEncoder
from mamp.search import Index, table, writer
from mamp.synthetic import write_recordings

ROOT = Path(__file__).resolve().parents[1]
ACTIONS = ("walk", "wave", "squat", "kick")


def small_encoder(folder: Path, seed: int = 0) -> Path:
    """Weights of a few thousand numbers, as a folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        MAMPEncoder(MAMPConfig(dim_feat=16, depth=1, num_heads=2)).save_pretrained(folder)
    return folder


def recordings(folder: Path, seconds: float = 5.0, variations: int = 2, seed: int = 0) -> Path:
    """A folder of BVH files, ``walk-0.bvh`` and others."""
    write_recordings(folder, variations, seconds, seed, ACTIONS)
    return folder


def rows(path: Path) -> dict[str, dict[str, list[Any]]]:
    """Start and vector of the rows of an index, by file and content; fails where a row is there twice."""
    everything = Index.open(path).to_arrow().to_pylist()
    keys = Counter((row["content"], row["start"], row["person"]) for row in everything)
    assert not keys or max(keys.values()) == 1, "a row is there twice"
    found: dict[str, dict[str, list[Any]]] = {}
    for row in sorted(everything, key=lambda row: (row["file"], row["start"], row["person"])):
        windows = found.setdefault(row["file"], {}).setdefault(row["content"], [])
        windows.append((row["start"], row["end"], row["person"], np.float32(row["vector"]).tobytes()))
    return found


class Server:
    """Forks processes that work on an index."""

    def __init__(self) -> None:
        env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, method: str, path: Path, recordings: Path, rows_a_commit: int = 1) -> int:
        """Start ``Index.add`` or ``Index.update`` in a process of its own; returns its number."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([method, str(path), str(recordings), rows_a_commit]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait(self) -> int:
        """Wait for the process that was started last; its exit status, negative when it was killed."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _work(method: str, path: str, folder: str, rows_a_commit: int) -> None:
    writer.ROWS_A_COMMIT, table.APPROXIMATE_FROM = rows_a_commit, 20
    where = Path(path)
    one = Index.open(where) if where.exists() else Index.create(where, str(where.parent / "weights"), 1.0, 0.5)
    getattr(one, method)(folder)


def _serve() -> None:
    import lancedb  # noqa: F401

    warnings.simplefilter("ignore")  # LanceDB warns of forks; nothing has used it yet
    logging.disable()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _work(*json.loads(line))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
