"""Bad indices and bad queries: a clear error each, and nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from search_helpers import ROOT, recordings, rows, small_encoder

from mamp import MAMPEncoder, Skeleton
from mamp.cli import main
from mamp.errors import MAMPError, RecordingError, SearchError
from mamp.search import Index

pytest.importorskip("lancedb", reason="needs lancedb: make setup-all, or pip install 'mamp[search]'")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of two kinds, recordings and an index of them."""
    folder = tmp_path_factory.mktemp("work")
    small_encoder(folder / "weights")
    small_encoder(folder / "others", seed=1)
    recordings(folder / "recordings", variations=1)
    Index.create(folder / "moves", folder / "weights", 2.0, 1.0).add(folder / "recordings")
    return folder


@pytest.fixture
def moves(work: Path, tmp_path: Path) -> Path:
    """A copy of the index, to be damaged."""
    return shutil.copytree(work / "moves", tmp_path / "moves")


def test_other_weights_are_refused_by_both_fingerprints(work: Path, moves: Path) -> None:
    own = Index.open(moves).settings.fingerprint
    with pytest.raises(SearchError, match=f"{own}; found .*others with fingerprint [0-9a-f]{{16}}") as error:
        Index.open(moves, encoder=str(work / "others"))
    assert own not in str(error.value).partition("found")[2]
    with pytest.raises(SearchError, match=f"fingerprint {own}; found an encoder with"):
        Index.open(moves, encoder=MAMPEncoder.from_pretrained(work / "others"))
    assert len(Index.open(moves, encoder=MAMPEncoder.from_pretrained(work / "weights"))) == 16


def test_weights_that_changed_under_their_name(work: Path, tmp_path: Path) -> None:
    """They are compared when the index opens, and again when they are used."""
    weights = shutil.copytree(work / "weights", tmp_path / "weights")
    index = Index.create(tmp_path / "moves", weights, 2.0)
    index.add(work / "recordings")
    opened = Index.open(tmp_path / "moves")
    shutil.rmtree(weights)
    assert len(Index.open(tmp_path / "moves").search(np.ones(16))) == 4, "vectors can be searched without the weights"
    shutil.copytree(work / "others", weights)
    with pytest.raises(SearchError, match="expected the weights of its vectors"):
        Index.open(tmp_path / "moves")
    for use in (opened.search, opened.add):
        with pytest.raises(SearchError, match="expected the weights of its vectors"):
            use(work / "recordings" / "walk-0.bvh") if use == opened.search else use(recordings(tmp_path / "x", seed=5))
    assert len(opened) == 16


def test_an_encoder_without_a_name(work: Path, tmp_path: Path) -> None:
    encoder = MAMPEncoder.from_pretrained(work / "weights")
    Index.create(tmp_path / "moves", encoder, 2.0).add(work / "recordings")
    index = Index.open(tmp_path / "moves")
    with pytest.raises(SearchError, match=r"an encoder that has no name.*encoder="):
        index.search(work / "recordings" / "walk-0.bvh")
    assert Index.open(tmp_path / "moves", encoder).search(work / "recordings" / "walk-0.bvh", k=1)


def set_format(moves: Path, value: object) -> None:
    path = moves / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": value}))


