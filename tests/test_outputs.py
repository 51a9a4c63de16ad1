"""Files and folders whole or absent, whenever the process that writes them is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_prepare_engine import Numbers
from train_helpers import make_store

from mamp import outputs
from mamp.data import ClipStore
from mamp.outputs import folder_beside, put_in_place, recover, write_whole
from mamp.prepare.build import Settings, prepare

ROOT = Path(__file__).resolve().parents[1]
DEAD = 2**22 + 1  # no process of Linux has a higher number than 2**22

# Kills itself before the n-th step of what changes names or removes folders, for n = 0, 1, ... until none is left.
KILLS = """
import json, os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from mamp import outputs
from mamp.data import ClipStore
from mamp.prepare.build import Settings, prepare
from test_prepare_engine import Numbers, contents

folder, exchange = Path(sys.argv[1]), sys.argv[2] == "exchange"
output, steps = folder / "store", []
if not exchange:
    outputs._exchange = lambda first, second: False


def run():
    prepare(Numbers(folder / "new", second=True), output, Settings(workers=1, overwrite=True))


def count(owner, name, moment):
    real = getattr(owner, name)
    def step(*args, **options):
        if len(steps) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        steps.append(name)
        return real(*args, **options)
    setattr(owner, name, step)


prepare(Numbers(folder / "old"), folder / "first", Settings(workers=1))
prepare(Numbers(folder / "new", second=True), folder / "second", Settings(workers=1))
old, new = contents(folder / "first"), contents(folder / "second")
names, found = sorted([*os.listdir(folder), "store"]), []
for moment in range(99):
    shutil.copytree(folder / "first", output)
    child = os.fork()
    if child == 0:
        for owner, name in ((outputs, "_exchange"), (Path, "rename"), (Path, "replace"), (shutil, "rmtree")):
            count(owner, name, moment)
        run()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    ClipStore(output)
    here = contents(output)
    found.append("old" if here == old else "new" if here == new else "neither")
    run()
    assert contents(output) == new and sorted(os.listdir(folder)) == names, os.listdir(folder)
    shutil.rmtree(output)
    if status == 0:
        break
print(json.dumps(found))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills a forked process")
@pytest.mark.parametrize("way", ["exchange", "rename"])
def test_killed_at_every_step_of_replacing_a_store_one_of_the_two_is_there(tmp_path: Path, way: str) -> None:
    for name, count in (("old", 3), ("new", 5)):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{number}.n").write_text(f"{2 + number} 1 {number}")
    script = KILLS.format(tests=str(ROOT / "tests"))
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), way],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == sorted(found, reverse=True) and set(found) == {"old", "new"}, "the old one, then the new one"
    assert len(found) >= (4 if way == "exchange" else 6)


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr(outputs, "_exchange", lambda first, second: False)
    for text in ("first", "second"):
        with folder_beside(tmp_path / "a") as beside:
            (beside / "file").write_text(text)
            put_in_place(beside, tmp_path / "a")
        assert (tmp_path / "a" / "file").read_text() == text
        assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    here = outputs._maker().partition("@")[2]
    left = [f".a.npz.{DEAD}.tmp", f".a.npz.{DEAD}@{here}.tmp", f".a.npz-{DEAD}-0123abcd", f".a.npz-old-{DEAD}@{here}"]
    left += [f".a.npz.{os.getppid()}@01234567.tmp"]  # of another machine, untouched for long
    kept = [
        f".a.npz.{DEAD}@00000000.tmp",
        f".a.npz.{os.getppid()}@{here}.tmp",
        f".a.npz.{os.getppid()}.tmp",
        f".a.npz-{DEAD}",
        f".a.npz.{DEAD}",
        f".b.npz.{DEAD}.tmp",
        ".a.npz-old-x",
    ]
    (tmp_path / "a.npz").write_text("")
    for name in (*left, *kept):
        (tmp_path / name).mkdir() if "-" in name else (tmp_path / name).write_text("")
    os.utime(tmp_path / left[-1], (0, 0))
    write_whole(tmp_path / "a.npz", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "a.npz"])


def test_a_folder_that_was_moved_aside_comes_back(tmp_path: Path) -> None:
    (tmp_path / f".a-old-{DEAD}").mkdir()
    (tmp_path / f".b-old-{os.getppid()}").mkdir()
    for name in ("a", "b"):
        recover(tmp_path / name)
    assert (tmp_path / "a").is_dir() and not (tmp_path / "b").exists(), "the other process may still be replacing it"


def test_a_store_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to("disk/store")
    for clips in (2, 3):
        make_store(tmp_path / "store", clips)
        assert len(ClipStore(tmp_path / "store")) == clips
        assert (tmp_path / "store").is_symlink() and sorted(path.name for path in tmp_path.iterdir()) == [
            "disk",
            "store",
        ]
        assert [path.name for path in (tmp_path / "disk").iterdir()] == ["store"]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.n").write_text("5 1 0")
    prepare(Numbers(tmp_path / "raw"), tmp_path / "store", Settings(workers=1, overwrite=True))
    assert ClipStore(tmp_path / "disk" / "store").columns["name"].tolist() == ["a.n"]
    assert (tmp_path / "store").is_symlink() and [path.name for path in (tmp_path / "disk").iterdir()] == ["store"]
