"""Repetitions that are counted, performances that are compared, and the examples that do so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluate_helpers import make_weights, tiny

from mamp import MAMPClassifier, MAMPEncoder, Skeleton, load
from mamp.compare import Comparison, align, compare
from mamp.config import Preprocessing
from mamp.errors import MissingExtraError, RecordingError
from mamp.geometry import rotation_matrix
from mamp.layouts import get_layout
from mamp.posture import body_centred, one_person
from mamp.repetitions import count_repetitions, repetitions_of
from mamp.synthetic import Style, synthesize, write_recordings

ROOT = Path(__file__).resolve().parents[1]
NTU = get_layout("ntu25").joints


@pytest.fixture(scope="module")
def encoder() -> MAMPEncoder:
    return MAMPEncoder.from_pretrained()


def recording(folder: Path, action: str, seconds: float, style: Style | None = None) -> Skeleton:
    (folder / f"{action}.bvh").write_text(synthesize(action, style, seconds=seconds))
    return load(folder / f"{action}.bvh", unit="cm")


# Repetitions


def wave(lengths: list[int], noise: float = 0.0, pause: int = 60, seed: int = 0) -> np.ndarray:
    """Features [T, 8] of a movement that is repeated at different speeds, between two pauses."""
    pieces = [np.zeros((pause, 3))]
    for length in lengths:
        t = np.arange(length) / length
        pieces.append(
            np.stack([1 - np.cos(2 * np.pi * t), 0.5 * np.sin(2 * np.pi * t), np.sin(np.pi * t) ** 4], axis=1)
        )
    x = np.concatenate([*pieces, np.zeros((pause, 3))])
    return np.pad(x, [(0, 0), (0, 5)]) + np.random.default_rng(seed).normal(size=(len(x), 8)) * noise


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("count", [2, 3, 5, 10, 20])
def test_repetitions_of_changing_speed(count: int, noise: float) -> None:
    lengths = np.random.default_rng(count).integers(40, 70, size=count).tolist()
    found = repetitions_of(wave(lengths, noise), fps=30)
    assert found.count == count == len(found.starts) == len(found.ends)
    true = 2 + np.cumsum([0, *lengths]) / 30
    assert np.abs(np.array(found.starts) - true[:-1]).mean() < 0.5 and found.starts == sorted(found.starts)
    assert all(end <= start + 1e-9 for end, start in zip(found.ends, found.starts[1:], strict=False))
    assert found.period == pytest.approx(np.median(lengths) / 30, abs=0.4)


def test_two_series_with_a_pause() -> None:
    x = np.concatenate([wave([50] * 4), wave([30] * 5)])
    found = repetitions_of(x, fps=30)
    assert found.count == 9
    assert found.starts[4] - found.ends[3] > 2


def test_what_repeats_nothing() -> None:
    rng = np.random.default_rng(0)
    assert repetitions_of(np.zeros((300, 4)), fps=30).count == 0
    assert repetitions_of(rng.normal(size=(400, 4)).cumsum(axis=0), fps=30).count == 0
    one = repetitions_of(wave([60]), fps=30)
    assert (one.count, one.starts, one.ends, one.period) == (0, [], [], None)
    assert repetitions_of(np.zeros((1, 4)), fps=30).count == 0


def test_gaps_and_rates() -> None:
    x = wave([45] * 6)
    gaps = x.copy()
    gaps[70:75] = gaps[:3] = np.nan
    assert repetitions_of(gaps, fps=30).count == 6
    slow = repetitions_of(x[::3], fps=10)
    assert slow.count == 6 and slow.period == pytest.approx(1.5, abs=0.3)
    with pytest.raises(RecordingError, match="at least one frame"):
        repetitions_of(x * np.nan, fps=30)


def test_squats_are_counted(encoder: MAMPEncoder, tmp_path: Path) -> None:
    squats = recording(tmp_path, "squat", 20)  # 0.45 a second
    found = count_repetitions(squats, encoder)
    assert abs(found.count - 9) <= 1 and found.period == pytest.approx(1 / 0.45, abs=0.3)
    two = Skeleton(np.concatenate([squats.positions, squats.positions]), squats.layout, 30, name="two")
    assert count_repetitions(two, encoder, person=1) == found
    with pytest.raises(RecordingError, match="two: expected one person, or which of them, found 0, 1"):
        count_repetitions(two, encoder)
    with pytest.raises(RecordingError, match="two: expected person 7, found 0, 1"):
        count_repetitions(two, encoder, person=7)
    with pytest.raises(RecordingError, match="the frame rate of the recording is unknown"):
        count_repetitions(squats.replace(fps=None), encoder)
    with pytest.raises(RecordingError, match="0 < shortest < longest"):
        count_repetitions(squats, encoder, shortest=3, longest=2)


# Poses and comparison


def body(frames: int = 40, seed: int = 0) -> np.ndarray:
    """Positions [1, T, 25, 3] of a walk that somebody made up."""
    rng = np.random.default_rng(seed)
    rest = rng.normal(scale=0.4, size=(25, 3))
    moves = np.sin(np.linspace(0, 2 * np.pi, frames))[:, None, None] * rng.normal(scale=0.1, size=(25, 3))
    return (rest + moves)[None].astype(np.float32)


def test_poses_do_not_tell_place_facing_and_size() -> None:
    positions = body()
    plain = body_centred(Skeleton(positions, "ntu25", 30))
    assert plain.shape == (40, 25, 3) and not plain[:, NTU.index("spine_base")].any()
    turned = positions @ rotation_matrix(np.array([[0, 1.1, 0]], np.float32))[0].T * 1.3 + np.float32([1, 2, 3])
    np.testing.assert_allclose(body_centred(Skeleton(turned, "ntu25", 30)), plain, atol=1e-4)
    gaps = positions.copy()
    gaps[0, 5:9] = gaps[0, 20, 3] = np.nan
    found = body_centred(Skeleton(gaps, "ntu25", 30))
    assert np.isnan(found[5:9]).all() and np.isnan(found[20, 3]).all() and np.isfinite(found[20, 4]).all()


def test_one_of_several_people() -> None:
    pair = Skeleton(np.concatenate([body(), body(seed=1)]), "ntu25", 30, np.ones((2, 40, 25)), name="pair")
    np.testing.assert_array_equal(one_person(pair, 1).positions, pair.positions[[1]])
    assert one_person(one_person(pair, 1), None).confidence is not None
    with pytest.raises(RecordingError, match=r"expected a mamp.Skeleton, found str"):
        one_person("walk.bvh", None)  # type: ignore[arg-type]


def test_a_recording_is_like_itself_at_another_speed(encoder: MAMPEncoder, tmp_path: Path) -> None:
    squat = recording(tmp_path, "squat", 4.4)
    same = compare(squat, squat, encoder)
    assert same.distance < 1e-6 and np.nanmax(same.differences) < 1e-6
    np.testing.assert_array_equal(same.path[:, 0], same.path[:, 1])
    slow = squat.replace(positions=np.repeat(squat.positions, 2, axis=1))
    turned = slow.replace(positions=slow.positions + np.float32([3, 0, 1]))
    found = compare(turned, squat, encoder)
    assert found.path[0].tolist() == [0, 0] and found.path[-1].tolist() == [slow.num_frames - 1, squat.num_frames - 1]
    assert (np.diff(found.path, axis=0) >= 0).all() and found.differences.shape == (slow.num_frames, 25)
    assert np.nanmean(found.differences) < 0.03
    other = compare(recording(tmp_path, "bow", 4.4), squat, encoder)
    assert other.distance > 3 * found.distance and np.nanmean(other.differences) > 0.1


def test_the_joint_that_differs_is_named(encoder: MAMPEncoder, tmp_path: Path) -> None:
    template = recording(tmp_path, "squat", 4.4).to_layout("ntu25")
    wrong = template.positions.copy()
    wrong[0, 40:80, NTU.index("hand_left")] += np.float32([0, 0.5, 0])
    found = compare(template.replace(positions=wrong), template, encoder)
    first, *_ = found.worst(3)
    assert len(found.worst(3)) == 3 and first.joint == "hand_left"
    assert 40 <= first.frame < 80 and first.seconds == first.frame / 30 and first.largest == pytest.approx(0.5, rel=0.2)
    missing = template.positions.copy()
    missing[:, :, NTU.index("foot_left")] = np.nan
    found = compare(template.replace(positions=missing), template, encoder)
    assert np.isnan(found.differences[:, NTU.index("foot_left")]).all()
    assert "foot_left" not in [one.joint for one in found.worst(99)]


def test_differences_are_means_over_the_path() -> None:
    found = Comparison(np.zeros((0, 2), np.int64), 0.0, ("a", "b"), np.array([[1, 0], [3, 0.5]], np.float32), None)
    assert found.worst() == [("a", 2.0, 3.0, 1, None), ("b", 0.25, 0.5, 1, None)]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 4)).astype(np.float32)
    path, distance = align(x, np.repeat(x, 2, axis=0))
    assert sorted(set(map(tuple, path.tolist()))) == [(i, j) for i in range(20) for j in (2 * i, 2 * i + 1)]
    assert distance < 1e-6


def test_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = MAMPEncoder(tiny(preprocessing=Preprocessing(max_people=None, absent_person="none"))).eval()
    one = Skeleton(body(), "ntu25", 30, name="one")
    with pytest.raises(RecordingError, match="one: expected one performance of at most 5000 frames, found 5040"):
        compare(one.replace(positions=np.tile(one.positions, (1, 126, 1, 1))), one, encoder)
    monkeypatch.setitem(sys.modules, "dtaidistance", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mamp\[compare\]'"):
        compare(one, one, encoder)


# Examples


def run(*words: object) -> str:
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_examples_of_exercises(tmp_path: Path) -> None:
    recording(tmp_path, "squat", 12)
    assert re.match(
        r"[456] repetitions, about 2\.\d s each", run("examples/count_repetitions.py", tmp_path / "squat.bvh")
    )
    recording(tmp_path, "bow", 12)
    out = run("examples/compare_performances.py", tmp_path / "bow.bvh", tmp_path / "squat.bvh", "--joints", 2)
    assert re.match(r"distance \d\.\d+ .*\n(\w+: \d+ cm on average, \d+ cm at \d+\.\d s\n){2}$", out)


def test_example_of_fine_tuning(tmp_path: Path) -> None:
    files = write_recordings(tmp_path / "files", variations=3, seconds=2, actions=["walk", "bow"])
    rows = [f"{file},{file.name.partition('-')[0]}" for file in files]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    options = ["--epochs", 40, "--lr", "3e-3", "--weights", make_weights(tmp_path / "tiny")]
    out = run("examples/finetune.py", tmp_path / "labels.csv", tmp_path / "model", *options)
    losses = [float(value) for value in re.findall(r"loss (\S+)", out)]
    assert len(losses) == 40 and losses[-1] < losses[0] and "right about 6 of the 6" in out
    classifier = MAMPClassifier.from_pretrained(tmp_path / "model")
    assert classifier.classes == ("bow", "walk")
    assert classifier.predict([load(file, unit="cm") for file in files]).labels == ["walk"] * 3 + ["bow"] * 3
