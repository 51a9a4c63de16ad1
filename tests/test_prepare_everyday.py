"""``python -m mamp.prepare`` of open and everyday sets, and what ``mamp info`` says of a store."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from everyday_helpers import (
    rows,
    sbu_people,
    sbu_text,
    standing,
    uiprmd_numbers,
    utdmhad_file,
    utkinect_text,
)
from test_readers_mocap import human_amc, human_asf, human_bvh

from mamp import Skeleton
from mamp.cli import main as mamp_main
from mamp.config import Preprocessing
from mamp.data import ClipStore
from mamp.data.summary import describe_store
from mamp.errors import DataError, MAMPError, MissingFileError, RecordingError
from mamp.layouts import MODEL_LAYOUT as NTU25
from mamp.layouts import get_layout
from mamp.prepare.__main__ import main
from mamp.prepare.packed import read_packed
from mamp.prepare.pictures import choose_clips, contact_sheet
from mamp.prepare.recordings import Recordings, thin
from mamp.preprocessing import normalize
from mamp.readers import nwucla, uiprmd
from mamp.readers.bandai import BandaiNamco
from mamp.readers.cmu import CMU, starts_in_t_pose
from mamp.readers.hdm05 import HDM05
from mamp.readers.utkinect import UTKinect

EXPECTED = Preprocessing(max_people=None, absent_person="none")


def prepare(source: str, raw: Path, output: Path, *options: str) -> ClipStore:
    assert main([source, str(raw), str(output), "--workers", "1", *options]) == 0
    return ClipStore(output)


def columns_of(store: ClipStore) -> dict[str, list[object]]:
    return {name: values.tolist() for name, values in store.columns.items() if name not in ("first_row", "people")}


REAL = [
    # source, folder of raw files, corpus, options, columns that both have
    ("cmu", "cmu-amc", "cmu-amc", ("--fps", "30"), ()),
    ("cmu", "cmu-bvh", "cmu-bvh43", ("--fps", "30"), ()),
    ("hdm05", "hdm05", "hdm05-11", ("--fps", "30"), ("subject",)),
    ("ui-prmd", "ui-prmd", "ui-prmd", (), ("label", "subject", "correct")),
    ("bandai-namco", "bandai-namco", "bandai-namco", (), ("content", "style")),
    ("nw-ucla", "nw-ucla", "nw-ucla", (), ("label", "subject", "view")),
    ("msr-action3d", "msr-action3d", "msr-action3d", (), ("label", "subject")),
]


@pytest.mark.parametrize(("source", "raw", "corpus", "options", "both"), REAL, ids=[row[1] for row in REAL])
def test_real_files_equal_the_corpora(shared, tmp_path, source, raw, corpus, options, both):
    store = prepare(source, shared / "data" / "raw" / raw, tmp_path / "store", *options)
    path = shared / "data" / "corpora" / f"{corpus}.npz"
    with np.load(path) as data:
        names = data["clip"].tolist()
        classes = data["classes"].tolist() if "classes" in data else None
    wanted = {recording.name.partition("/")[2]: recording for recording in read_packed(path)}
    # The corpora of BVH files lack the ends of the bones, from which head and feet are better told.
    same = [
        not (corpus in ("cmu-bvh43", "bandai-namco") and joint.startswith(("head", "foot"))) for joint in NTU25.joints
    ]
    compared = 0
    for clip, name in enumerate(store.columns["name"].tolist()):
        if name not in names:
            continue  # 08_03 of CMU is not in the corpus
        compared += 1
        recording = wanted[name]
        found, expected = store.read(clip), normalize(recording, EXPECTED).positions
        # The corpora are rounded to 0.1 mm, the origin is one of their joints, and some joints are extrapolated.
        np.testing.assert_allclose(found[:, :, same], expected[:, :, same], atol=2e-4)
        assert found.shape == expected.shape and store.columns["fps"][clip] == recording.fps
        for column in both:
            assert store.columns[column][clip] == recording.info[column]
        if classes is not None:
            assert store.info["classes"][store.columns["label"][clip]] == classes[recording.info["label"]]
    assert compared >= 2


@pytest.mark.parametrize(("raw", "corpus"), [("cmu-bvh", "cmu-bvh43"), ("bandai-namco", "bandai-namco")])
def test_joints_of_real_bvh_equal_the_corpora(shared, raw, corpus):
    """Before the joints of the model: every joint of the corpus."""
    folder = shared / "data" / "raw" / raw
    dataset = Recordings((CMU if raw == "cmu-bvh" else BandaiNamco)(folder), EXPECTED)
    wanted = {one.name.partition("/")[2]: one for one in read_packed(shared / "data" / "corpora" / f"{corpus}.npz")}
    for item in dataset.list_items().items:
        (take,) = dataset.recordings.takes(item.path)
        found, recording = thin(take.recording, 30), wanted[take.name]
        order = [found.layout.joints.index(joint) for joint in recording.layout.joints]
        np.testing.assert_allclose(found.positions[:, :, order], recording.positions, atol=5.1e-5)


def test_labels_are_those_of_the_corpora(shared):
    """Every name of the corpora is understood as they understand it."""
    corpora = shared / "data" / "corpora"
    with np.load(corpora / "nw-ucla.npz") as data:
        for index, name in enumerate(data["clip"].tolist()):
            said = nwucla._parse_name(name)
            assert all(said[column] == data[column][index] for column in ("label", "subject", "view"))
        assert (data["view"] < 3).sum() == 1020
    with np.load(corpora / "ui-prmd.npz") as data:
        for index, name in enumerate(data["clip"].tolist()):
            said = uiprmd.parse_name(f"{name.removesuffix('_inc')}_positions{'_inc' if 'inc' in name else ''}.txt")
            assert all(said[column] == data[column][index] for column in ("label", "subject", "correct"))
    with np.load(corpora / "hdm05-11.npz") as data:
        for index, name in enumerate(data["clip"].tolist()):
            match = HDM05.pattern.match(f"{name}.amc")
            assert match is not None
            assert (match[1], match[2]) == (data["subject"][index], data["classes"][data["label"][index]])
        assert sorted(data["classes"].tolist()) == data["classes"].tolist()


def write_cmu(folder: Path) -> None:
    (folder / "07").mkdir(parents=True)
    (folder / "07" / "07.asf").write_text(human_asf())
    (folder / "07" / "07_01.amc").write_text(human_amc(9), encoding="latin-1")
    (folder / "bvh").mkdir()
    (folder / "bvh" / "07_01.bvh").write_text(human_bvh(9))
    (folder / "bvh" / "08_02.bvh").write_text(human_bvh(9, frame_time=1 / 120))


def test_cmu(tmp_path):
    write_cmu(tmp_path / "raw")
    store = prepare("cmu", tmp_path / "raw", tmp_path / "store", "--fps", "30")
    assert columns_of(store) == {
        "name": ["07_01", "08_02"], "frames": [3, 3], "fps": [30, 30], "subject": ["07", "08"],
    }  # fmt: skip
    report = json.loads((tmp_path / "store" / "report.json").read_text())
    assert "the same recording as 07/07_01.amc" in json.dumps(report)
    assert store.info["preprocessing"]["max_people"] is None and store.info["source"] == "CMU motion capture"
    again = Recordings(CMU(tmp_path / "raw"), EXPECTED)
    assert [item.key for item in again.list_items().items] == ["07/07_01.amc", "bvh/08_02.bvh"]
    with zipfile.ZipFile(tmp_path / "cmu.zip", "w") as archive:
        for path in (tmp_path / "raw").rglob("*.*"):
            archive.write(path, path.relative_to(tmp_path / "raw").as_posix())
    inside = prepare("cmu", tmp_path / "cmu.zip", tmp_path / "of-zip", "--fps", "30")
    assert inside.info["sha256"] == store.info["sha256"]


def t_pose() -> np.ndarray:
    """[25, 3] arms stretched out to the sides."""
    joints = get_layout("ntu25").joints
    pose = np.zeros((25, 3))
    pose[:, 1] = 1
    for side, sign in (("left", 1), ("right", -1)):
        for joint, reach in (("shoulder", 0.2), ("elbow", 0.5), ("wrist", 0.75)):
            pose[joints.index(f"{joint}_{side}")] = (sign * reach, 1.5, 0)
    return pose


def test_t_pose_before_the_motion():
    pose = t_pose()
    away = pose + np.array([0.15, 0, 0])  # 0.15 m in 1/120 s: 18 m/s
    near = pose + np.array([0.05, 0, 0])  # 6 m/s
    lowered = pose.copy()
    lowered[get_layout("ntu25").joints.index("wrist_left")] += [-0.1, -0.3, 0]

    def clip(*poses: np.ndarray) -> Skeleton:
        return Skeleton(np.stack(poses), "ntu25", 120, allow_2d=True)

    assert starts_in_t_pose(clip(pose, away))
    assert not starts_in_t_pose(clip(pose, near)), "a take that begins with its arms out"
    assert not starts_in_t_pose(clip(lowered, away)), "another pose that is jumped away from"
    assert not starts_in_t_pose(clip(pose))


def test_thin():
    clip = Skeleton(np.arange(10 * 75.0).reshape(10, 25, 3), "ntu25", 120, confidence=np.ones((10, 25)))
    thinned = thin(clip, 30)
    assert thinned.fps == 30 and thinned.confidence is not None
    np.testing.assert_array_equal(thinned.positions[0], clip.positions[0, [0, 4, 8]])
    assert thin(clip, None) is clip and thin(clip, 120) is clip
    assert thin(clip.replace(fps=119.9), 30).num_frames == 3
    for rate, message in ((50.0, "120 frames per second cannot be made 50"), (240.0, "cannot be made 240")):
        with pytest.raises(RecordingError, match=message):
            thin(clip, rate)
    with pytest.raises(RecordingError, match="an unknown rate cannot be made 30"):
        thin(clip.replace(fps=None), 30)


def test_hdm05(tmp_path):
    raw = tmp_path / "raw"
    for actor, kind in (("bd", "kickLFront1Reps"), ("mm", "depositFloorR")):
        (raw / kind).mkdir(parents=True)
        (raw / kind / f"HDM_{actor}_{kind}_003_120.amc").write_text(human_amc(5), encoding="latin-1")
    for actor in ("bd", "mm"):
        (raw / f"HDM_{actor}.asf").write_text(human_asf())
    store = prepare("hdm05", raw, tmp_path / "store")
    found = columns_of(store)
    assert found["label"] == [0, 1] and found["subject"] == ["mm", "bd"]
    assert store.info["classes"] == ["depositFloorR", "kickLFront1Reps"]


def test_uiprmd(tmp_path):
    raw = tmp_path / "raw"
    for system in ("Kinect", "Vicon"):
        for kind, numbers in zip(("Positions", "Angles"), uiprmd_numbers(4), strict=True):
            for end in ("", "_inc"):
                path = raw / system / kind / f"m02_s03_e04_{kind.lower()}{end}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(rows(numbers))
    found = columns_of(prepare("ui-prmd", raw, tmp_path / "store"))
    assert found["name"] == ["m02_s03_e04", "m02_s03_e04_inc"] and found["correct"] == [True, False]
    assert found["label"] == [1, 1] and found["subject"] == [3, 3]


def test_kinect_sets(tmp_path):
    """NW-UCLA, MSR-Action3D and UTD-MHAD: label, subject, and the usual split."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("a01_s02_e00_v01", "a11_s02_e00_v03"):
        (raw / f"{name}.json").write_text(json.dumps({"file_name": name, "skeletons": standing(4).tolist()}))
    for name in ("a20_s05_e01", "a01_s06_e02"):
        table = np.concatenate([standing(3), np.ones((3, 20, 1))], axis=-1).reshape(-1, 4)
        (raw / f"{name}_skeleton3D.txt").write_text(rows(table, " "))
    for name in ("a27_s3_t1", "a1_s8_t4"):
        (raw / f"{name}_skeleton.mat").write_bytes(utdmhad_file(3))
    ucla = columns_of(prepare("nw-ucla", raw, tmp_path / "ucla"))
    assert (ucla["label"], ucla["view"], ucla["split"]) == ([0, 8], [1, 3], ["train", "test"])
    msr = columns_of(prepare("msr-action3d", raw, tmp_path / "msr"))
    assert (msr["name"], msr["label"], msr["subject"], msr["split"]) == (
        ["a01_s06_e02", "a20_s05_e01"], [0, 19], [6, 5], ["test", "train"],
    )  # fmt: skip
    utd = columns_of(prepare("utd-mhad", raw, tmp_path / "utd"))
    assert (utd["name"], utd["label"], utd["subject"], utd["split"]) == (
        ["a1_s8_t4", "a27_s3_t1"], [0, 26], [8, 3], ["test", "train"],
    )  # fmt: skip


