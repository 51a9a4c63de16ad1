"""An index of recordings: what is in it, what is found, and what changes."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from search_helpers import ROOT, recordings, rows, small_encoder

from mamp import MAMPEncoder, Skeleton, load
from mamp.cli import main
from mamp.data import StoreWriter
from mamp.layouts import get_layout
from mamp.search import Index
from mamp.search.embedder import Embedder
from mamp.search.results import Merging

lancedb = pytest.importorskip("lancedb", reason="needs lancedb: make setup-all, or pip install 'mamp[search]'")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_encoder(tmp_path_factory.mktemp("small") / "weights")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings(tmp_path_factory.mktemp("archive") / "recordings")


@pytest.fixture(scope="module")
def made(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Index:
    """An index with the weights of the package, that tests only read."""
    index = Index.create(tmp_path_factory.mktemp("made") / "moves", window=2.0, stride=1.0)
    index.add(archive)
    return index


@pytest.fixture
def index(weights: Path, tmp_path: Path) -> Index:
    return Index.create(tmp_path / "moves", weights, 2.0, 1.0)


@pytest.fixture
def files(archive: Path, tmp_path: Path) -> Path:
    """A copy of the recordings, to be changed."""
    return shutil.copytree(archive, tmp_path / "recordings")


def test_rows_are_the_windows(made: Index, archive: Path) -> None:
    """In seconds, at the recording's own rate, with the vectors that ``encode`` gives."""
    encoder = MAMPEncoder.from_pretrained()
    table = made.to_pandas()
    assert len(made) == len(table) == 8 * 4
    assert set(table["layout"]) == {"bvh"} and set(table["fps"]) == {30.0}
    for path in sorted(archive.iterdir())[::3]:
        mine = table[table["file"] == path.name].sort_values("start")
        assert mine["start"].tolist() == [0, 1, 2, 3] and mine["end"].tolist() == [2, 3, 4, 5]
        expected = encoder.encode(load(path), pool="person", window=60, stride=30)[:, 0]
        np.testing.assert_array_equal(np.stack(mine["vector"]), expected)


def test_other_rates_have_the_same_seconds(index: Index, archive: Path) -> None:
    recording = load(archive / "walk-0.bvh")
    index.add(recording.replace(positions=recording.positions[:, ::2], fps=15.0, name="half"))
    table = index.to_pandas()
    assert table["start"].tolist() == [0, 1, 2, 3] and table["end"].tolist() == [2, 3, 4, 5]


def test_people_and_gaps(index: Index, archive: Path) -> None:
    """A row for each person in each window in which the person is tracked."""
    walk = load(archive / "walk-0.bvh").to_layout("ntu25")
    two = np.concatenate([walk.positions, walk.positions + 1])
    two[1, :90] = np.nan
    index.add(Skeleton(two, "ntu25", 30, name="two"))
    table = index.to_pandas()
    assert sorted(zip(table["person"], table["start"], strict=True)) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 2), (1, 3)]


def test_whole_recordings(weights: Path, archive: Path, tmp_path: Path) -> None:
    index = Index.create(tmp_path / "moves", weights, window=None)
    index.add(archive)
    table = index.to_pandas()
    assert len(table) == 8 and set(table["start"]) == {0} and set(table["end"]) == {5}
    assert [hit.file for hit in index.search(archive / "kick-1.bvh", k=1)] == ["kick-1.bvh"]


def test_the_same_is_found_first(made: Index, archive: Path) -> None:
    for path in sorted(archive.iterdir())[::3]:
        hit = made.search(path, k=1)[0]
        assert hit.file == path.name and hit.path.samefile(path)
    (hit,) = made.search(f"{archive / 'walk-0.bvh'}@2-4", k=1)
    assert hit.file == "walk-0.bvh" and hit.score == pytest.approx(1, abs=1e-5) and hit.start <= 2 < 4 <= hit.end


def test_scores_are_cosines_in_order(made: Index, archive: Path) -> None:
    table = made.to_pandas()
    query = np.stack(table["vector"])[5]
    x = np.stack(table["vector"])
    cosines = x @ query / np.linalg.norm(x, axis=1) / np.linalg.norm(query)
    hits = made.search(query, k=100)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits[0].score == pytest.approx(cosines.max(), abs=1e-5)
    assert len(hits) == 8, "all windows of a recording overlap: one hit each"
    best = table.assign(score=cosines).groupby("file")["score"].max().sort_values(ascending=False)
    assert [hit.file for hit in hits] == best.index.tolist()


