"""NTU RGB+D and PKU-MMD text: every stage equal, bit for bit, to what the published preparation gives."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from mamp.errors import MissingFileError, ReadError
from mamp.readers import load, pku
from mamp.readers.ntu import denoise, parse_name, parse_skeleton_file, translate

GOLDEN = Path(__file__).parent / "golden"
NTU = json.loads((GOLDEN / "ntu" / "expected.json").read_text())
PKU = json.loads((GOLDEN / "pku" / "expected.json").read_text())


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def joint_lines(rng: np.random.Generator, height: float = 1.0) -> list[str]:
    points = rng.normal(size=(25, 3)) * [0.1, height, 0.1] + [0, 0, 3]
    return [" ".join(f"{value:.6f}" for value in point) + " 250 200 900 500 0 1 0 0 2" for point in points]


def ntu_text(frames: list[list[int]], seed: int = 0) -> str:
    """A file whose frames hold bodies of these IDs."""
    rng = np.random.default_rng(seed)
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for body in bodies:
            lines += [f"{body} 0 1 1 0 0 0 0.04 -0.02 2", "25", *joint_lines(rng)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", NTU)
def test_stages_equal_the_published_ones(name):
    expected = NTU[name]
    raw = parse_skeleton_file(GOLDEN / "ntu" / f"{name}.skeleton.gz")
    assert (raw.name, raw.num_frames) == (name, expected["num_frames"])
    assert list(raw.empty_frames) == expected["empty_frames"]
    assert [str(body.id) for body in raw.bodies] == [body["id"] for body in expected["bodies"]]
    for body, wanted in zip(raw.bodies, expected["bodies"], strict=True):
        assert body.interval.tolist() == wanted["interval"]
        assert sha256(body.joints) == wanted["joints_sha256"]
        assert body.motion == wanted["motion"] or (np.isnan(body.motion) and wanted["motion"] is None)
    denoised = denoise(raw).positions
    assert (denoised.dtype, list(denoised.shape)) == (np.float32, expected["denoised_shape"])
    assert sha256(denoised) == expected["denoised_sha256"]
    assert sha256(translate(denoised)) == expected["translated_sha256"]


def test_all_golden_files(shared):
    folder = shared / "reference" / "golden" / "ntu_raw"
    expected = np.load(folder / "expected.npz")
    files = sorted((folder / "skeletons").glob("*.skeleton"))
    assert len(files) == 20
    for file in files:
        raw = parse_skeleton_file(file)
        for index, body in enumerate(raw.bodies):
            key = f"raw/{raw.name}/body{index}"
            assert str(body.id) == str(expected[f"{key}/id"])
            np.testing.assert_array_equal(body.interval, expected[f"{key}/interval"])
            np.testing.assert_array_equal(body.motion, expected[f"{key}/motion"])
            assert sha256(body.joints) == str(expected[f"{key}/joints_sha256"])
        assert f"raw/{raw.name}/body{len(raw.bodies)}/id" not in expected
        assert raw.num_frames == expected[f"raw/{raw.name}/num_frames"]
        denoised = denoise(raw).positions
        np.testing.assert_array_equal(denoised, expected[f"denoised/{raw.name}"])
        np.testing.assert_array_equal(translate(denoised), expected[f"translated/{raw.name}"])


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("S006C003P015R001A012", 72057594037936867, "wider than 0.8 of its height in 82%"),
        ("S007C001P016R002A058", 72057594037931330, "overlaps with two bodies"),
        ("S015C003P040R002A056", 72057594037934378, "seen in 6 frames only"),
    ],
)
def test_says_who_was_dropped_and_why(name, body, reason):
    chosen = denoise(parse_skeleton_file(GOLDEN / "ntu" / f"{name}.skeleton.gz"))
    assert list(chosen.dropped) == [body]
    assert reason in chosen.dropped[body]


def test_skeleton_of_two_slots_with_an_absent_person(tmp_path):
    # One person whose ID changes: 150 columns, the second half empty. The second person stays, untracked.
    path = tmp_path / "S016C001P004R001A023.skeleton"
    path.write_text(ntu_text([[72057594037932577]] * 14 + [[72057594037934149]] * 14))
    skeleton = load(path)
    assert skeleton.positions.shape == (2, 28, 25, 3)
    assert skeleton.tracked[0].all() and not skeleton.tracked[1].any()
    assert (skeleton.layout.name, skeleton.fps) == ("ntu25", 30.0)
    said = {key: skeleton.info[key] for key in ("setup", "camera", "subject", "replication", "label", "unit")}
    assert said == {"setup": 16, "camera": 1, "subject": 4, "replication": 1, "label": 22, "unit": "m"}


def test_positions_are_those_of_denoising_with_nan_for_absence():
    path = GOLDEN / "ntu" / "S004C001P008R001A055.skeleton.gz"
    wide = denoise(parse_skeleton_file(path)).positions.reshape(-1, 2, 75)
    skeleton = load(path)
    for person in (0, 1):
        absent = wide[:, person].sum(-1) == 0
        np.testing.assert_array_equal(np.isnan(skeleton.positions[person]).all((1, 2)), absent)
        np.testing.assert_array_equal(skeleton.positions[person][~absent].reshape(-1, 75), wide[~absent, person])
    assert np.isnan(skeleton.positions[1]).any() and not np.isnan(skeleton.positions[0]).any()


def test_neighbouring_ids_beyond_double_precision(tmp_path):
    path = tmp_path / "close.skeleton"
    ids = [72057594037932577, 72057594037932578]
    assert float(ids[0]) == float(ids[1])
    path.write_text(ntu_text([ids] * 12))
    assert [body.id for body in parse_skeleton_file(path).bodies] == ids


def test_only_short_bodies_keeps_the_longest(tmp_path, caplog):
    path = tmp_path / "short.skeleton"
    path.write_text(ntu_text([[1]] * 3 + [[2]] * 11 + [[3]] * 5))
    with caplog.at_level(logging.WARNING, logger="mamp"):
        chosen = denoise(parse_skeleton_file(path))
    assert chosen.positions.shape == (11, 75)
    assert set(chosen.dropped) == {1, 3}
    assert "the longest (11 frames) is kept" in caplog.text


def test_line_ends_byte_order_mark_and_gzip_do_not_matter(tmp_path):
    text = ntu_text([[1, 2]] * 12)
    (tmp_path / "a.skeleton").write_text(text)
    (tmp_path / "b.skeleton").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (tmp_path / "c.skeleton.gz").write_bytes(gzip.compress(text.encode()))
    a, b, c = (load(tmp_path / name).positions for name in ("a.skeleton", "b.skeleton", "c.skeleton.gz"))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a, c)


def edit(text: str, line: int, new: str) -> str:
    lines = text.splitlines()
    lines[line] = new
    return "\n".join(lines)


GOOD = ntu_text([[7]] * 3)
BAD_NTU = {
    "cut in a frame": (GOOD[: len(GOOD) // 2], "the file is cut: 3 frames announced, it ends in frame 2"),
    "cut between frames": ("\n".join(GOOD.splitlines()[:57]), "the file is cut: 3 frames announced"),
    "cut in the last row": (GOOD[:-25], "cut in its last joint"),
    "huge count": (edit(GOOD, 0, "999999999999"), "999999999999 frames announced, it ends in frame 4"),
    "huge bodies": (edit(GOOD, 1, "999999999999"), "line 31: expected the number of joints, found .7 0 1 1"),
    "negative count": (edit(GOOD, 0, "-3"), "expected the number of frames, found '-3'"),
    "text for a count": (edit(GOOD, 0, "three"), "expected the number of frames, found 'three'"),
    "wrong joint count": (edit(GOOD, 3, "20"), "expected 25 joints .*found 20"),
    "text for a number": (edit(GOOD, 6, "0.1 abc 0.2 1 1 1 1 0 0 0 0 2"), "could not convert string 'abc'"),
    "infinity": (edit(GOOD, 6, "0.1 inf 0.2 1 1 1 1 0 0 0 0 2"), "expected NaN .*found inf"),
    "absurd": (edit(GOOD, 6, "0.1 1e30 0.2 1 1 1 1 0 0 0 0 2"), r"found 1e\+30"),
    "no frames": ("0\n", "no tracked person in 0 frames"),
    "nobody": ("2\n0\n0\n", "no tracked person in 2 frames"),
    "all zero": ("1\n1\n7 0 0\n25\n" + "0 0 0 0 0 0 0 0 0 0 0 2\n" * 25, "no tracked person"),
    "empty": ("", "is empty"),
    "blank": ("\n \n", "is empty"),
    "binary": ("12\0\0\1", "binary data"),
}


@pytest.mark.parametrize(("text", "message"), BAD_NTU.values(), ids=BAD_NTU)
def test_bad_ntu(tmp_path, text, message):
    path = tmp_path / "bad.skeleton"
    path.write_text(text)
    with pytest.raises(ReadError, match=message):
        load(path)


def test_nan_is_not_tracked(tmp_path):
    path = tmp_path / "nan.skeleton"
    path.write_text(edit(GOOD, 6, "nan nan nan 1 1 1 1 0 0 0 0 0"))
    tracked = load(path).tracked
    assert not tracked[0, 0, 2] and tracked.sum() == 3 * 25 - 1


def test_missing_and_folder(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        load(tmp_path / "absent.skeleton")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.skeleton")
    (tmp_path / "folder.skeleton").mkdir()
    with pytest.raises(ReadError, match="is a folder"):
        load(tmp_path / "folder.skeleton")


def test_names():
    assert parse_name("S032C003P106R001A120.skeleton") == {
        "setup": 32, "camera": 3, "subject": 106, "replication": 1, "label": 119,
    }  # fmt: skip
    assert parse_name("walk") == {}


@pytest.mark.parametrize("name", PKU)
def test_pku_rows_equal_the_published_instances(name):
    path = GOLDEN / "pku" / f"{name}.txt.gz"
    rows = pku.read_rows(path)
    assert (rows.dtype, rows.shape) == (np.float32, (PKU[name]["frames"], 150))
    for instance in PKU[name]["instances"]:
        start, end = instance["rows"]
        assert sha256(rows[start:end]) == instance["sha256"]
    skeleton = load(path)
    assert skeleton.num_people == (2 if rows[:, 75:].any() else 1)
    wide = np.nan_to_num(skeleton.positions).transpose(1, 0, 2, 3).reshape(len(rows), -1)
    np.testing.assert_array_equal(wide, rows[:, : wide.shape[1]])
    np.testing.assert_array_equal(skeleton.tracked[0].any(-1), rows[:, :75].any(-1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 " * 150 + "\n", "no tracked person"),
        ("1 " * 150 + "\n" + "1 " * 149 + "\n", "number of columns changed from 150 to 149"),
        ("1 " * 149 + "x\n", "could not convert string 'x'"),
        ("1 " * 149 + "inf\n", "found inf"),
    ],
)
def test_bad_pku(tmp_path, text, message):
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(ReadError, match=message):
        load(path, format="pku")
