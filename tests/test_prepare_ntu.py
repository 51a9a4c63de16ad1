"""NTU RGB+D: equal to the published arrays to the bit, whatever the files come in; and what a user may get wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from prepare_helpers import sample_names, write_archive

from mamp.data import ClipStore
from mamp.data.loader import training_clips
from mamp.errors import ConfigError, DataError
from mamp.prepare.__main__ import main as prepare
from mamp.prepare.journal import work_folder
from mamp.prepare.ntu import (
    SUBJECTS_60,
    SUBJECTS_120,
    get_protocol,
    missing_skeletons,
    published_order,
    sample_name,
)
from mamp.prepare.published import published_arrays
from mamp.readers.ntu import parse_name
from mamp.train.__main__ import main as train
from mamp.train.recipes import RECIPES
from mamp.train.start import check_store

ROOT = Path(__file__).resolve().parents[1]
EXPECTED = json.loads((ROOT / "tests" / "golden" / "prepare" / "expected.json").read_text())
FILES = sorted((ROOT / "tests" / "golden" / "ntu").glob("*.skeleton.gz"))


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def contents(store: Path) -> dict[str, bytes]:
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of both benchmarks from the files in the repository."""
    folder = tmp_path_factory.mktemp("ntu")
    for name in ("ntu60", "ntu120"):
        assert prepare([name, str(FILES[0].parent), str(folder / name), "--workers", "1"]) == 0
    return folder


@pytest.mark.parametrize("benchmark", EXPECTED["ntu"])
def test_equal_to_the_published_arrays(stores, benchmark):
    for protocol, splits in EXPECTED["ntu"][benchmark].items():
        for split, expected in splits.items():
            x, y = published_arrays(stores / benchmark, protocol, split)
            assert (list(x.shape), sha256(x)) == (expected["shape"], expected["x_sha256"])
            labels = [int(name[-3:]) - 1 for name in expected["names"]]
            np.testing.assert_array_equal(y, np.eye(int(benchmark[3:]))[labels])


@pytest.mark.parametrize(
    ("key", "protocol"),
    [("ntu/XSub", "xsub"), ("ntu/XView", "xview"), ("ntu120/XSub", "xsub"), ("ntu120/XSet", "xset")],
)
def test_equal_to_all_published_arrays(shared, tmp_path, key, protocol):
    raw = shared / "reference" / "golden" / "ntu_raw"
    name = "ntu120" if "120" in key else "ntu60"
    assert prepare([name, str(raw), str(tmp_path / "store"), "--workers", "1"]) == 0
    expected = json.loads((raw / "cases.json").read_text())["_npz"][key]
    for split in ("train", "test"):
        for array, what in zip(published_arrays(tmp_path / "store", protocol, split), "xy", strict=True):
            shape, dtype, digest = expected[f"{what}_{split}"]
            assert (list(array.shape), str(array.dtype), sha256(array)) == (shape, dtype, digest)


def test_columns_and_conventions(stores):
    store = ClipStore(stores / "ntu60")
    assert store.columns["name"].tolist() == [path.name.split(".")[0] for path in FILES]
    for column, letter, first in (("label", "A", 1), ("subject", "P", 0), ("camera", "C", 0), ("setup", "S", 0)):
        wanted = [int(name[name.index(letter) + 1 :][:3]) - first for name in store.columns["name"].tolist()]
        assert store.columns[column].tolist() == wanted
    assert store.columns["split_xview"].tolist() == ["test" if c == 1 else "train" for c in store.columns["camera"]]
    # A person whose track breaks takes two slots, the second empty; both benchmarks keep it so.
    broken = store.columns["name"].tolist().index("S017C002P006R002A013")
    assert store.columns["people"][broken] == 2 and not store.read(broken)[1].any()
    assert set(store.columns["people"].tolist()) == {1, 2} and set(store.columns["fps"].tolist()) == {30}
    said = {name: ClipStore(stores / name).info["preprocessing"] for name in ("ntu60", "ntu120")}
    assert (said["ntu60"]["absent_person"], said["ntu120"]["absent_person"]) == ("zeros", "copy")
    assert said["ntu60"]["center"] == "clip" and said["ntu60"]["up"] == "y" and not said["ntu60"]["facing"]
    report = json.loads((stores / "ntu60" / "report.json").read_text())
    assert report["dropped_frames"] == {"nobody was tracked": 6, "only tracks that were dropped": 6}
    assert report["dropped_people"] == {
        "a third person at the same time": 1,
        "a track of fewer than 12 frames beside another": 1,
        "a track of the shape of noise": 1,
    }


