"""Weights adapted to labelled examples: what becomes of embeddings, in Python and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from train_helpers import make_store

from mamp import MAMPEncoder, Skeleton, load
from mamp.adapt import adapt, adapt_to_embeddings
from mamp.classes import class_scaling
from mamp.cli import main
from mamp.data import ClipStore
from mamp.errors import ConfigError, DataError, ReadError
from mamp.hub import fingerprint
from mamp.synthetic import write_recordings

ACTIONS = ["walk", "run", "bow", "kick"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(write_recordings(tmp_path_factory.mktemp("files"), variations=4, seconds=3, actions=ACTIONS))


@pytest.fixture(scope="module")
def encoder() -> MAMPEncoder:
    return MAMPEncoder.from_pretrained()


@pytest.fixture(scope="module")
def adapted(encoder: MAMPEncoder, files: list[Path]) -> MAMPEncoder:
    """Adapted to the first two takes of each action."""
    known = [path for path in files if path.stem[-1] in "01"]
    return adapt(encoder, known, [action_of(path) for path in known])


def action_of(path: Path) -> str:
    return path.stem.rpartition("-")[0]


def within(x: np.ndarray, labels: list[str]) -> float:
    """Share of the spread of embeddings that is within classes."""
    y = np.array(labels)
    around = np.concatenate([x[y == name] - x[y == name].mean(axis=0) for name in set(labels)])
    return float(np.square(around).sum() / np.square(x - x.mean(axis=0)).sum())


def test_takes_that_were_not_seen_come_nearer(encoder: MAMPEncoder, adapted: MAMPEncoder, files: list[Path]) -> None:
    others = [path for path in files if path.stem[-1] in "23"]
    takes, labels = [load(path) for path in others], [action_of(path) for path in others]
    before, after = (one.encode(takes) for one in (encoder, adapted))
    assert within(np.asarray(after), labels) < 0.9 * within(np.asarray(before), labels)


def test_only_the_readout_changes(
    encoder: MAMPEncoder, adapted: MAMPEncoder, files: list[Path], tmp_path: Path
) -> None:
    known = [path for path in files if path.stem[-1] in "01"]
    x = np.asarray(encoder.encode([load(path) for path in known]), np.float64)
    scaling = class_scaling(x, [action_of(path) for path in known], 1.0)
    assert scaling is not None
    np.testing.assert_allclose(scaling, scaling.T, atol=1e-12)
    scaling *= 16 / np.linalg.norm(scaling)  # keeps the size of embeddings whose 256 numbers are white
    take = load(files[-1])
    for pool in ("clip", "person", "frame"):
        expected = np.asarray(encoder.encode(take, pool=pool)) @ scaling
        np.testing.assert_allclose(adapted.encode(take, pool=pool), expected, atol=2e-4, err_msg=pool)
    np.testing.assert_array_equal(adapted.encode(take, pool="tokens"), encoder.encode(take, pool="tokens"))
    assert adapted.config == encoder.config and not adapted.training
    assert fingerprint(adapted) != fingerprint(encoder) == fingerprint(MAMPEncoder.from_pretrained())
    adapted.save_pretrained(tmp_path)
    np.testing.assert_array_equal(MAMPEncoder.from_pretrained(tmp_path).encode(take), adapted.encode(take))


def test_a_readout_that_takes_no_pose(files: list[Path]) -> None:
    old = MAMPEncoder.from_pretrained("openmocap@v5")
    takes, labels = [load(path) for path in files], [action_of(path) for path in files]
    new = adapt(old, takes, labels)
    assert set(new.state_dict()) == set(old.state_dict()) and new.pose is None
    before, after = (np.asarray(one.encode(takes)) for one in (old, new))
    assert within(after, labels) < within(before, labels)


def test_examples_of_one_class_do_not_blow_embeddings_up(encoder: MAMPEncoder, files: list[Path]) -> None:
    takes = [load(path) for path in files]
    before = np.linalg.norm(encoder.encode(takes), axis=1).mean()
    after = np.linalg.norm(adapt(encoder, takes[:2], ["bow", "bow"]).encode(takes), axis=1).mean()
    assert 0.5 * before < after < 2 * before


def test_each_person_is_an_example(encoder: MAMPEncoder, files: list[Path]) -> None:
    one, two, three = (load(path) for path in files[:3])
    both = Skeleton(np.concatenate([one.positions, two.positions]), one.layout, one.fps)
    together = adapt(encoder, [both, three], ["bow", "bow"])
    alone = adapt(encoder, [one, two, three], ["bow"] * 3)
    for name, value in together.state_dict().items():
        torch.testing.assert_close(value, alone.state_dict()[name], rtol=1e-4, atol=1e-4)


def test_scaling() -> None:
    """Without shrinkage, differences within classes become white; with much of it, nothing changes."""
    rng, y = np.random.default_rng(0), np.arange(400) % 10
    x = rng.normal(size=(10, 8))[y] + rng.normal(size=(400, 8)) * np.geomspace(0.1, 3, 8) @ rng.normal(size=(8, 8))
    white, same = class_scaling(x, y, 1e-9), class_scaling(x, y, 1e9)
    assert white is not None and same is not None
    around = np.concatenate([x[y == k] - x[y == k].mean(axis=0) for k in range(10)]) @ white
    covariance = around.T @ around
    np.testing.assert_allclose(covariance / covariance[0, 0], np.eye(8), atol=1e-6)
    np.testing.assert_allclose(same * np.sqrt(1e9), np.eye(8), atol=1e-6)
    alone = np.concatenate([x, np.full((1, 8), 9.0)])
    with_one = class_scaling(alone, [*map(str, y), "alone"], 1.0)
    without = class_scaling(x, y, 1.0)
    assert with_one is not None and without is not None
    np.testing.assert_allclose(with_one, without, atol=1e-9)
    assert class_scaling(x[:10], y[:10], 1.0) is None and class_scaling(x[:0], [], 1.0) is None


def test_refused(encoder: MAMPEncoder, files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="weights with a readout, as openmocap has; these have none"):
        adapt(encoder.without_readout(), files, ["a"] * len(files))
    for label in ("", " ", None):
        with pytest.raises(DataError, match="expected the name of a class for each example, found"):
            adapt(encoder, files[:2], ["a", label])  # type: ignore[list-item]
    for shrinkage in (0.0, 1e-320, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="shrinkage: expected a number above zero"):
            adapt(encoder, files[:2], ["a", "a"], shrinkage=shrinkage)
    with pytest.raises(DataError, match="as many labels as recordings, found 1 and 2"):
        adapt(encoder, files[:2], ["a"])
    with pytest.raises(DataError, match="two different examples of a class, found 2 examples and 2 names"):
        adapt(encoder, files[:2], ["a", "b"])
    with pytest.raises(DataError, match="two different examples of a class, found 0 examples"):
        adapt(encoder, [], [])
    (tmp_path / "broken.bvh").write_text("HIERARCHY")
    with pytest.raises(ReadError, match=r"broken\.bvh"):
        adapt(encoder, [files[0], tmp_path / "broken.bvh"], ["a", "a"])
    for x in (np.ones((2, 9)), np.full((2, 256), np.nan), np.ones((3, 256))):
        with pytest.raises(DataError, match=r"finite embeddings \[n, 256\] of these weights and n labels"):
            adapt_to_embeddings(encoder, x, ["a", "a"])


def test_command_with_examples(
    adapted: MAMPEncoder, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [path for path in files if path.stem[-1] in "01"]
    rows = [f"{path},{action_of(path)}" for path in known]
    (tmp_path / "examples.csv").write_text("\n".join(["file,label", *rows]))
    command = ["adapt", str(tmp_path / "mine"), "--examples", str(tmp_path / "examples.csv")]
    assert main([*command, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["examples"] == dict.fromkeys(sorted(ACTIONS), 2) and facts["failed"] == []
    assert facts["fingerprint"] == fingerprint(MAMPEncoder.from_pretrained(tmp_path / "mine"))
    saved, take = MAMPEncoder.from_pretrained(tmp_path / "mine"), load(files[-1])
    np.testing.assert_allclose(saved.encode(take), adapted.encode(take), atol=1e-4)

    (tmp_path / "examples.csv").write_text("\n".join(["file,label", *rows, "none.bvh,walk"]))
    assert main([*command[:1], str(tmp_path / "again"), *command[2:]]) == 1
    found = capsys.readouterr()
    assert "mamp adapt: no such file: none.bvh" in found.err and "adapted to 8 examples of 4 classes" in found.out
    assert fingerprint(MAMPEncoder.from_pretrained(tmp_path / "again")) == facts["fingerprint"]
    (tmp_path / "file").touch()
    assert main(["adapt", str(tmp_path / "file"), *command[2:]]) == 1
    assert "expected a folder to write, found a file" in capsys.readouterr().err
    other = ["adapt", str(tmp_path / "other"), *command[2:]]
    assert main([*other, "--shrinkage", "0"]) == 1
    assert "shrinkage: expected a number above zero" in capsys.readouterr().err
    assert main([*other, "--split", "test"]) == 1
    assert "--by and --split are of a store (--data)" in capsys.readouterr().err
    assert not (tmp_path / "other").exists(), "nothing is left of what failed"


def test_nothing_that_is_there_is_lost(
    encoder: MAMPEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder.save_pretrained(tmp_path / "mine")
    command = ["--examples", str(tmp_path / "none.csv"), "--weights"]
    assert main(["adapt", str(tmp_path / "mine"), *command, str(tmp_path / "mine")]) == 1
    assert "holds the weights to start from, which would be replaced" in capsys.readouterr().err
    (tmp_path / "mine" / "head.json").write_text("{}")
    assert main(["adapt", str(tmp_path / "mine"), *command, "openmocap"]) == 1
    assert "holds a classifier, whose encoder would be replaced" in capsys.readouterr().err
    assert main(["readout", str(tmp_path / "mine"), "--data", str(tmp_path)]) == 1
    assert "holds a classifier, whose encoder would be replaced" in capsys.readouterr().err


def test_command_with_a_store(encoder: MAMPEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {
        "action": ["swing", "sway", ""] * 4,
        "split": ["train"] * 9 + ["test"] * 3,
        "label": [3, 0, -1] * 4,
        "score": [0.5, 1.5, 2.5] * 4,
    }
    path = make_store(tmp_path / "store", clips=12, **columns)
    command = ["adapt", str(tmp_path / "mine"), "--data", str(path), "--by", "action"]
    assert main([*command, "--split", "train", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == {"sway": 3, "swing": 3}
    data = ClipStore(path)
    clips = [clip for clip in range(9) if columns["action"][clip]]
    expected = adapt(encoder, [data.recording(clip) for clip in clips], [columns["action"][clip] for clip in clips])
    assert fingerprint(MAMPEncoder.from_pretrained(tmp_path / "mine")) == fingerprint(expected)
    for options, message in (
        (["--by", "verb"], "expected labels in the column 'verb'; it has name, "),
        (["--by", "score"], "scores: expected whole numbers or names, found float64"),
        (["--split", "validation"], "validation"),
    ):
        assert main([*command, *options]) == 1
        assert message in capsys.readouterr().err
    assert main([*command[:4], "--split", "train", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == {"0": 3, "3": 3}
    assert fingerprint(MAMPEncoder.from_pretrained(tmp_path / "mine")) == fingerprint(expected)
    empty = make_store(tmp_path / "empty", clips=2, action=["", ""])
    assert main(["adapt", str(tmp_path / "mine"), "--data", str(empty), "--by", "action"]) == 1
    assert "no clip has a value in the column 'action'" in capsys.readouterr().err
