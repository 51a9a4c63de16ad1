"""The engine of preparation: order, kills, damage, full disks, bad files; with a small data set of numbers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mamp.data import ClipStore
from mamp.errors import DataError, MissingFileError, ReadError
from mamp.prepare import build as engine
from mamp.prepare.__main__ import main
from mamp.prepare.build import Settings, dry_run, prepare
from mamp.prepare.dataset import Clip, Dataset, Item, Listing
from mamp.prepare.journal import work_folder
from mamp.readers.files import read_text
from mamp.readers.find import find_files, key_of
from mamp.synthetic import ACTIONS, write_recordings

ROOT = Path(__file__).resolve().parents[1]


class Numbers(Dataset):
    """Text files that say how many frames and people there are; each read is written down."""

    def __init__(self, raw: Path, reads: Path | None = None, seconds: float = 0.0, second: bool = False) -> None:
        self.raw, self.reads, self.seconds, self.second = raw, reads, seconds, second

    def list_items(self) -> Listing:
        failed: dict[str, str] = {}
        paths = find_files(self.raw, (".n",), failed)
        return Listing(tuple(Item(key_of(self.raw, path), path) for path in paths), {"x.n": "not wanted"}, failed)

    def read(self, item: Item) -> list[Clip]:
        if self.reads is not None:
            with self.reads.open("a") as file:
                file.write(f"{item.key}\n")
        time.sleep(self.seconds)
        words = read_text(item.path).split()
        if words[0] == "bug":
            raise KeyError("a mistake of the reader")
        if words[0] == "nan":
            return [Clip(item.key, np.full((1, 3, 25, 3), np.nan, dtype=np.float32))]
        if words[0] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if words[0] == "none":
            logging.getLogger("mamp.tests").warning("%s: nothing of use", item.path)
            return []
        try:
            frames, people, seed = map(int, words)
        except ValueError:
            raise ReadError(f"{item.path}: expected three numbers.") from None
        positions = np.random.default_rng(seed).normal(size=(people, frames, 25, 3)).astype(np.float32)
        clip = Clip(item.key, positions, 30, {"label": seed, "word": f"w{seed}"}, dropped_frames={"odd": seed % 2})
        return [clip, Clip(item.key, positions[:1], store="below")] if self.second else [clip]

    def options(self) -> dict[str, Any]:
        return {"second": self.second}


def make_raw(folder: Path, count: int = 60) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:03}.n").write_text(f"{2 + number % 7} {1 + number % 2} {number}")
    return folder


def contents(store: Path) -> dict[str, bytes]:
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_raw(tmp_path_factory.mktemp("numbers") / "raw")


@pytest.fixture(scope="module")
def whole(raw: Path) -> dict[str, bytes]:
    """The store of a run that nothing disturbed."""
    output = raw.parent / "whole"
    prepare(Numbers(raw, second=True), output, Settings(workers=1))
    return contents(output)


def test_the_store_holds_the_clips_in_order(raw, whole):
    store = ClipStore(raw.parent / "whole")
    assert store.columns["name"].tolist() == [f"{number:03}.n" for number in range(60)]
    assert store.columns["label"].tolist() == list(range(60)) and store.columns["word"][7] == "w7"
    expected = np.random.default_rng(9).normal(size=(2, 4, 25, 3)).astype(np.float32)
    np.testing.assert_array_equal(store.read(9), expected)
    below = ClipStore(raw.parent / "whole" / "below")
    np.testing.assert_array_equal(below.read(9), expected[:1])
    report = json.loads(whole["report.json"])
    frames = sum(2 + number % 7 for number in range(60))
    assert (report["files"], report["clips"], report["frames"], report["bodies"], report["people"]) == (
        60, 60, frames, 90, 2,
    )  # fmt: skip
    assert report["stores"] == {"below": {"clips": 60, "frames": frames, "bodies": 60}}
    assert report["dropped_frames"] == {"odd": 30} and report["left_out"] == {"not wanted": ["x.n"]}
    assert report["sha256"]["positions.bin"] == store.info["sha256"]
    assert sorted(whole) == sorted(
        [f"{folder}{name}" for folder in ("", "below/") for name in ("clips.npz", "meta.json", "positions.bin")]
        + ["report.json"]
    )
    assert not work_folder(raw.parent / "whole").exists()


def test_the_number_of_processes_does_not_matter(raw, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "BATCH_ITEMS", 3)
    prepare(Numbers(raw, second=True), tmp_path / "store", Settings(workers=3))
    assert contents(tmp_path / "store") == whole


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from mamp.prepare import build as engine
from mamp.prepare.build import Settings, prepare
from test_prepare_engine import Numbers
engine.BATCH_ITEMS = 4
if __name__ == "__main__":
    raw, output, reads, seconds, workers = sys.argv[1:]
    prepare(Numbers(Path(raw), Path(reads), float(seconds), True), Path(output), Settings(workers=int(workers)))
"""