def remove(pattern: str) -> Callable[[Path], None]:
    def change(moves: Path) -> None:
        for path in sorted(moves.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def cut(pattern: str) -> Callable[[Path], None]:
    def change(moves: Path) -> None:
        for path in moves.glob(pattern):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return change


def forget_newest(moves: Path) -> None:
    """As when a copy stopped before the newest version."""
    min((moves / "windows.lance" / "_versions").glob("*.manifest")).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda moves: set_format(moves, 2), r"made by a newer version of mamp\. Update"),
        (lambda moves: set_format(moves, "x"), "found format 'x'"),
        (lambda moves: (moves / "index.json").write_text("{"), "damaged or half-copied"),
        (lambda moves: (moves / "index.json").write_text('{"format": 1}'), "damaged"),
        (remove("index.json"), "expected an index of mamp, found a folder without index.json"),
        (remove("windows.lance"), "expected a table in windows.lance, found none"),
        (remove("windows.lance/_versions"), "expected a table in windows.lance, found none"),
        (cut("windows.lance/_versions/*.manifest"), "the table is damaged"),
        (forget_newest, "half-copied"),
        (remove("windows.lance/data"), "half-copied"),
        (cut("windows.lance/data/*"), "half-copied"),
        (lambda moves: shutil.rmtree(moves), "expected an index of mamp, found nothing"),
    ],
)  # fmt: skip
def test_damaged_indices(
    moves: Path, work: Path, damage: Callable[[Path], None], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(moves)
    with pytest.raises(SearchError, match=message):
        Index.open(moves).search(np.ones(16))
    assert main(["search", str(work / "recordings" / "walk-0.bvh"), "--index", str(moves)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("mamp search: error: ")]) == 1 and "Traceback" not in lines


@pytest.mark.parametrize("k", [0, -1, 2.5, True, None, "3"])
def test_impossible_k(work: Path, k: object) -> None:
    with pytest.raises(SearchError, match="k: expected a whole number above zero, found"):
        Index.open(work / "moves").search(np.ones(16), k=k)  # type: ignore[arg-type]


def test_k_beyond_the_index_gives_what_is_there(work: Path) -> None:
    index = Index.open(work / "moves")
    assert len(index.search(np.ones(16), k=10**9)) == 4
    assert len(index.search(np.ones(16), k=np.int64(10**12), where="file = 'walk-0.bvh'")) == 1


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (np.full(16, np.nan), "found NaN or infinity"),
        ([float("inf")] * 16, "found NaN or infinity"),
        (np.ones(17), r"expected a vector of 16 numbers, found shape \(17,\)"),
        (np.ones((2, 3, 16)), "expected a vector of 16 numbers"),
        (np.zeros(16), "one of length 0"),
        (np.array(["a"] * 16), "expected a vector of 16 numbers"),
        ([], "found none"),
        (None, "found NoneType"),
        (7, "found int"),
        ("nowhere.bvh", "no such file"),
        ("nowhere.bvh@1-2", "no such file"),
    ],
)
def test_queries_that_are_none(work: Path, query: object, message: str) -> None:
    with pytest.raises(MAMPError, match=message):
        Index.open(work / "moves").search(query)


def test_a_query_without_a_person(work: Path) -> None:
    nobody = Skeleton(np.full((1, 90, 25, 3), np.nan), "ntu25", 30, name="empty")
    with pytest.raises(SearchError, match="empty: expected a person to search for, found nobody"):
        Index.open(work / "moves").search(nobody)


def test_parts_and_rates_of_queries(work: Path) -> None:
    index, walk = Index.open(work / "moves"), work / "recordings" / "walk-0.bvh"
    for part in ("9-12", "3-2", "2-2"):
        with pytest.raises(RecordingError, match=r"expected a part of the 5\.00 seconds"):
            index.search(f"{walk}@{part}")
    positions = np.random.default_rng(0).normal(size=(90, 25, 3))
    with pytest.raises(RecordingError, match="expected a frame rate"):
        index.search(Skeleton(positions, "ntu25"))
    with pytest.raises(SearchError, match="expected one of the people 0, found 3"):
        index.search(walk, person=3)


