"""An index that is killed at any moment opens, holds each recording whole or not at all, and goes on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from search_helpers import Server, recordings, rows, small_encoder

from mamp.errors import SearchError
from mamp.search import Index

pytest.importorskip("lancedb", reason="needs lancedb: make setup-all, or pip install 'mamp[search]'")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, recordings as they were and as they are now: one gone, one changed, one under another name, one new."""
    folder = tmp_path_factory.mktemp("work")
    small_encoder(folder / "weights")
    recordings(folder / "before")
    shutil.copytree(folder / "before", folder / "after")
    other = recordings(folder / "other", seed=7, variations=3)
    (folder / "after" / "walk-1.bvh").unlink()
    shutil.copy(other / "wave-1.bvh", folder / "after" / "wave-1.bvh")
    (folder / "after" / "kick-1.bvh").rename(folder / "after" / "kick-renamed.bvh")
    shutil.copy(other / "squat-2.bvh", folder / "after" / "new.bvh")
    return folder


def whole(found: dict, expected: dict) -> None:
    """Each recording that is there is there with all its rows, and once."""
    for file, contents in found.items():
        assert len(contents) == 1, f"{file} is there in two versions"
        assert contents == expected[file], file


def run_and_kill(server: Server, method: str, path: Path, folder: Path, rng: random.Random, seconds: float) -> bool:
    """Kill a process at a random moment of its time, or a moment after it made a number of files; whether it was."""
    by_time, moment = rng.random() < 0.25, rng.uniform(0, seconds)
    files, after = rng.randrange(1, 30), rng.uniform(0, 0.01)
    pid = server.start(method, path, folder)
    start = time.monotonic()
    before = _count(path)
    while time.monotonic() - start < (moment if by_time else 20 * seconds):
        if not by_time and _count(path) - before >= files:
            time.sleep(after)
            break
        if not by_time and not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.0005)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return server.wait() != 0


def _count(path: Path) -> int:
    """Files of an index, those that it is made of before it has its name too."""
    return sum(len(files) for place in path.parent.glob(f"*{path.name}*") for _, _, files in os.walk(place))


def campaign(server: Server, work: Path, folder: Path, seed: int, wanted: int) -> None:
    """Index and update, again and again, until so many processes were killed while they did."""
    rng, kills, trial = random.Random(seed), 0, 0
    shutil.copytree(work / "weights", folder / "weights")
    data = folder / "data"
    expected, seconds = {}, {}
    for method, state in (("add", "before"), ("update", "after")):
        _become(data, work / state)
        start = time.monotonic()
        server.start(method, folder / "undisturbed", data)
        assert server.wait() == 0
        seconds[method] = time.monotonic() - start
        expected[method] = rows(folder / "undisturbed")
    assert set(expected["update"]) == {path.name for path in data.glob("*.bvh")}
    while kills < wanted:
        trial += 1
        path = folder / f"index-{trial}"
        for method, state in (("add", "before"), ("update", "after")):
            _become(data, work / state)
            for _ in range(10):
                if not run_and_kill(server, method, path, data, rng, seconds[method]):
                    break
                kills += 1
                if not path.exists():
                    assert method == "add"
                    continue
                found = rows(path)
                if method == "add":
                    whole(found, expected["add"])
                else:
                    check_update(found, expected)
            else:
                server.start(method, path, data)
                assert server.wait() == 0
            assert rows(path) == expected[method], (seed, trial, method)
        assert [one.name for one in path.parent.glob(f".{path.name}*")] == [], "something is left over"
        shutil.rmtree(path)
    print(f"{kills} processes were killed in {trial} rounds")


def check_update(found: dict, expected: dict) -> None:
    """Between two states a recording is in the old or the new one; what neither removes nor moves is never away."""
    old, new = expected["add"], expected["update"]
    for file, contents in found.items():
        assert contents in (old.get(file), new.get(file)), f"{file} is neither old nor new"
    kept = {content for file in old.keys() & new.keys() for content in old[file] if old[file] == new[file]}
    there = {content for contents in found.values() for content in contents}
    moved = next(iter(old["kick-1.bvh"]))
    assert kept | {moved} <= there, "something is lost"
    assert {"wave-1.bvh"} <= set(found), "the changed recording is lost"


def _become(data: Path, state: Path) -> None:
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(state, data)


def test_kills(server: Server, work: Path, tmp_path: Path) -> None:
    campaign(server, work, tmp_path, seed=1, wanted=3)


@pytest.mark.slow
def test_many_kills(server: Server, work: Path, tmp_path: Path) -> None:
    campaign(server, work, tmp_path, seed=int(os.environ.get("SEED", "2")), wanted=200)


def test_a_reader_beside_a_writer(server: Server, work: Path, tmp_path: Path) -> None:
    """Searches go on, and see what is committed, while a process adds; a second writer is refused by name."""
    shutil.copytree(work / "weights", tmp_path / "weights")
    path, many = tmp_path / "moves", recordings(tmp_path / "many", variations=6)
    Index.create(path, str(tmp_path / "weights"), 1.0, 0.5).add(work / "before")
    first = Index.open(path)
    counts = [len(first)]
    pid = server.start("add", path, many)
    try:
        while not (path / ".lock").exists() or not (path / ".lock").read_text():
            time.sleep(0.001)
        with pytest.raises(SearchError, match=f"another process works on this index.*process {pid} "):
            Index.open(path).add(work / "after")
        while Path(f"/proc/{pid}/exe").exists() and len(counts) < 2000:
            hits = first.search(many / "walk-0.bvh", k=3)
            assert len(hits) == 3
            counts.append(len(first))
    finally:
        status = server.wait()
    assert status == 0
    assert counts == sorted(counts) and len(set(counts)) > 2, "the reader saw nothing of the writer"
    assert len(Index.open(path)) == len(first)