def test_recipes_train_on_their_protocol(stores):
    for name, benchmark in (("ntu60-xsub", "ntu60"), ("ntu60-xview", "ntu60"), ("ntu120-xset", "ntu120")):
        config = RECIPES[name].config
        store = check_store(config, stores / benchmark)
        chosen = training_clips(store, config.data.split, config.data.protocol)
        expected = EXPECTED["ntu"][benchmark][name.split("-")[1]]["train"]["names"]
        assert sorted(store.columns["name"][chosen].tolist()) == sorted(expected)
    with pytest.raises(ConfigError, match="zeros in place of an absent second person, the encoder is to expect copy"):
        check_store(RECIPES["ntu120-xsub"].config, stores / "ntu60")
    store = ClipStore(stores / "ntu60")
    with pytest.raises(DataError, match=r"no column 'split_xset'; .*choose one of its protocols: xsub, xview"):
        training_clips(store, "train", "xset")
    with pytest.raises(DataError, match="no column 'split'; choose one of its protocols"):
        training_clips(store, "train")


def test_from_files_to_an_encoder(stores, tmp_path, capsys):
    small = "--encoder.dim_feat 16 --encoder.depth 1 --encoder.num_heads 2 --objective.decoder_dim_feat 16"
    short = "--objective.decoder_depth 1 --optim.batch_size 2 --optim.epochs 2 --optim.warmup_epochs 1 --data.workers 0"
    options = [*small.split(), *short.split(), "--run.device", "cpu", "--json"]
    arguments = ["ntu60-xsub", "--data", str(stores / "ntu60"), "--output", str(tmp_path / "run"), *options]
    assert train(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["finished"], result["steps"]) == (True, 6), "six clips of the training split, two a step, twice"
    assert (tmp_path / "run" / "encoder" / "model.safetensors").exists()