def test_bandai_namco(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "dataset-2_walk-turn-left_not-confident_008.bvh").write_text(human_bvh(4, frame_time=1 / 30))
    found = columns_of(prepare("bandai-namco", raw, tmp_path / "store"))
    assert (found["content"], found["style"], found["fps"]) == (["walk-turn-left"], ["not-confident"], [30])


def test_sbu(tmp_path):
    for folder in ("s06s02/08/001", "s01s02_noisy/01/002"):
        path = tmp_path / "raw" / folder / "skeleton_pos.txt"
        path.parent.mkdir(parents=True)
        path.write_text(sbu_text(sbu_people(4)))
    store = prepare("sbu", tmp_path / "raw", tmp_path / "store")
    found = columns_of(store)
    assert found["name"] == ["s01s02_noisy_01_002", "s06s02_08_001"]
    assert (found["label"], found["pair"], found["fold"]) == ([0, 7], ["s01s02", "s06s02"], [1, 5])
    assert store.columns["people"].tolist() == [2, 2]


def write_utkinect(raw: Path) -> None:
    (raw / "joints").mkdir(parents=True)
    numbers = np.arange(200, 260, 2)
    (raw / "joints" / "joints_s04_e01.txt").write_text(utkinect_text(numbers, standing(30)))
    (raw / "actionLabel.txt").write_text("s04_e01\nwalk: 204 220\nsitDown: NaN NaN\npush: 230 241\ncarry: 900 950\n")


