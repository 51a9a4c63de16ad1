"""NW-UCLA JSON and MSR-Action3D text."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mamp.errors import ReadError
from mamp.layouts import get_layout
from mamp.readers import load
from mamp.readers.msr import JOINTS

KINECT20 = get_layout("kinect20").joints


def clip(shared, corpus: str, name: str) -> tuple[np.ndarray, list[str]]:
    """Positions [T, V, 3] of a clip of a corpus, and its joint names."""
    data = np.load(shared / "data" / "corpora" / f"{corpus}.npz")
    index = data["clip"].tolist().index(name)
    start, end = data["offsets"][index : index + 2]
    return data["positions"][start:end], data["joints"].tolist()


@pytest.mark.parametrize(
    ("corpus", "file", "name"),
    [
        ("nw-ucla", "a01_s01_e03_v02.json", "a01_s01_e03_v02"),
        ("nw-ucla", "a06_s10_e01_v01.json", "a06_s10_e01_v01"),
        ("msr-action3d", "a01_s05_e02_skeleton3D.txt", "a01_s05_e02"),
        ("msr-action3d", "a11_s08_e03_skeleton3D.txt", "a11_s08_e03"),
    ],
)
def test_real_files_equal_the_corpora(shared, corpus, file, name):
    skeleton = load(shared / "data" / "raw" / corpus / file)
    wanted, joints = clip(shared, corpus, name)
    assert list(skeleton.layout.joints) == joints
    # The corpora are rounded to 0.1 mm.
    np.testing.assert_allclose(np.nan_to_num(skeleton.positions[0]), wanted, atol=5.1e-5)
    assert skeleton.layout.name == "kinect20" and skeleton.fps == (30 if corpus == "nw-ucla" else 15)
    head, foot = (skeleton.to_layout("ntu25").positions[0][:, j] for j in (3, 15))
    assert 1.0 < np.nanmedian(head[:, 1] - foot[:, 1]) < 2.0


def test_nwucla(tmp_path):
    frames = np.random.default_rng(0).normal(size=(4, 20, 3)).round(4)
    frames[2, 5] = 0
    path = tmp_path / "clip.json"
    path.write_text(json.dumps({"file_name": "a08_s02_e01_v03", "skeletons": frames.tolist()}))
    skeleton = load(path)
    assert not skeleton.tracked[0, 2, 5] and skeleton.tracked.sum() == 79
    np.testing.assert_array_equal(np.nan_to_num(skeleton.positions[0]), frames.astype(np.float32))
    said = {key: skeleton.info[key] for key in ("label", "action", "subject", "environment", "view")}
    assert said == {"label": 6, "action": 8, "subject": 2, "environment": 1, "view": 3}


def rows(frames: np.ndarray) -> str:
    return "\n".join(" ".join(f"{value:.6f}" for value in row) for row in frames.reshape(-1, 4)) + "\n"


def test_msr(tmp_path):
    frames = np.random.default_rng(0).normal(size=(3, 20, 4)).round(6)
    frames[..., 3] = 1
    frames[1, 4, :3] = 0
    frames[1, 4, 3] = 0
    path = tmp_path / "a11_s08_e03_skeleton3D.txt"
    path.write_text(rows(frames))
    skeleton = load(path)
    assert skeleton.layout.joints == JOINTS and skeleton.fps == 15
    assert not skeleton.tracked[0, 1, 4] and skeleton.confidence[0, 1, 4] == 0 and skeleton.confidence.sum() == 59
    assert (skeleton.info["label"], skeleton.info["subject"], skeleton.info["example"]) == (10, 8, 3)
    sdk = skeleton.to_layout("ntu25")
    head = sdk.layout.joints.index("head")
    np.testing.assert_array_equal(sdk.positions[0, :, head], frames[:, JOINTS.index("head"), :3].astype(np.float32))


BAD = {
    "no json": ("clip.json", "{", "not JSON, or cut"),
    "other json": ("clip.json", '{"poses": []}', "found nobody in an object with the keys poses"),
    "list": ("clip.json", "[1, 2]", "expected landmarks, found 1"),
    "deep": ("clip.json", "[" * 100_000, "nested too deeply"),
    "no frames": ("clip.json", '{"skeletons": []}', "expected skeletons"),
    "other joints": ("clip.json", json.dumps({"skeletons": np.ones((2, 25, 3)).tolist()}), r"found \[2, 25, 3\]"),
    "flat": ("clip.json", json.dumps({"skeletons": np.ones((2, 20, 2)).tolist()}), r"found \[2, 20, 2\]"),
    "ragged": ("clip.json", json.dumps({"skeletons": [[[1, 2, 3]] * 20, [[1, 2, 3]] * 19]}), "skeletons"),
    "text": ("clip.json", json.dumps({"skeletons": [[["a", 2, 3]] * 20]}), "something else than numbers"),
    "infinite": ("clip.json", json.dumps({"skeletons": [[[float("inf"), 2, 3]] * 20]}), "found inf"),
    "too long": ("clip.json", json.dumps({"skeletons": [[[10**400, 2, 3]] * 20]}), "too large"),
    "zeros": ("clip.json", json.dumps({"skeletons": np.zeros((2, 20, 3)).tolist()}), "no tracked person"),
    "nulls": ("clip.json", json.dumps({"skeletons": [[[None] * 3] * 20]}), "no tracked person"),
    "cut frame": ("clip.txt", rows(np.ones((2, 20, 4)))[: 30 * 36], "cut after 10"),
    "cut row": ("clip.txt", rows(np.ones((2, 20, 4)))[:-12], "number of columns changed from 4 to 3"),
    "word": ("clip.txt", "1 2 3 4\n1 2 x 4\n", "could not convert string 'x'"),
    "zero rows": ("clip.txt", rows(np.zeros((2, 20, 4))), "no tracked person"),
}


@pytest.mark.parametrize(("name", "text", "message"), BAD.values(), ids=BAD)
def test_bad(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ReadError, match=message):
        load(path)