def test_queries_of_every_kind(made: Index, archive: Path) -> None:
    path = archive / "walk-0.bvh"
    as_path, as_text, as_recording = (made.search(query) for query in (path, str(path), load(path)))
    assert as_path == as_text == as_recording
    vectors = made.to_arrow().to_pylist()
    row = next(one for one in vectors if one["file"] == "squat-1.bvh")
    assert made.search(row["vector"], k=1)[0].file == "squat-1.bvh" == made.search(np.array(row["vector"]), k=1)[0].file
    two = [np.array(one["vector"]) for one in vectors[:2]]
    mean = sum(vector / np.linalg.norm(vector) for vector in two)
    found, expected = made.search(two), made.search(mean)
    assert [hit.file for hit in found] == [hit.file for hit in expected]
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-5)
    assert made.search([path, archive / "squat-0.bvh"], k=8)[0].file in ("walk-0.bvh", "squat-0.bvh")


def test_a_query_of_another_layout_and_rate(made: Index, archive: Path) -> None:
    recording = load(archive / "squat-0.bvh").to_layout("kinect20")
    slow = recording.replace(positions=recording.positions[:, ::2], fps=15.0, confidence=None)
    assert made.search(slow, k=1)[0].file == "squat-0.bvh"


def test_one_person_of_a_query(made: Index, archive: Path) -> None:
    walk, kick = (load(archive / f"{name}-0.bvh").to_layout("ntu25") for name in ("walk", "kick"))
    both = Skeleton(np.concatenate([walk.positions, kick.positions]), "ntu25", 30)
    for person, name in enumerate(("walk-0.bvh", "kick-0.bvh")):
        assert made.search(both, k=1, person=person)[0].file == name


def test_filters(made: Index, archive: Path) -> None:
    hits = made.search(archive / "walk-0.bvh", where="file LIKE 'k%' AND start >= 2")
    assert {hit.file for hit in hits} == {"kick-0.bvh", "kick-1.bvh"}
    assert all(hit.start >= 2 for hit in hits)
    assert made.search(archive / "walk-0.bvh", where="person = 7") == []


def row(start: float, end: float, score: float, file: str = "a", person: int = 0) -> dict:
    return {"file": file, "start": start, "end": end, "person": person, "score": score, "folder": ""}


def test_overlapping_windows_are_merged() -> None:
    rows = [
        row(4, 6, 0.9), row(0, 2, 0.8), row(5, 7, 0.7), row(5, 7, 0.7, person=1), row(3, 5, 0.65, file="b"),
        row(6, 8, 0.6), row(1, 5, 0.55), row(20, 22, 0.5), row(7, 9, 0.4), row(8, 10, 0.3),
    ]  # fmt: skip

    def found(k: int) -> list[tuple]:
        merging = Merging(k)
        merging.add(rows)
        return [(hit.file, hit.person, hit.start, hit.end, hit.score) for hit in merging.hits]

    assert found(1) == [("a", 0, 4, 6, 0.9)]
    assert found(2) == [("a", 0, 4, 7, 0.9), ("a", 0, 0, 2, 0.8)]
    assert found(4)[0] == ("a", 0, 0, 10, 0.9), "a window between two segments joins them"
    assert found(9) == [("a", 0, 0, 10, 0.9), ("a", 1, 5, 7, 0.7), ("b", 0, 3, 5, 0.65), ("a", 0, 20, 22, 0.5)]
    touching = Merging(5)
    touching.add([row(0, 2, 0.9), row(2, 4, 0.8)])
    assert len(touching.hits) == 2, "windows that only touch are two"


def test_many_windows_of_one_recording_do_not_hide_the_others(index: Index, archive: Path) -> None:
    """More windows are looked at until there are k hits."""
    walk = load(archive / "walk-0.bvh")
    index.add(walk.replace(positions=np.tile(walk.positions, (1, 20, 1, 1)), name="long"))
    index.add([archive / "kick-0.bvh", archive / "squat-0.bvh"])
    hits = index.search(walk, k=40)
    assert {hit.file for hit in hits} == {"long", "kick-0.bvh", "squat-0.bvh"} and len(hits) < 40