@pytest.mark.parametrize(
    "where", ["", "nonsense = 1", "file LIKE", "start = 'x' AND", "file = 'a'; DROP TABLE x", "1 +"]
)
def test_filters_that_are_none(work: Path, where: str) -> None:
    with pytest.raises(SearchError, match="is no filter") as error:
        Index.open(work / "moves").search(np.ones(16), where=where)
    assert "file LIKE 'walk%'" in str(error.value) and "fingerprint" in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window: expected seconds above zero"),
        ({"window": float("nan")}, "window: expected seconds above zero"),
        ({"window": "4"}, "window: expected seconds above zero"),
        ({"window": 2.0, "stride": 3.0}, "at most the window"),
        ({"window": None, "stride": 1.0}, "expected none for whole recordings"),
    ],
)
def test_impossible_windows(work: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(SearchError, match=message):
        Index.create(tmp_path / "moves", work / "weights", **options)
    assert not list(tmp_path.iterdir())


def test_where_something_is_already(work: Path, moves: Path, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"found an index, which Index\.open opens"):
        Index.create(moves, work / "weights")
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(SearchError, match="expected a new or empty folder, found something else"):
            Index.create(place, work / "weights")
    assert len(Index.open(moves)) == 16


def test_folders_without_recordings(work: Path, moves: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    index = Index.open(moves)
    for path, message in ((tmp_path / "empty", "expected recordings in it"), (tmp_path / "absent.bvh", "no such file")):
        report = None
        with pytest.raises(MAMPError, match=message):
            report = index.add(path, strict=True)
        assert report is None
    with pytest.raises(RecordingError, match="expected recordings or paths, found int"):
        index.add(3)
    assert len(index) == 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\nwalk-0.bvh,1\n", "expected a column file, found name, label"),
        ("file,start\nwalk-0.bvh,1\n", "the index has start of its own"),
        ("file,label\nwalk-0.bvh,1\nwalk-0.bvh,2\n", "has a second row"),
        ("", "not read"),
    ],
)
def test_metadata_that_is_none(work: Path, moves: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(SearchError, match=message):
        Index.open(moves).add(work / "recordings", metadata=tmp_path / "labels.csv")
    with pytest.raises(SearchError, match="not read"):
        Index.open(moves).add(work / "recordings", metadata=tmp_path / "absent.csv")


ADD = """
import sys
from pathlib import Path
from mamp.search import Index, writer
writer.ROWS_A_COMMIT = 1
{before}
Index.open(sys.argv[1]).add(sys.argv[2])
"""


def run(before: str, moves: Path, data: Path, *prefix: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [*prefix, sys.executable, "-c", ADD.format(before=before), str(moves), str(data)]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_a_limit_on_the_size_of_files(work: Path, moves: Path, tmp_path: Path) -> None:
    """What cannot be written raises; the rows from before stay, and the same call goes on when there is space."""
    more, before = recordings(tmp_path / "more", seconds=20, seed=3), rows(moves)
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1500, {resource.RLIM_INFINITY}))"
    done = run(limit, moves, more)
    assert done.returncode == 1
    assert "mamp.errors.SearchError" in done.stderr and "could not write; what was there is untouched" in done.stderr
    assert rows(moves) == before
    assert len(Index.open(moves).add(more).added) == 8
    found = Index.open(moves).to_pandas()
    assert found["content"].nunique() == 4 + 8 and len(found) == 4 * 4 + 8 * 19
    assert {content for file in before.values() for content in file} <= set(found["content"])


def mounted(*options: str) -> list[str]:
    """A command that runs what follows beside a small disk of its own at the folder in $DISK."""
    script = f'mount -t tmpfs {" ".join(options)} tmpfs "$DISK" && cp -r "$FROM" "$DISK"/moves && {{after}} "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh"]


@pytest.mark.parametrize(
    ("disk", "after", "message"),
    [
        ("-o size=100k", "", "could not write; what was there is untouched"),
        ("-o size=2m", "mount -o remount,ro $DISK &&", "cannot write here"),
    ],
    ids=["full", "read-only"],
)
def test_real_disks(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: str, after: str, message: str
) -> None:
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount a disk")
    more = recordings(tmp_path / "more", seconds=10, seed=3, variations=6)
    (tmp_path / "disk").mkdir()
    monkeypatch.setenv("DISK", str(tmp_path / "disk"))
    monkeypatch.setenv("FROM", str(work / "moves"))
    prefix = mounted(disk)
    prefix[4] = prefix[4].replace("{after}", after)
    look = f"""
import numpy
count = len(Index.open(sys.argv[1]))
assert len(Index.open(sys.argv[1]).search(numpy.ones(16))) == 4
try:
    Index.open(sys.argv[1]).add(sys.argv[2])
except Exception as error:
    assert {message!r} in str(error), error
else:
    raise SystemExit("it was written")
one = Index.open(sys.argv[1])
found = [(row["content"], row["start"]) for row in one.to_arrow().to_pylist()]
assert len(found) == len(set(found)) >= count == 16
assert len(one.search(numpy.ones(16), k=3)) == 3
sys.exit()
"""
    done = run(look, tmp_path / "disk" / "moves", more, *prefix)
    assert done.returncode == 0, done.stderr