def test_any_folders_and_zip_files_make_the_same_store(stores, tmp_path):
    raw = tmp_path / "raw"
    (raw / "nturgb+d_skeletons").mkdir(parents=True)
    with zipfile.ZipFile(raw / "rest.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, path in enumerate(FILES):
            name, text = path.name.removesuffix(".gz"), gzip.decompress(path.read_bytes())
            if number % 2:
                archive.writestr(f"nturgb+d_skeletons/{name}", text)
            else:
                (raw / "nturgb+d_skeletons" / name.lower()).write_bytes(text)
    (raw / "nturgb+d_skeletons" / "readme.txt").write_text("not a skeleton")
    assert prepare(["ntu60", str(raw), str(tmp_path / "store"), "--workers", "2"]) == 0
    assert contents(tmp_path / "store") == contents(stores / "ntu60")
    zipped = raw / "rest.zip"
    assert prepare(["ntu60", str(zipped), str(tmp_path / "zip"), "--workers", "1"]) == 0
    assert len(ClipStore(tmp_path / "zip")) == len(FILES) // 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "store", "zip"]


def test_what_is_left_out_and_why(tmp_path, capsys):
    raw = tmp_path / "raw"
    (raw / "copies").mkdir(parents=True)
    text = gzip.decompress(FILES[4].read_bytes())
    missing = min(missing_skeletons(60))
    short = "S001C001P001R001A002.skeleton"
    for name in (missing, "S018C001P042R001A061", "S001C001P001R001A001", "walk"):
        (raw / f"{name}.skeleton").write_bytes(text)
    shutil.copy(raw / "S001C001P001R001A001.skeleton", raw / "copies")
    body, joints = "{} 0 1 1 0 0 0 0 0 2\n25\n", "0.1 0.2 3 0 0 0 0 0 0 0 0 2\n" * 25
    frames = [body.format(1 + (frame > 4)) + joints for frame in range(11)]
    (raw / short).write_text("11\n" + "".join(f"1\n{frame}" for frame in frames))
    (raw / "S001C001P001R001A003.skeleton").write_text("2\n0\n0\n")
    (raw / "S001C001P001R001A004.skeleton").write_bytes(text[: len(text) // 2])
    assert prepare(["ntu60", str(raw), str(tmp_path / "store"), "--json", "--workers", "1"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert ClipStore(tmp_path / "store").columns["name"].tolist() == ["S001C001P001R001A001", short.split(".")[0]]
    assert report["left_out"] == {
        "not a sample of NTU RGB+D 60": ["S018C001P042R001A061.skeleton"],
        "on the official list of missing or incomplete skeletons": [f"{missing}.skeleton"],
    }
    failed = report["failed"]
    assert len(failed) == 4 and "expected a name such as S001C001P001R001A001" in failed["walk.skeleton"]
    assert "; S001C001P001R001A001.skeleton is taken" in failed["copies/S001C001P001R001A001.skeleton"]
    assert "no tracked person in 2 frames" in failed["S001C001P001R001A003.skeleton"]
    assert "cut" in failed["S001C001P001R001A004.skeleton"] and "left out walk.skeleton" in err
    warning = report["warnings"][0]["examples"][0]
    assert "every body is seen in fewer than 12 frames; the longest (6 frames) is kept" in warning
    assert report["dropped_people"] == {"a track of fewer than 12 frames beside another": 1}
    assert prepare(["ntu60", str(raw), str(tmp_path / "other"), "--strict", "--workers", "1"]) == 1
    assert not (tmp_path / "other").exists() and "was not written" in capsys.readouterr().err


def test_the_official_lists_of_missing_skeletons(shared):
    assert (len(missing_skeletons(60)), len(missing_skeletons(120))) == (302, 535)
    lists = json.loads((shared / "reference" / "ntu_missing_skeletons.json").read_text())
    names = {f"S{s:03}C{c:03}P{p:03}R{r:03}A{a:03}" for s, c, p, r, a in lists["ntu60"] + lists["ntu120_further"]}
    assert missing_skeletons(120) == names


# Who was recorded in each setup, by all three cameras, twice in 60 actions: the first 60 up to setup 17 (NTU RGB+D 60),
# the further 60 of NTU RGB+D 120 from there on.
SUBJECTS_OF_SETUP = {
    1: (1, 2, 3, 4, 5, 6, 7, 8),
    2: (3, 7, 8, 9, 10, 11, 12, 13, 14),
    3: (1, 2, 7, 8, 15, 16, 17, 18, 19),
    4: (3, 7, 8, 20),
    5: (4, 10, 13, 15, 16, 17, 18, 21),
    6: (1, 7, 8, 15, 16, 17, 19, 22, 23, 24),
    7: (1, 7, 8, 15, 16, 17, 18, 19, 25, 26, 27, 28),
    8: (1, 7, 8, 15, 19, 25, 29, 30, 31, 32, 33, 34, 35, 36),
    9: (7, 8, 15, 16, 17, 19, 25),
    10: (7, 8, 13, 15, 16, 17, 18, 19, 21, 25),
    11: (1, 2, 7, 8, 15, 16, 17, 18, 19, 25, 27, 28, 38),
    12: (7, 8, 15, 16, 17, 18, 19, 25, 27, 28, 37),
    13: (7, 8, 15, 16, 17, 18, 19, 25, 27, 28, 37),
    14: (7, 8, 15, 17, 19, 25, 27, 37, 39),
    15: (7, 8, 15, 16, 17, 19, 25, 37),
    16: (7, 8, 19, 21, 25, 39, 40),
    17: (3, 7, 8, 9, 15, 16, 17, 20),
    18: (8, 41, 42, 43, 44, 45),
    19: (8, 41, 42, 46, 47, 48, 49, 50, 51),
    20: (8, 41, 43, 44, 52, 53, 54),
    21: (55, 56, 57, 58, 59, 60),
    22: (61, 62, 63, 64, 65, 66, 67),
    23: (55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68),
    24: (57, 60, 61, 62, 63, 64, 67),
    25: (55, 56, 58, 59, 65, 66, 68),
    26: (8, 41, 44, 49, 50, 51, 69, 70, 71, 72, 74, 75, 76, 77),
    27: (6, 8, 11, 41, 43, 44, 78, 79, 80, 81, 82, 83, 84, 85, 86),
    28: (8, 41, 42, 43, 46, 48, 70, 73, 87),
    29: (6, 8, 41, 43, 44, 48, 49, 51, 67, 74, 75, 80, 88, 89, 90),
    30: (8, 11, 41, 43, 44, 48, 67, 75, 76, 81, 85, 88, 91, 92, 93, 94, 95, 96),
    31: (6, 8, 41, 42, 43, 44, 51, 67, 82, 85, 96, 97, 98, 99, 100, 101),
    32: (8, 41, 43, 44, 67, 102, 103, 104, 105, 106),
}


@pytest.mark.parametrize(
    ("benchmark", "setups", "key", "protocols"),
    [
        (60, 17, "ntu", {"xsub": "ntu/XSub", "xview": "ntu/XView"}),
        (120, 32, "ntu120", {"xsub": "ntu120/XSub", "xset": "ntu120/XSet"}),
    ],
)
def test_the_official_list_and_the_row_order_of_its_splits(benchmark, setups, key, protocols):
    every = (
        sample_name(setup, camera, subject, replication, action)
        for setup in range(1, setups + 1)
        for camera in (1, 2, 3)
        for subject in SUBJECTS_OF_SETUP[setup]
        for replication in (1, 2)
        for action in (range(1, 61) if setup <= 17 else range(61, 121))
    )
    missing = missing_skeletons(benchmark)
    names = [name for name in every if name not in missing]
    lists = EXPECTED["ntu_lists"]
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    assert (len(names), digest) == (lists[f"{key}/n_names"], lists[f"{key}/names_sha256_newline_joined"])
    assert names == sorted(names)
    facts = [parse_name(name) for name in names]
    columns = {column: np.array([fact[column] for fact in facts]) for column in ("subject", "camera", "setup")}
    columns["name"] = np.array(names)
    for protocol, expected in protocols.items():
        for split in ("train", "test"):
            rows = published_order(columns, benchmark, protocol, split)
            wanted = lists[expected]
            assert rows[:10].tolist() == wanted[f"{split}_first10"]
            assert (len(rows), sha256(rows)) == (wanted[f"n_{split}"], wanted[f"{split}_sha256_i64"])


def test_the_row_order_of_an_unknown_protocol():
    with pytest.raises(DataError, match="has the protocols xsub, xset; found 'xview'"):
        published_order({"name": np.array([]), "camera": np.array([])}, 120, "xview", "train")


def test_the_subjects_and_setups_of_the_larger_benchmark():
    assert (len(SUBJECTS_60), len(SUBJECTS_120)) == (20, 53) and max(SUBJECTS_120) == 103
    rule = get_protocol(120, "xset")
    assert [rule.split(setup) for setup in (1, 2, 31, 32)] == ["test", "train", "test", "train"]


def test_mistakes_of_a_command_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("1")
    (tmp_path / "bad.zip").write_bytes(b"PK\3\4")
    before = sorted(tmp_path.rglob("*"))
    for raw, message in (
        ("absent", "expected a folder of recordings"),
        ("empty", "expected .skeleton files"),
        ("other", "expected .skeleton files"),
        ("bad.zip", "damaged or cut zip file"),
        ("other/a.txt", "expected a folder of recordings"),
    ):
        assert prepare(["ntu60", str(tmp_path / raw), str(tmp_path / "store")]) == 1
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1 and "Traceback" not in err
    assert prepare(["ntu60", str(FILES[0].parent), str(FILES[0].parent / "store")]) == 1
    assert "may not lie in one another" in capsys.readouterr().err
    assert prepare(["ntu61", "a", "b"]) == 2 and prepare(["ntu60", "a"]) == 2
    assert prepare(["ntu60", "a", "b", "--workers", "0"]) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_dry_run(tmp_path, capsys):
    arguments = ["ntu60", str(FILES[0].parent), str(tmp_path / "store"), "--dry-run", "--workers", "2"]
    assert prepare(arguments) == 0
    assert f"{tmp_path / 'store'}: would be made of 8 files" in capsys.readouterr().out
    assert prepare([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["clips"], found["sampled"], found["workers"]) == (8, 8, 2) and not list(tmp_path.iterdir())


def test_generated_names_are_official_ones():
    names = sample_names(5657)
    assert len(set(names)) == 5657 and not set(names) & missing_skeletons(120)


def prepare_and_kill(raw: Path, output: Path, lines: int) -> int:
    """Kill the command when its journal has so many lines; how many files were done by then."""
    command = [sys.executable, "-m", "mamp.prepare", "ntu60", str(raw), str(output), "--workers", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = work_folder(output) / "journal.jsonl"
    while not journal.exists() or journal.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, "it was done before it could be killed"
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not output.exists()
    return sum(len(json.loads(line)["items"]) for line in journal.read_bytes().splitlines()[:-1])


@pytest.mark.slow
def test_five_thousand_files_killed_half_way(tmp_path):
    raw = write_archive(tmp_path / "raw", 5000)
    done = prepare_and_kill(raw, tmp_path / "killed", 200)
    assert 1000 < done < 5000
    command = [sys.executable, "-m", "mamp.prepare", "ntu60", str(raw)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = [*command, str(tmp_path / "killed"), "--workers", "2"]
    again = subprocess.run(killed, env=environment, capture_output=True, text=True, check=True)
    assert "resuming after" in again.stderr and "5000 clips" in again.stdout
    subprocess.run([*command, str(tmp_path / "whole"), "--workers", "1"], env=environment, check=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert len(ClipStore(tmp_path / "whole")) == 5000
    shutil.rmtree(raw)


def test_generated_files_killed_and_resumed(tmp_path):
    raw = write_archive(tmp_path / "raw", 60, frames=30)
    assert prepare(["ntu60", str(raw), str(tmp_path / "one"), "--workers", "1"]) == 0
    assert prepare(["ntu60", str(raw), str(tmp_path / "two"), "--workers", "2"]) == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    store = ClipStore(tmp_path / "one")
    assert len(store) == 60 and np.bincount(store.columns["people"]).tolist() == [0, 45, 15]
