"""``mamp embed`` of many recordings: links, refused outputs, finished shards, kills. Real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from train_helpers import children, environment, make_store

from mamp import MAMPConfig, MAMPEncoder
from mamp.cli import main
from mamp.embedder import Embedder
from mamp.embedding import EncodeOptions
from mamp.errors import MAMPError
from mamp.outputs import lock, output_file, write_whole
from mamp.shards import ShardMaker, embed_sources
from mamp.sources import FileSource, named_sources
from mamp.workers import in_order

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    MAMPEncoder(MAMPConfig(dim_feat=16, depth=1, num_heads=2)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty recordings of one second, and two files that are none."""
    folder = tmp_path_factory.mktemp("recordings") / "all"
    rng = np.random.default_rng(0)
    for number in range(50):
        path = folder / f"{number % 3}" / f"{number:02}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.normal(size=(1, 20, 25, 3)).astype(np.float32))
    (folder / "1" / "broken.npy").write_bytes(b"no array")
    (folder / "readme.md").write_text("")
    return folder


@pytest.fixture
def embed(capsys: pytest.CaptureFixture[str], weights: Path) -> Run:
    def run(*args: object) -> tuple[int, str, str]:
        reading = ("--layout", "ntu25", "--fps", 30, "--unit", "m", "--up", "y")
        status = main(["embed", *map(str, args), "--weights", str(weights), *map(str, reading)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- outputs --------------------------------------------------------------------------------------------------------


def test_a_symbolic_link_is_written_through(embed: Run, recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "old.npz").write_bytes(b"old")
    for link, target in (("link", "real/old.npz"), ("to a link", "link"), ("dangling", "real/new.npz")):
        (tmp_path / link).symlink_to(target)
        assert embed(recordings / "0" / "00.npy", "-o", tmp_path / link)[0] == 0
        assert (tmp_path / link).is_symlink() and np.load(tmp_path / link)["embeddings"].shape == (1, 16)
    assert names(tmp_path / "real") == ["new.npz", "old.npz"] and not (tmp_path / "real" / "old.npz").is_symlink()
    assert names(tmp_path) == ["dangling", "link", "real", "to a link"]


@pytest.fixture(params=["device", "pipe", "socket", "folder", "link to a folder", "loop", "nowhere"])
def unfit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Outputs that are no files."""
    path = tmp_path / "output"
    if request.param == "device":
        path = Path("/dev/null")
    elif request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "folder":
        path.mkdir()
    elif request.param == "link to a folder":
        path.symlink_to(tmp_path)
    elif request.param == "loop":
        path.symlink_to(path)
    elif request.param == "nowhere":
        path.symlink_to(tmp_path / "absent" / "file")
    with socket.socket(socket.AF_UNIX) as server:
        if request.param == "socket":
            server.bind(str(path))
        yield path


@pytest.mark.skipif(os.name == "nt", reason="has other kinds of files")
def test_what_is_no_file_is_refused_before_any_work(
    embed: Run, unfit: Path, tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*args: object, **options: object) -> None:
        raise AssertionError("began to work")

    monkeypatch.setattr(MAMPEncoder, "from_pretrained", work)
    before, kind = names(tmp_path), unfit.lstat().st_mode
    status, out, err = embed(recordings, "-o", unfit)
    assert ((status, out) == (1, "") and err.count("\n") == 1 and str(unfit.name) in err) or "absent" in err
    assert unfit.lstat().st_mode == kind and names(tmp_path) == before
    with pytest.raises(MAMPError):
        write_whole(unfit, "other outputs too")
    assert unfit.lstat().st_mode == kind and names(tmp_path) == before


def test_ordinary_files_are_fine(tmp_path: Path) -> None:
    assert output_file(tmp_path / "new") == tmp_path / "new"
    with pytest.raises(MAMPError, match="absent does not exist; make it first"):
        output_file(tmp_path / "absent" / "new")


# --- many recordings ------------------------------------------------------------------------------------------------


def test_folders_zip_files_and_stores(embed: Run, recordings: Path, tmp_path: Path) -> None:
    status, _, err = embed(recordings, "-o", tmp_path / "folder.npz")
    assert status == 1 and "broken.npy" in err and err.count("\n") == 1
    found = dict(np.load(tmp_path / "folder.npz"))
    assert len(found["files"]) == len(found["embeddings"]) == 50
    assert found["files"].tolist() == sorted(found["files"].tolist()) and str(recordings / "0/00.npy") in found["files"]
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", recordings / "0")
    assert embed(archive, "-o", tmp_path / "zip.npz")[0] == 0
    np.testing.assert_allclose(np.load(tmp_path / "zip.npz")["embeddings"], found["embeddings"][:17], atol=1e-6)
    store = make_store(tmp_path / "store", 5)
    assert embed(store, recordings / "0", "-o", tmp_path / "store.npz")[0] == 0
    assert np.load(tmp_path / "store.npz")["files"].tolist()[:2] == [f"{store}/clip-000", f"{store}/clip-001"]
    (tmp_path / "empty").mkdir()
    status, _, err = embed(tmp_path / "empty", "-o", tmp_path / "empty.npz")
    assert status == 1 and "expected recordings in it" in err and not (tmp_path / "empty.npz").exists()
    assert names(tmp_path) == ["empty", "folder.npz", "packed.zip", "store", "store.npz", "zip.npz"]


@pytest.mark.parametrize("pool", ["clip", "person", "joint"])
def test_the_file_is_what_numpy_writes(embed: Run, recordings: Path, tmp_path: Path, pool: str) -> None:
    assert embed(recordings / "0", "-o", tmp_path / "a.npz", "--pool", pool)[0] == 0
    arrays = dict(np.load(tmp_path / "a.npz"))
    ordered = ["files", "weights", "fingerprint", "pool", *(["offsets"] if pool == "person" else []), "embeddings"]
    assert list(arrays) == ordered
    np.savez(tmp_path / "b.npz", **arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_parquet(embed: Run, recordings: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, of the extra ray")
    for pool in ("clip", "person"):
        for output in ("a.npz", "a.parquet"):
            assert embed(recordings / "0", "-o", tmp_path / output, "--pool", pool)[0] == 0
        table = parquet.read_table(tmp_path / "a.parquet").to_pandas()
        with np.load(tmp_path / "a.npz") as arrays:
            assert table["file"].tolist() == arrays["files"].tolist() and set(table["row"]) == {0}
            np.testing.assert_array_equal(np.stack(table["embedding"]), arrays["embeddings"])


def test_shards_of_other_content_weights_or_options_are_not_taken(recordings: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = MAMPConfig(dim_feat=16, depth=1, num_heads=2)
    first, second = MAMPEncoder(config).eval(), MAMPEncoder(config).eval()
    path = tmp_path / "a.npy"
    shutil.copy(recordings / "0" / "00.npy", path)
    reading = {"layout": "ntu25", "fps": 30, "unit": "m", "up": "y"}

    def make(encoder: MAMPEncoder = first, **options: object) -> tuple[bool, Path]:
        maker = ShardMaker(Embedder(encoder, EncodeOptions(**options)), tmp_path)  # type: ignore[arg-type]
        shard = maker([("a", FileSource(str(tmp_path), "a.npy", reading))])
        return shard.kept, shard.path

    _, made = make()
    assert make() == (True, made)
    others = [make(second)[1], make(pool="person")[1], make(window=10)[1], make(preprocessing={"facing": True})[1]]
    reading["fps"] = 60
    others += [make()[1]]
    np.save(path, np.load(path) * 1.1)
    others += [make()[1]]
    assert len({made, *others}) == 7
    content = made.read_bytes()
    for damaged in (b"", content[:-100], content[:200] + b"x" + content[201:]):
        made.write_bytes(damaged)
        shutil.copy(recordings / "0" / "00.npy", path)
        reading["fps"] = 30
        assert make() == (False, made) and made.read_bytes() == content


def test_amc_files_depend_on_their_asf(tmp_path: Path) -> None:
    (tmp_path / "a.amc").write_text("1")
    before = FileSource(str(tmp_path), "a.amc").content()
    (tmp_path / "a.asf").write_text("2")
    assert FileSource(str(tmp_path), "a.amc").content() != before


def test_two_at_once(embed: Run, recordings: Path, tmp_path: Path) -> None:
    (tmp_path / ".a.npz.embedding").mkdir()
    with lock(tmp_path / ".a.npz.embedding" / "lock", MAMPError("")):
        status, _, err = embed(recordings / "0", "-o", tmp_path / "a.npz")
    assert status == 1 and "another process writes it. Wait until it has ended" in err and str(os.getpid()) in err
    assert names(tmp_path) == [".a.npz.embedding"], "of the other"


def test_strict_keeps_what_was_done(embed: Run, recordings: Path, tmp_path: Path) -> None:
    status, _, err = embed(recordings, "-o", tmp_path / "a.npz", "--strict")
    assert status == 1 and "was not written" in err and names(tmp_path) == [".a.npz.embedding"]
    status, out, _ = embed(recordings, "-o", tmp_path / "a.npz")
    assert status == 1 and "39 from an earlier run" in out and names(tmp_path) == ["a.npz"]


# --- kills ----------------------------------------------------------------------------------------------------------


SLOWLY = """
import sys, time
from mamp import cli, embedder
real = embedder.embed_recordings
def slowly(*args):
    time.sleep(0.15)
    return real(*args)
embedder.embed_recordings = slowly
sys.exit(cli.main(sys.argv[1:]))
"""


def test_killed_and_gone_on_with(embed: Run, weights: Path, recordings: Path, tmp_path: Path) -> None:
    """Twice in one process: the bytes are those of a run that nobody disturbed, nothing is left."""
    reading = ("--layout", "ntu25", "--fps", "30", "--unit", "m", "--up", "y")
    output, work = tmp_path / "out" / "a.npz", tmp_path / "out" / ".a.npz.embedding"
    output.parent.mkdir()
    command = [sys.executable, "-c", SLOWLY, "embed", str(recordings), "-o", str(output), "--weights", str(weights)]
    assert embed(recordings, "-o", tmp_path / "whole.npz")[0] == 1
    (output.parent / f".a.npz.{2**22 + 1}.tmp").write_bytes(b"of a process that is dead")
    threads = environment() | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    for shards in (2, 4):
        process = subprocess.Popen([*command, *reading], env=threads, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while len(list(work.glob("*.npz"))) < shards:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
        process.communicate()
        assert not output.exists()
    (work / ".cut.npz.1@0.tmp").write_bytes(b"half")
    kept = len(list(work.glob("*.npz")))
    status, out, _ = embed(recordings, "-o", output, "--json")
    assert status == 1 and 8 * kept - 1 <= json.loads(out)["kept"] <= 8 * kept
    assert output.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert names(output.parent) == ["a.npz"]


class Deadly(ShardMaker):
    """Kills its process at every fifth recording, the first time."""

    def __call__(self, sources):  # type: ignore[no-untyped-def]
        for name, _ in sources:
            mark = self.folder.with_name(f"killed-{Path(name).stem}")
            if int(Path(name).stem) % 5 == 0 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(sources)


def test_killed_workers_change_nothing(weights: Path, recordings: Path, tmp_path: Path) -> None:
    reading = {"layout": "ntu25", "fps": 30, "unit": "m", "up": "y"}
    sources = named_sources([recordings / "0", recordings / "2"], reading, {})
    assert len(sources) == 33

    def engine(maker: ShardMaker, tasks: object, kind: type[ShardMaker] = ShardMaker):  # type: ignore[no-untyped-def]
        return in_order(kind(maker.embedder, maker.folder, maker.threads), tasks, 2)  # type: ignore[arg-type]

    whole = embed_sources(sources, tmp_path / "whole.npz", Embedder(str(weights)), engine, at_once=3)
    found = embed_sources(
        sources,
        tmp_path / "a.npz",
        Embedder(str(weights)),
        lambda maker, tasks: engine(maker, tasks, Deadly),
        at_once=3,
    )
    assert found == whole and len(found.names) == 33
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert len(list(tmp_path.glob("killed-*"))) == 7 and not list(tmp_path.glob(".*"))


def test_workers_end_with_a_killed_run(weights: Path, recordings: Path, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 70)
    command = [sys.executable, "-c", SLOWLY, "embed", str(store), "-o", str(tmp_path / "a.npz")]
    command += ["--weights", str(weights), "--workers", "2"]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE)
    deadline, below = time.monotonic() + 60, []
    while len(list(tmp_path.glob(".a.npz.embedding/*.npz"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        below = [child for pid in children(process.pid) for child in (pid, *children(pid))] or below
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert len(below) >= 3
    while any(Path(f"/proc/{pid}").exists() for pid in below):
        assert time.monotonic() < deadline, "workers outlive the run"
        time.sleep(0.05)
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0 and "70 recordings" in done.stdout and "from an earlier run" in done.stdout, done.stderr
    assert names(tmp_path) == ["a.npz", "store"]