def test_adding_again_skips(index: Index, files: Path) -> None:
    assert len(index.add(files).added) == 8
    before = rows(index.path)
    again = index.add(files)
    assert (again.added, again.windows, len(again.unchanged)) == ([], 0, 8)
    shutil.copy(files / "walk-0.bvh", files / "copy.bvh")
    assert index.add(files).duplicates == {"walk-0.bvh": "copy.bvh"} or index.add(files).duplicates == {
        "copy.bvh": "walk-0.bvh"
    }
    assert rows(index.path) == before


def test_a_changed_file_is_replaced(index: Index, files: Path) -> None:
    index.add(files)
    shutil.copy(files / "walk-0.bvh", files / "kick-0.bvh")
    (files / "walk-0.bvh").unlink()
    (files / "squat-0.bvh").write_bytes(recordings(files.parent / "others", seed=3).joinpath("walk-1.bvh").read_bytes())
    report = index.add(files)
    assert report.changed == ["squat-0.bvh"] and report.moved == {"walk-0.bvh": "kick-0.bvh"}
    found = rows(index.path)
    assert set(found) == {path.name for path in files.iterdir()} and len(found) == 7


def test_update_sees_what_is_gone_or_moved(index: Index, files: Path) -> None:
    index.add(files)
    (files / "walk-0.bvh").unlink()
    (files / "deep").mkdir()
    (files / "kick-0.bvh").rename(files / "deep" / "other.bvh")
    report = index.update(files)
    assert (report.removed, report.moved) == (["walk-0.bvh"], {"kick-0.bvh": "deep/other.bvh"})
    assert set(rows(index.path)) == {path.relative_to(files).as_posix() for path in files.rglob("*.bvh")}
    assert index.update().removed == [] and len(index.update().unchanged) == 7
    files.rename(files.with_name("unplugged"))
    report = index.update()
    assert len(report.failed) == 7 and "is not there; its recordings are kept" in next(iter(report.failed.values()))
    assert len(rows(index.path)) == 7
    assert len(index.update(files.with_name("unplugged")).moved) == 7


def test_the_same_bytes_read_in_another_way_are_another_content(index: Index, files: Path) -> None:
    index.add(files / "walk-0.bvh")
    report = index.add(files / "walk-0.bvh", fps=60.0)
    assert report.changed == ["walk-0.bvh"] and set(index.to_pandas()["fps"]) == {60.0}
    assert index.add(files / "walk-0.bvh", fps=60.0, unit=None).unchanged == ["walk-0.bvh"]


def test_recordings_that_fail_are_reported(index: Index, files: Path) -> None:
    (files / "bad.bvh").write_text("HIERARCHY")
    (files / "empty.json").write_text("{}")
    report = index.add(files)
    assert set(report.failed) == {"bad.bvh", "empty.json"} and len(report.added) == 8
    with pytest.raises(ValueError, match=r"bad.bvh"):
        index.add(files, strict=True)


def test_columns_of_your_own(index: Index, files: Path) -> None:
    table = files / "labels.csv"
    table.write_text(
        "file,action,take,nothing\nwalk-0.bvh,walk,0,\nwalk-1.bvh,walk,1,\nkick-0.bvh,kick,0,\nx.bvh,y,9,\n"
    )
    index.add(files, metadata=table)
    assert "labels.csv" not in rows(index.path)
    hits = index.search(files / "walk-0.bvh", where="action = 'walk' AND take > 0")
    assert [(hit.file, hit.columns["action"], hit.columns["take"]) for hit in hits] == [("walk-1.bvh", "walk", 1)]
    frame = pytest.importorskip("pandas").DataFrame({"file": ["squat-0.bvh"], "action": ["squat"], "score": [1]})
    with pytest.raises(ValueError, match="the index has score of its own"):
        index.add(files, metadata=frame)
    report = index.add(files, metadata=frame.drop(columns="score"))
    assert report.added == [] and len(report.unchanged) == 8
    assert index.search(files / "squat-1.bvh", where="action = 'squat'")[0].file == "squat-0.bvh"
    with pytest.raises(ValueError, match=r"column take: expected int64 as in the index"):
        index.add(files, metadata=frame.drop(columns="score").assign(take=["many"]))