def run_script(tmp_path: Path, raw: Path, seconds: float, workers: int) -> subprocess.Popen[bytes]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(ROOT / "tests")))
    arguments = [str(raw), str(tmp_path / "store"), str(tmp_path / "reads"), str(seconds), str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, str(script), *arguments], env=environment, stderr=subprocess.PIPE)


def journal_of(output: Path) -> list[dict[str, Any]]:
    path = work_folder(output) / "journal.jsonl"
    with contextlib.suppress(OSError):
        return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return []


def below(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for one in children for child in (one, *below(int(one)))]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_killed_again_and_again_the_store_is_the_same_and_nothing_is_read_twice(raw, whole, tmp_path):
    for lines, workers in ((2, 2), (7, 1)):
        process = run_script(tmp_path, raw, 0.02, workers)
        processes: list[int] = []
        while len(journal_of(tmp_path / "store")) < lines:
            assert process.poll() is None, process.stderr and process.stderr.read()
            processes = below(process.pid) or processes
            time.sleep(0.002)
        process.kill()
        process.communicate()
        assert bool(processes) == (workers > 1) and not (tmp_path / "store").exists()
        deadline = time.monotonic() + 20
        while any(is_alive(one) for one in processes):
            assert time.monotonic() < deadline, "a worker outlives the run"
            time.sleep(0.02)
        written = {item["key"] for line in journal_of(tmp_path / "store") for item in line["items"]}
        assert 4 * lines <= len(written) < 60
        (tmp_path / "reads").write_text("")
    process = run_script(tmp_path, raw, 0, 1)
    assert (process.communicate()[1], process.returncode) == (b"resuming after %d of 60 files\n" % len(written), 0)
    again = (tmp_path / "reads").read_text().split()
    assert len(again) == len(set(again)) and set(again) == {f"{number:03}.n" for number in range(60)} - written
    assert contents(tmp_path / "store") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reads", "script.py", "store"]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def half_done(raw: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work folder as a run leaves it that ends half-way."""
    monkeypatch.setattr(engine, "BATCH_ITEMS", 4)
    dataset = Numbers(raw, second=True)
    read = dataset.read

    def stop(item: Item) -> list[Clip]:
        if item.key == "033.n":
            raise KeyboardInterrupt
        return read(item)

    dataset.read = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        prepare(dataset, output, Settings(workers=1))
    work = work_folder(output)
    assert len(journal_of(output)) == 8 and not output.exists()
    return work


def cut_journal(work: Path) -> None:
    path = work / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-20])


def write_beyond(work: Path) -> None:
    for store in ("", "below"):
        with (work / "store" / store / "positions.bin").open("ab") as file:
            file.write(b"left by a write that the kill cut off")


def turn_a_bit(work: Path) -> None:
    path = work / "store" / "positions.bin"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lose_the_end(work: Path) -> None:
    path = work / "store" / "below" / "positions.bin"
    path.write_bytes(path.read_bytes()[:-1000])


def lose_a_file(work: Path) -> None:
    (work / "store" / "positions.bin").unlink()


def scribble(work: Path) -> None:
    path = work / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:2000] + b"\0\xff\n{}\n")


@pytest.mark.parametrize(
    ("harm", "damaged"),
    [
        (cut_journal, False),
        (write_beyond, False),
        (turn_a_bit, True),
        (lose_the_end, True),
        (lose_a_file, True),
        (scribble, False),
    ],
)
def test_goes_on_after_damage(raw, whole, tmp_path, monkeypatch, caplog, harm, damaged):
    harm(half_done(raw, tmp_path / "store", monkeypatch))
    prepare(Numbers(raw, second=True), tmp_path / "store", Settings(workers=1))
    assert contents(tmp_path / "store") == whole
    assert ("that part is done again" in caplog.text) == damaged