def test_utkinect(tmp_path, caplog):
    write_utkinect(tmp_path / "raw")
    store = prepare("utkinect", tmp_path / "raw", tmp_path / "store")
    found = columns_of(store)
    assert found["name"] == ["s04_e01_walk", "s04_e01_push"]
    assert (found["label"], found["subject"], found["frames"]) == ([0, 6], [4, 4], [9, 6])
    wanted = normalize(Skeleton(standing(30)[2:11], "kinect20"), EXPECTED).positions
    np.testing.assert_allclose(store.read(0), wanted, atol=1e-6)
    assert "carry" in json.dumps(json.loads((tmp_path / "store" / "report.json").read_text()))


def test_what_is_missing(tmp_path, capsys):
    for source in ("cmu", "hdm05", "ui-prmd", "nw-ucla", "msr-action3d", "utd-mhad", "sbu", "bandai-namco", "utkinect"):
        (tmp_path / "raw").mkdir(exist_ok=True)
        assert main([source, str(tmp_path / "raw"), str(tmp_path / "out")]) == 1
        assert "expected" in capsys.readouterr().err
        assert main([source, str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 1
        assert "found none" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    (tmp_path / "raw" / "joints_s01_e01.txt").write_text(utkinect_text(np.arange(4), standing(4)))
    with pytest.raises(MissingFileError, match=r"expected actionLabel\.txt"):
        Recordings(UTKinect(tmp_path / "raw"), EXPECTED)
    assert main(["cmu", "raw", "out", "--fps", "0"]) == 2


def test_info_of_a_store(tmp_path, capsys):
    write_utkinect(tmp_path / "raw")
    store = prepare("utkinect", tmp_path / "raw", tmp_path / "store")
    capsys.readouterr()
    assert mamp_main(["info", str(tmp_path / "store"), "--json", "--plot", str(tmp_path / "sheet.png")]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == {**describe_store(tmp_path / "store"), "plot": str(tmp_path / "sheet.png")}
    assert facts["clips"] == 2 and facts["frames"] == 15 and facts["seconds"] == 1.0
    assert facts["lengths"]["frames"] == {"min": 6, "median": 7.5, "max": 9}
    assert facts["columns"]["label"] == {"different": 2, "counts": {"0": 1, "6": 1}}
    assert facts["people"]["counts"] == {"1": 2} and facts["fps"]["counts"] == {"15": 2}
    assert facts["sha256"] == store.info["sha256"] and facts["preprocessing"]["center"] == "clip"
    assert mamp_main(["info", str(tmp_path / "store")]) == 0
    text = capsys.readouterr().out
    for part in ("2, 15 frames, 1 s", "6 to 9 frames", "walk", "push", "center clip", "UTKinect-Action"):
        assert part in text


def test_contact_sheet(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "raw" / "s01s02" / "01" / "001" / "skeleton_pos.txt"
    path.parent.mkdir(parents=True)
    path.write_text(sbu_text(sbu_people(4)))
    store = prepare("sbu", tmp_path / "raw", tmp_path / "store")
    assert contact_sheet(store, tmp_path / "sheet.png", frames=3) == tmp_path / "sheet.png"
    image = pytest.importorskip("matplotlib.image").imread(tmp_path / "sheet.png")
    assert image.shape[1] > 300 and 0.001 < (image[..., :3] < 0.99).any(-1).mean() < 0.5
    blue, red = image[..., 2] - image[..., 0] > 0.3, image[..., 0] - image[..., 2] > 0.3
    assert blue.sum() > 20 and red.sum() > 20
    # The first picture: the person at larger x, on the left of the camera's picture, shows both sides.
    assert np.flatnonzero(blue.any(0)).size and np.flatnonzero(red.any(0)).size
    with pytest.raises(DataError, match="cannot write the picture"):
        contact_sheet(store, tmp_path / "no" / "sheet.png", frames=2)
    with pytest.raises(DataError, match="cannot write the picture"):
        contact_sheet(store, tmp_path / "sheet.nonsense", frames=2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["raw", "sheet.png", "store"]


def test_pictures_show_the_front(tmp_path):
    """A person who faces the camera has the left side on the right."""
    image_of = pytest.importorskip("matplotlib.image").imread
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a01_s02_e00_v01.json").write_text(
        json.dumps({"skeletons": standing(4).tolist(), "file_name": "a01_s02_e00_v01"})
    )
    store = prepare("nw-ucla", raw, tmp_path / "store")
    contact_sheet(store, tmp_path / "sheet.png", frames=1)
    image = image_of(tmp_path / "sheet.png")
    blue, red = image[..., 2] - image[..., 0] > 0.3, image[..., 0] - image[..., 2] > 0.3
    assert np.flatnonzero(blue.any(0)).mean() > np.flatnonzero(red.any(0)).mean()
    assert choose_clips(store, 5) == [0]


def test_info_of_a_damaged_store(tmp_path, capsys):
    write_utkinect(tmp_path / "raw")
    prepare("utkinect", tmp_path / "raw", tmp_path / "store")
    (tmp_path / "store" / "positions.bin").write_bytes(b"")
    capsys.readouterr()
    assert mamp_main(["info", str(tmp_path / "store")]) == 1
    assert "positions.bin has 0 bytes" in capsys.readouterr().err
    with pytest.raises(MAMPError):
        describe_store(tmp_path)


def test_pictures_without_matplotlib(tmp_path, monkeypatch, capsys):
    write_utkinect(tmp_path / "raw")
    prepare("utkinect", tmp_path / "raw", tmp_path / "store")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    capsys.readouterr()
    assert mamp_main(["info", str(tmp_path / "store"), "--plot", str(tmp_path / "sheet.png")]) == 1
    assert "pip install 'mamp[film]'" in capsys.readouterr().err
    assert mamp_main(["info", str(tmp_path / "store")]) == 0


def test_a_broken_file_is_left_out(tmp_path, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a1_s1_t1_skeleton.mat").write_bytes(utdmhad_file(3))
    (raw / "a2_s1_t1_skeleton.mat").write_bytes(utdmhad_file(3)[:-30])
    store = prepare("utd-mhad", raw, tmp_path / "store")
    assert store.columns["name"].tolist() == ["a1_s1_t1"]
    report = json.loads((tmp_path / "store" / "report.json").read_text())
    assert "damaged or cut MATLAB file" in report["failed"]["a2_s1_t1_skeleton.mat"]
    assert main(["utd-mhad", str(raw), str(tmp_path / "strict"), "--workers", "1", "--strict"]) == 1
    assert not (tmp_path / "strict").exists()


def test_actions_are_part_of_what_is_resumed(tmp_path):
    """A store that was begun with other intervals is not gone on with."""
    write_utkinect(tmp_path / "raw")
    before = Recordings(UTKinect(tmp_path / "raw"), EXPECTED).options()
    labels = tmp_path / "raw" / "actionLabel.txt"
    labels.write_text(labels.read_text().replace("220", "218"))
    assert Recordings(UTKinect(tmp_path / "raw"), EXPECTED).options() != before