def test_stores_and_archives(index: Index, files: Path, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", get_layout("ntu25")) as writer:
        for name in ("walk-0", "kick-0"):
            clip = load(files / f"{name}.bvh").to_layout("ntu25").positions
            writer.add(name, np.nan_to_num(clip), 30.0, label=0)
    assert index.add(tmp_path / "store").added == ["walk-0", "kick-0"]
    assert index.update().unchanged == ["walk-0", "kick-0"]
    shutil.make_archive(str(tmp_path / "zipped"), "zip", files)
    assert len(index.add(tmp_path / "zipped.zip").added) == 8
    assert len(index.update().unchanged) == 10


def test_arrow_and_parquet_out(made: Index, tmp_path: Path) -> None:
    from pyarrow import parquet

    made.to_parquet(tmp_path / "rows.parquet")
    assert parquet.read_table(tmp_path / "rows.parquet").to_pylist() == made.to_arrow().to_pylist()
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def test_an_approximate_index_gives_the_same_best(made: Index, archive: Path, tmp_path: Path) -> None:
    shutil.copytree(made.path, tmp_path / "moves")
    index = Index.open(tmp_path / "moves")
    index._table.make_approximate(partitions=3)
    assert index._table.is_approximate and not made._table.is_approximate
    assert index.search(archive / "walk-0.bvh", exact=True) == made.search(archive / "walk-0.bvh")
    assert index.search(archive / "walk-0.bvh")[0] == made.search(archive / "walk-0.bvh")[0]
    assert len(index.search(archive / "walk-0.bvh", k=8)) == 8, "what the index misses is found by the exact search"


def test_the_embedder_travels_to_other_processes(weights: Path) -> None:
    embedder = Embedder(str(weights), 2.0, 1.0)
    assert len(embedder.fingerprint) == 16
    again = pickle.loads(pickle.dumps(embedder))
    assert len(pickle.dumps(embedder)) < 1000 and again.fingerprint == embedder.fingerprint


def test_the_name_in_the_index_has_a_revision(tmp_path: Path) -> None:
    index = Index.create(tmp_path / "moves")
    assert index.settings.encoder.startswith("openmocap@v") and (index.settings.window, index.settings.stride) == (4, 2)
    assert "0 windows of 4 s" in repr(index) and index.search(np.ones(256)) == []


def test_commands(files: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moves = str(tmp_path / "moves")
    (files / "bad.bvh").write_text("HIERARCHY")
    (files / "labels.csv").write_text("file,action\nwalk-0.bvh,walk\n")
    command = ["index", str(files), "-o", moves, "--window", "2", "--metadata", str(files / "labels.csv")]
    assert main([*command, "--weights", str(weights), "--json"]) == 1
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert len(found["added"]) == 8 and list(found["failed"]) == ["bad.bvh"] and found["stride"] == 1
    assert [line for line in err.splitlines() if "bad.bvh" in line and line.startswith("mamp index: ")]
    (files / "bad.bvh").unlink()
    assert main(command) == 0 and "8 unchanged" in capsys.readouterr().out
    assert main(["index", "-o", moves, "--update"]) == 0
    assert main(["index", "-o", moves]) == 1 and "found neither" in capsys.readouterr().err
    assert main([*command, "--stride", "2"]) == 1 and "windows of 2 s every 1 s" in capsys.readouterr().err
    query = f"{files / 'walk-1.bvh'}@1-3"
    assert main(["search", query, "--index", moves, "-k", "2", "--where", "action IS NOT NULL", "--json"]) == 0
    (hit,) = json.loads(capsys.readouterr().out)["hits"]
    assert (hit["file"], hit["columns"]) == ("walk-0.bvh", {"action": "walk"})
    assert main(["search", query, "--index", moves, "-k", "1"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("+1.000  walk-1.bvh  ") and line.endswith(" s  person 0\n")
    for wrong, message in (
        (["-k", "0"], "k: expected a whole number above zero, found 0"),
        (["--where", "nonsense = 1"], "No field named nonsense"),
        (["--person", "4"], "expected one of the people 0, found 4"),
    ):
        assert main(["search", query, "--index", moves, *wrong]) == 1
        err = capsys.readouterr().err
        assert message in err and len([one for one in err.splitlines() if one.startswith("mamp search: ")]) == 1


def test_without_the_extra(weights: Path, tmp_path: Path) -> None:
    """The rest of the package is imported without LanceDB, and an index says what to install."""
    code = f"""
import sys
sys.modules["lancedb"] = None
from mamp.cli import main
assert not [name for name in sys.modules if name.split(".")[0] in ("pyarrow",)]
sys.exit(main(["index", {str(tmp_path)!r}, "-o", {str(tmp_path / "moves")!r}, "--weights", {str(weights)!r}]))
"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "pip install 'mamp[search]'" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "moves").exists()
