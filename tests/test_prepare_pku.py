"""PKU-MMD: instances equal to the published arrays and to what the published feeder makes of them; the splits."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_data import check_item, run_items, uniform_of

from mamp.config import Preprocessing
from mamp.data import ClipStore
from mamp.data.intervals import read_intervals
from mamp.errors import DataError, ReadError
from mamp.prepare.__main__ import main as prepare
from mamp.prepare.pku import parse_split, published_instance, read_label_file
from mamp.prepare.published import published_arrays
from mamp.preprocessing import prepare_clip
from mamp.skeleton import Skeleton

ROOT = Path(__file__).resolve().parents[1]
EXPECTED = json.loads((ROOT / "tests" / "golden" / "prepare" / "expected.json").read_text())["pku2"]


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def write_raw(folder: Path) -> Path:
    """The two recordings in the repository, with their labels and splits."""
    for path in sorted((ROOT / "tests" / "golden" / "pku").glob("*.txt.gz")):
        (folder / "skeleton").mkdir(parents=True, exist_ok=True)
        (folder / "skeleton" / path.name.removesuffix(".gz")).write_bytes(gzip.decompress(path.read_bytes()))
    for name, text in EXPECTED["files"].items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "label" / "A02N03-M.txt").unlink()  # its recording is not in the repository
    return folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("pku") / "raw")


@pytest.fixture(scope="module")
def store(raw: Path) -> Path:
    assert prepare(["pku2", str(raw), str(raw.parent / "store"), "--workers", "1"]) == 0
    return raw.parent / "store"


def test_equal_to_the_published_arrays(store):
    x, y = published_arrays(store, "xsub", "train")
    assert (list(x.shape), sha256(x)) == (EXPECTED["train"]["x_shape"], EXPECTED["train"]["x_sha256"])
    assert y.shape[1] == 51 and y.argmax(1).tolist() == EXPECTED["train"]["y"] and (y.sum(1) == 1).all()
    assert ClipStore(store).columns["label"].tolist() == EXPECTED["train"]["y"]
    with pytest.raises(DataError, match="has the protocols xsub, xview"):
        published_arrays(store, "xset", "train")


@pytest.mark.parametrize("phase", [1, 2])
def test_equal_to_all_published_arrays(shared, tmp_path, phase):
    folder = shared / "reference" / "golden" / "pku_raw"
    assert prepare([f"pku{phase}", str(folder / f"v{phase}"), str(tmp_path / "store"), "--workers", "1"]) == 0
    with np.load(folder / "expected.npz") as expected:
        for protocol in ("XSub", "XView"):
            for split in ("train", "test"):
                key = f"v{phase}/{protocol}/{split}"
                x, y = published_arrays(tmp_path / "store", protocol.lower(), split)
                assert sha256(x) == str(expected[f"{key}/x_sha256"])
                np.testing.assert_array_equal(y.argmax(1), expected[f"{key}/y"])


def test_clips_are_what_the_published_feeder_sees(store):
    """It counts the frames that hold anybody, and takes that many from the start."""
    clips = ClipStore(store)
    x, _ = published_arrays(store, "xsub", "train")
    for clip, row in enumerate(x):
        seen = int((row.sum(-1) != 0).sum())
        wide = np.zeros((seen, 150), dtype=np.float32)
        positions = clips.read(clip).transpose(1, 0, 2, 3).reshape(seen, -1)
        wide[:, : positions.shape[1]] = positions
        np.testing.assert_array_equal(wide, row[:seen])


def test_from_text_to_the_items_of_the_published_feeder(shared, tmp_path, monkeypatch):
    """Item 5 has empty frames inside: they stay, and as many are lost at the end."""
    folder = shared / "reference" / "golden"
    raw = tmp_path / "raw"
    for name in ("skeleton", "label"):
        (raw / name).mkdir(parents=True)
    (raw / "cross-view.txt").write_text("Training videos:\n0000-L\n")
    with np.load(folder / "feeder_dataset.npz") as dataset, np.load(folder / "feeder.npz") as golden:
        for number, rows in enumerate(dataset["x_train"]):
            np.savetxt(raw / "skeleton" / f"{number:04}-L.txt", rows, fmt="%.9g")
            (raw / "label" / f"{number:04}-L.txt").write_text(f"1,0,{len(rows)},2\n")
        assert prepare(["pku1", str(raw), str(tmp_path / "store"), "--workers", "1"]) == 0
        store = ClipStore(tmp_path / "store")
        whole = ClipStore(tmp_path / "store" / "untrimmed")
        filled = np.flatnonzero(whole.read(5).any((0, 2, 3)))[-1] + 1
        assert store.columns["frames"][5] < filled and not store.read(5).any((0, 2, 3)).all()
        numbers = [uniform_of(golden[f"ds/train{i}/u"], golden[f"ds/train{i}/angles"]) for i in range(len(store))]
        clips = [store.read(i) for i in range(len(store))]
        found = run_items(tmp_path / "items", clips, numbers, monkeypatch)
        assert sorted(found) == list(range(7))
        for i, item in found.items():
            check_item(item, golden[f"ds/train{i}/data"])


def test_inner_gaps_truncation_and_empty_instances(tmp_path, capsys):
    folder = tmp_path / "raw"
    for name in ("skeleton", "label"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = np.zeros((400, 150), dtype=np.float32)
    rows[:350, :75] = rng.normal(size=(350, 75)).round(4)
    rows[20:24] = 0
    text = "\n".join(" ".join(f"{value:.4f}" for value in row) for row in rows)
    (folder / "skeleton" / "0001-L.txt").write_text(text)
    # Empty inside; longer than 300; nobody; past the end; inverted.
    (folder / "label" / "0001-L.txt").write_text("1,10,40,2\n2,24,340,1\n3,352,360,2\n4,345,900,2\n5,60,50,2\n")
    (folder / "cross-view.txt").write_text("Training videos:\n0001-L\nValidataion videos:\n0002-L\n")
    assert prepare(["pku1", str(folder), str(tmp_path / "store"), "--json", "--workers", "1"]) == 0
    report = json.loads(capsys.readouterr().out)
    store = ClipStore(tmp_path / "store")
    assert store.columns["label"].tolist() == [0, 1, 3] and store.columns["people"].tolist() == [1, 1, 1]
    assert store.columns["frames"].tolist() == [26, 300, 5]
    assert store.columns["start"].tolist() == [10, 24, 345] and store.columns["end"].tolist() == [40, 340, 900]
    np.testing.assert_array_equal(store.read(0)[0].reshape(26, 75), rows[10:36, :75])
    assert not store.read(0)[0, 10:14].any()
    np.testing.assert_array_equal(store.read(1)[0].reshape(300, 75), rows[24:324, :75])
    assert report["dropped_frames"] == {
        "at the end, for as many empty ones inside": 4 + 50,
        "beyond the first 300 of an instance": 16,
    }
    assert report["warnings"][0]["count"] == 2 and "nobody is seen in it" in report["warnings"][0]["kind"]
    assert report["left_out"] == {"named in a split, but there is no file of it": ["0002-L"]}
    assert "split_xsub" not in store.columns and store.info["protocols"] == ["xview"]
    whole = ClipStore(tmp_path / "store" / "untrimmed")
    np.testing.assert_array_equal(whole.read(0)[0].reshape(400, 75), rows[:, :75])
    assert read_intervals(whole, 0).tolist() == [
        [1, 10, 40, 2], [2, 24, 340, 1], [3, 352, 360, 2], [4, 345, 900, 2], [5, 60, 50, 2],
    ]  # fmt: skip
    with pytest.raises(DataError, match="expected a store with intervals"):
        read_intervals(store, 0)


def test_camera_coordinates_stay(store):
    clips = ClipStore(store)
    assert clips.info["preprocessing"]["center"] == "none"
    assert np.abs(clips.read(0)[0, 0, 1]).max() > 1, "metres from the camera, not the origin"
    expected = Preprocessing(center="none", max_people=2, absent_person="zeros", crop=1.0)
    x, _ = prepare_clip(Skeleton(clips.read(0), "ntu25"), expected, clips.read(0).shape[1])
    np.testing.assert_allclose(x[0], clips.read(0)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("view", "subject"),
    [
        ("cross-view.txt", "cross-subject.txt"),
        ("cross_view.txt", "cross_subject_v2.txt"),
        ("Cross_View_v2.txt", "cross-subject_v2.txt"),
    ],
)
def test_spellings_of_the_split_files(raw, store, tmp_path, view, subject):
    folder = tmp_path / "raw"
    shutil.copytree(raw, folder)
    (folder / "cross_view_v2.txt").rename(folder / view)
    (folder / "cross_subject_v2.txt").rename(folder / subject)
    assert prepare(["pku2", str(folder), str(tmp_path / "store"), "--workers", "1"]) == 0
    for column in ("split_xsub", "split_xview", "label", "video"):
        assert ClipStore(tmp_path / "store").columns[column].tolist() == ClipStore(store).columns[column].tolist()


@pytest.mark.parametrize("names", ["a,b", "a, b", "a, b,", "a b", "a,\nb", "a.txt, b.txt, ", " a ,\tb\r"])
def test_splits_however_they_are_written(tmp_path, names):
    path = tmp_path / "cross-view.txt"
    path.write_text(f"Training videos:\n{names}\n\nValidataion videos:\nc\n")
    assert parse_split(path) == (["a", "b"], ["c"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a, b\n", "found none"),
        ("Training videos:\nValidation videos:\na\n", "found none"),
        ("Training videos:\na\nTest videos:\na\n", "found a in both lists"),
    ],
)
def test_malformed_splits(tmp_path, text, message):
    path = tmp_path / "cross-view.txt"
    path.write_text(text)
    with pytest.raises(ReadError, match=message):
        parse_split(path)


def test_labels_of_one_row_and_with_spaces(tmp_path):
    path = tmp_path / "0001-L.txt"
    for text, rows in (("8,3,33,2", 1), ("8, 3, 33, 2\n51 4 5 1\n", 2), ("8,3,33\n", 1), ("8.0,3.0,33.0,2.0", 1)):
        path.write_text(text)
        assert read_label_file(path).shape == (rows, 4) and read_label_file(path)[0, :3].tolist() == [8, 3, 33]
    for text in ("8,3", "0,1,2,3", "52,1,2,3", "a,1,2,3", "1,2.5,3,4", "1,nan,3,4", "1,inf,3,4"):
        path.write_text(text)
        with pytest.raises(ReadError, match=r"row 1: expected action \(1 to 51\), start, end, confidence"):
            read_label_file(path)


def test_instances_as_published():
    rows = np.arange(1, 11, dtype=np.float32)[:, None].repeat(150, 1)
    assert published_instance(rows, 2, 5)[:, 0].tolist() == [3, 4, 5]
    assert [len(published_instance(rows, *interval)) for interval in ((8, 99), (5, 5), (6, 3), (-2, 5))] == [2, 0, 0, 0]


def test_bad_recordings_are_left_out(raw, tmp_path, capsys):
    folder = tmp_path / "raw"
    shutil.copytree(raw, folder)
    (folder / "skeleton" / "A05N01-L.txt").write_text("1 2 3\n")
    (folder / "label" / "A05N01-L.txt").write_text("1,0,3,2\n")
    (folder / "skeleton" / "A06N01-L.txt").write_text("1 " * 150)
    (folder / "label" / "A07N01-L.txt").write_text("1,0,3,2\n")
    (folder / "skeleton" / "notes.txt").write_text("hello")
    (folder / "skeleton" / "0001-L.txt").write_text("1 " * 150)
    (folder / "skeleton" / "more").mkdir()
    shutil.copy(folder / "skeleton" / "A01N01-L.txt", folder / "skeleton" / "more")
    assert prepare(["pku2", str(folder), str(tmp_path / "store"), "--json", "--workers", "1"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {key: why[:26] for key, why in report["failed"].items()} == {
        "label/A07N01-L.txt": "has no file of skeletons",
        "skeleton/A05N01-L.txt": "expected 150 numbers a row",
        "skeleton/A06N01-L.txt": "has no file of labels",
        "skeleton/more/A01N01-L.txt": "a second file of this reco",
        "skeleton/notes.txt": "expected a name such as A0",
    }
    assert report["left_out"]["of the other phase of PKU-MMD (1)"] == ["skeleton/0001-L.txt"]
    assert prepare(["pku2", str(folder), str(tmp_path / "other"), "--strict", "--workers", "1"]) == 1


def test_in_zip_files(raw, store, tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for part, name in (("skeleton", "PKU_Skeleton.zip"), ("label", "Label_PKU.zip")):
        with zipfile.ZipFile(folder / name, "w") as archive:
            for path in (raw / part).iterdir():
                archive.write(path, f"final/{path.name}")
    for path in raw.glob("*.txt"):
        shutil.copy(path, folder)
    assert prepare(["pku2", str(folder), str(tmp_path / "store"), "--workers", "1"]) == 0
    for name in ("positions.bin", "clips.npz", "untrimmed/positions.bin", "untrimmed/clips.npz"):
        assert (tmp_path / "store" / name).read_bytes() == (store / name).read_bytes()


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        ("skeleton", "no skeleton/*.txt"),
        ("label", "no label/*.txt"),
        ("cross", "no cross-subject.txt or cross-view.txt"),
    ],
)
def test_folders_that_lack_a_part(raw, tmp_path, capsys, lacking, message):
    folder = tmp_path / "raw"
    shutil.copytree(raw, folder, ignore=lambda _, names: [name for name in names if name.startswith(lacking)])
    assert prepare(["pku2", str(folder), str(tmp_path / "store")]) == 1
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not (tmp_path / "store").exists()
