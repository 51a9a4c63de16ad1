"""``python -m mamp.prepare packed``: several corpora in one store, and one labelled corpus with its split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mamp.cli import main as mamp_main
from mamp.data import ClipStore
from mamp.layouts import get_layout
from mamp.prepare.__main__ import main

LENGTHS = (40, 12, 50)


def write_corpus(path: Path, **columns: Any) -> np.ndarray:
    """Three clips of a Kinect v1 person; the second has a frame without anybody, the third jumps."""
    rng = np.random.default_rng(0)
    layout = get_layout("kinect20")
    offsets = np.cumsum((0, *LENGTHS))
    steps = rng.normal(0, 0.002, (offsets[-1], 20, 3)).cumsum(axis=0)
    positions = (steps + rng.normal(0, 0.3, (20, 3)) + [0, 0, 3]).astype(np.float32)
    positions[45] = 0
    positions[70:] += 5
    joints = np.array(layout.joints)
    np.savez(path, positions=positions, offsets=offsets, joints=joints, parents=layout.parents, fps=30.0, **columns)
    return positions


def test_labelled_corpus_keeps_its_clips_whole(tmp_path: Path) -> None:
    write_corpus(tmp_path / "nw-ucla.npz", label=np.array([3, 1, 2]), view=np.array([1, 3, 2]))
    options = ["--test", "view=3", "--max-speed", "none", "--min-frames", "1"]
    assert main(["packed", str(tmp_path / "nw-ucla.npz"), str(tmp_path / "store"), *options]) == 0
    store = ClipStore(tmp_path / "store")
    assert store.columns["label"].tolist() == [3, 1, 2]
    assert store.columns["view"].tolist() == [1, 3, 2]
    assert store.columns["split"].tolist() == ["train", "test", "train"]
    assert store.columns["frames"].tolist() == [40, 11, 50]  # the frame without anybody is left out
    assert len(store.info["classes"]) == 10 and store.info["source"] == "nw-ucla"


def test_info_verifies_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(tmp_path / "some.npz")
    assert main(["packed", str(tmp_path / "some.npz"), str(tmp_path / "store")]) == 0
    assert mamp_main(["info", str(tmp_path / "store"), "--verify"]) == 0
    assert "(verified)" in capsys.readouterr().out
    path = tmp_path / "store" / "positions.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert mamp_main(["info", str(tmp_path / "store")]) == 0
    assert mamp_main(["info", str(tmp_path / "store"), "--verify"]) == 1
    assert "meta.json states" in capsys.readouterr().err


def test_several_corpora_share_what_both_have(tmp_path: Path) -> None:
    write_corpus(tmp_path / "one.npz", label=np.array([3, 1, 2]), subject=np.array([1, 2, 3]))
    write_corpus(tmp_path / "two.npz", label=np.array([0, 0, 1]), subject=np.array([4, 5, 6]), view=np.arange(3))
    files = [str(tmp_path / f"{name}.npz") for name in ("one", "two")]
    assert main(["packed", *files, str(tmp_path / "store"), "--min-frames", "20"]) == 0
    store = ClipStore(tmp_path / "store")
    assert set(store.columns) == {"name", "first_row", "people", "frames", "fps", "corpus", "subject"}
    # Of each, the second clip is too short, and the jump cuts the third into 18 frames, which go, and 32.
    assert store.columns["subject"].tolist() == [1, 3, 4, 6]
    assert store.columns["frames"].tolist() == [40, 32, 40, 32]
    assert store.columns["corpus"].tolist() == ["one", "one", "two", "two"]


def test_split_by_a_column_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(tmp_path / "some.npz", subject=np.array([1, 2, 3]))
    arguments = ["packed", str(tmp_path / "some.npz"), str(tmp_path / "store")]
    assert main([*arguments, "--test", "view=3"]) == 1
    assert "expected one of the columns subject, found 'view'" in capsys.readouterr().err
    assert main([*arguments, "--test", "subject"]) == 2
    assert "expected COLUMN=VALUE,VALUE" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