def test_goes_on_only_with_the_same_files_and_options(raw, whole, tmp_path, monkeypatch):
    mine = make_raw(tmp_path / "raw")
    for path in mine.iterdir():
        os.utime(path, ns=(1, 1))
    half_done(mine, tmp_path / "store", monkeypatch)
    with pytest.raises(DataError, match=r"begun otherwise \(options differ\).*restart"):
        prepare(Numbers(mine), tmp_path / "store")
    (mine / "020.n").write_text("3 1 5")
    with pytest.raises(DataError, match=r"begun otherwise \(files differ\)"):
        prepare(Numbers(mine, second=True), tmp_path / "store")
    assert len(journal_of(tmp_path / "store")) == 8, "a refused run changes nothing"
    prepare(Numbers(mine, second=True), tmp_path / "store", Settings(workers=1, restart=True))
    assert ClipStore(tmp_path / "store").columns["label"][20] == 5
    assert contents(tmp_path / "store") != whole


def test_one_run_at_a_time(raw, tmp_path):
    work = work_folder(tmp_path / "store")
    work.mkdir()
    with (work / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another run is preparing it"):
            prepare(Numbers(raw), tmp_path / "store")
    prepare(Numbers(raw), tmp_path / "store", Settings(workers=1))


def test_a_full_disk_is_one_line_and_the_work_is_kept(raw, whole, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(engine, "BATCH_ITEMS", 4)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(DataError, match=r"cannot write the store \(.*File too large.*same command to resume"):
            prepare(Numbers(raw, second=True), tmp_path / "store", Settings(workers=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "store").exists() and 2 <= len(journal_of(tmp_path / "store")) < 15
    prepare(Numbers(raw, second=True), tmp_path / "store", Settings(workers=1))
    assert contents(tmp_path / "store") == whole


def test_an_output_that_cannot_be_written(raw, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the store"):
        prepare(Numbers(raw), tmp_path / "file" / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def bad_files(folder: Path) -> Path:
    make_raw(folder, 6)
    (folder / "002.n").write_text("two frames")
    (folder / "003.n").write_text("bug")
    (folder / "004.n").write_text("nan")
    (folder / "005.n").write_text("none")
    (folder / "006.n").write_bytes(b"")
    (folder / "broken.zip").write_bytes(b"PK\3\4 not a zip file")
    (folder / "007.n").mkdir()
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_files_are_left_out_and_told_of(tmp_path, workers, monkeypatch):
    monkeypatch.setattr(engine, "BATCH_ITEMS", 2)
    report = prepare(Numbers(bad_files(tmp_path / "raw")), tmp_path / "store", Settings(workers=workers))
    assert ClipStore(tmp_path / "store").columns["name"].tolist() == ["000.n", "001.n"]
    assert list(report["failed"]) == ["002.n", "003.n", "004.n", "006.n", "broken.zip"]
    assert report["failed"]["002.n"] == "expected three numbers."
    assert report["failed"]["003.n"] == "unexpected KeyError: 'a mistake of the reader'"
    assert "positions hold NaN" in report["failed"]["004.n"] and "is empty" in report["failed"]["006.n"]
    assert "damaged or cut zip file" in report["failed"]["broken.zip"]
    assert report["warnings"] == [{"kind": "%s: nothing of use", "count": 1, "examples": ["005.n: nothing of use"]}]
    assert json.loads((tmp_path / "store" / "report.json").read_text()) == report


def test_strict_writes_nothing(tmp_path):
    raw = bad_files(tmp_path / "raw")
    with pytest.raises(DataError, match=r"broken.zip: .*was not written"):
        prepare(Numbers(raw), tmp_path / "store", Settings(strict=True))
    (raw / "broken.zip").unlink()
    with pytest.raises(DataError, match=r"002.n: expected three numbers.*was not written; without the option strict"):
        prepare(Numbers(raw), tmp_path / "store", Settings(strict=True, workers=1))
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_nothing_of_use_at_all(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.n").write_text("two")
    with pytest.raises(
        DataError, match=r"none of the 1 files could be used; .* The first: a.n: expected three numbers"
    ):
        prepare(Numbers(tmp_path / "raw"), tmp_path / "store", Settings(workers=1))
    (tmp_path / "raw" / "a.n").unlink()
    with pytest.raises(DataError, match="none of the files found can be used"):
        prepare(Numbers(tmp_path / "raw"), tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_killed_worker_is_told_of_and_the_work_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "BATCH_ITEMS", 2)
    raw = make_raw(tmp_path / "raw", 40)
    (raw / "030.n").write_text("die")
    with pytest.raises(DataError, match="a process that reads files was killed"):
        prepare(Numbers(raw), tmp_path / "store", Settings(workers=2))
    assert work_folder(tmp_path / "store").exists() and not (tmp_path / "store").exists()


class Dying:
    """Kills the process that pickles it, a moment later."""

    def __reduce__(self) -> Any:
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return int, ()


class Huge(Numbers):
    """Results that take long to send, during which the process dies."""

    def read(self, item: Item) -> list[Clip]:
        positions = np.ones((1, 400_000, 25, 3), np.float32)
        return [Clip(item.key, positions, dropped_frames={"odd": Dying()})]  # type: ignore[dict-item]


def test_a_worker_that_is_killed_while_it_returns_a_result_leaves_nobody_waiting(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "BATCH_ITEMS", 1)

    def hangs(*_: object) -> None:
        raise AssertionError("hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(60)
    try:
        with pytest.raises(DataError, match="a process that reads files was killed"):
            prepare(Huge(make_raw(tmp_path / "raw", 8)), tmp_path / "store", Settings(workers=2))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_an_estimate_writes_nothing(raw, whole, tmp_path):
    found = dry_run(Numbers(raw), tmp_path / "store", Settings(workers=2))
    assert not list(tmp_path.iterdir())
    size = len(whole["positions.bin"])
    assert (found["files"], found["sampled"]) == (60, 48) and 55 <= found["clips"] <= 65
    assert abs(found["bytes"] - size) < 0.1 * size
    assert found["left_out"] == {"not wanted": 1} and not found["begun"]


def test_files_anywhere_and_in_zip_files(tmp_path):
    (tmp_path / "b" / ".hidden").mkdir(parents=True)
    (tmp_path / "b" / ".hidden" / "x.n").write_text("1")
    (tmp_path / "b" / "B.N").write_text("1")
    (tmp_path / "c.n.gz").write_bytes(b"1")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("d/e.n", "7 1 1")
        archive.writestr("__MACOSX/d/e.n", "")
        archive.writestr("d/.f.n", "")
        archive.writestr("notes.txt", "")
    keys = [key_of(tmp_path, path) for path in find_files(tmp_path, (".n",))]
    assert keys == ["a.zip/d/e.n", "b/B.N", "c.n.gz"]
    assert [key_of(tmp_path, path) for path in find_files(tmp_path / "a.zip", (".n",))] == ["a.zip/d/e.n"]
    assert read_text(tmp_path / "a.zip" / "d" / "e.n") == "7 1 1"
    with pytest.raises(MissingFileError, match=r"a.zip holds no d/g.n"):
        read_text(tmp_path / "a.zip" / "d" / "g.n")
    with pytest.raises(MissingFileError, match="expected a folder of recordings"):
        find_files(tmp_path / "absent", (".n",))


@pytest.mark.parametrize("name", ["../out.n", "a/../../out.n", "/out.n", "C:/out.n", "..\\out.n"])
def test_a_path_that_climbs_out_of_a_zip_file_is_refused(tmp_path, name):
    raw = make_raw(tmp_path / "raw", 2)
    with zipfile.ZipFile(raw / "bad.zip", "w") as archive:
        archive.writestr("000.n", "2 1 1")
        archive.writestr(name, "2 1 1")
    with pytest.raises(ReadError, match="climbs out of the zip file"):
        find_files(raw, (".n",))
    report = prepare(Numbers(raw), tmp_path / "store", Settings(workers=1))
    assert list(report["failed"]) == ["bad.zip"] and report["clips"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "store"]
    assert sorted(path.name for path in raw.iterdir()) == ["000.n", "001.n", "bad.zip"]


@pytest.mark.parametrize(("inner", "outer"), [("raw/store", "raw"), ("raw", "raw"), ("store", "store/raw")])
def test_output_and_raw_data_in_one_another(tmp_path, inner, outer):
    raw = make_raw(tmp_path / outer, 2)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"may not lie in one another|exists and is not a store"):
        prepare(Numbers(raw), tmp_path / inner, Settings(overwrite=True))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_store_is_replaced_only_when_asked_and_only_when_the_new_one_is_whole(raw, whole, tmp_path, monkeypatch):
    prepare(Numbers(make_raw(tmp_path / "raw", 3)), tmp_path / "store", Settings(workers=1))
    first = contents(tmp_path / "store")
    with pytest.raises(DataError, match="overwrite replaces it"):
        prepare(Numbers(raw), tmp_path / "store")
    dataset = Numbers(raw, second=True)
    monkeypatch.setattr(dataset, "read", lambda item: 1 / 0)
    with pytest.raises(DataError, match="unexpected ZeroDivisionError"):
        prepare(dataset, tmp_path / "store", Settings(workers=1, overwrite=True))
    assert contents(tmp_path / "store") == first
    prepare(Numbers(raw, second=True), tmp_path / "store", Settings(workers=1, overwrite=True))
    assert contents(tmp_path / "store") == whole


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals a group of processes")
@pytest.mark.parametrize(
    ("number", "group", "status", "said"),
    [
        (signal.SIGTERM, False, 143, "terminated"),
        (signal.SIGTERM, True, 143, "terminated"),
        (signal.SIGINT, True, 130, "interrupted"),
    ],
)
def test_a_signal_is_one_line_and_the_same_command_resumes(tmp_path, number, group, status, said):
    write_recordings(tmp_path / "raw", variations=16)
    command = [sys.executable, "-m", "mamp.prepare", "folder", "raw", "store", "--workers", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=-1, stderr=-1, text=True, start_new_session=True)
    while not journal_of(tmp_path / "store"):
        assert process.poll() is None
        time.sleep(0.01)
    (os.killpg if group else os.kill)(process.pid, number)
    output, error = process.communicate(timeout=30)
    assert (process.returncode, output, error) == (status, "", f"python -m mamp.prepare: {said}\n")
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0 and "resuming after" in again.stderr
    assert len(ClipStore(tmp_path / "store")) == 16 * len(ACTIONS)


def write_points(folder: Path, name: str, confidence: np.ndarray | None) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    positions = np.random.default_rng(0).normal(0, 0.3, (1, 12, 25, 3)) + np.array([0, 1, 3])
    positions[0, 3, 5] = np.nan
    positions[0, 7] = np.nan
    values = {"positions": positions, "fps": 30.0, "unit": "m", "up": "y"}
    np.savez(folder / name, **values, **({} if confidence is None else {"confidence": confidence}))
    return positions


def test_confidence_reaches_the_store_of_a_folder(tmp_path, capsys):
    confidence = np.random.default_rng(1).uniform(0.2, 1, (1, 12, 25))
    write_points(tmp_path / "raw", "a.npz", confidence)
    write_points(tmp_path / "raw", "b.npz", None)
    arguments = ["folder", str(tmp_path / "raw"), "--layout", "ntu25", "--workers", "1"]
    assert main([*arguments[:2], str(tmp_path / "store"), *arguments[2:]]) == 0
    store = ClipStore(tmp_path / "store")
    frames = [frame for frame in range(12) if frame != 7]
    expected = confidence[:, frames].astype(np.float32)
    expected[0, 3, 5] = 0  # filled in
    np.testing.assert_allclose(store.read_confidence(0), expected, rtol=1e-6)
    np.testing.assert_array_equal(store.read_confidence(1), (expected > 0).astype(np.float32))
    assert main([*arguments[:2], str(tmp_path / "without"), *arguments[2:], "--confidence", "no"]) == 0
    assert not ClipStore(tmp_path / "without").has_confidence
    (tmp_path / "raw" / "a.npz").unlink()
    assert main([*arguments[:2], str(tmp_path / "none"), *arguments[2:]]) == 0
    assert not ClipStore(tmp_path / "none").has_confidence
