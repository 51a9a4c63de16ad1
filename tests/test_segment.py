"""Untrimmed recordings: strung together, prepared, learnt from, found again; and changes without labels."""

from __future__ import annotations

import csv
import itertools
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluate_helpers import make_weights

from mamp import MAMPEncoder, Skeleton, load
from mamp.cli.main import main
from mamp.data import ClipStore, StoreWriter
from mamp.data.intervals import read_intervals, write_intervals
from mamp.errors import ConfigError, DataError, MissingExtraError, RecordingError, WeightsError
from mamp.evaluate.runner import evaluate
from mamp.evaluate.untrimmed import open_untrimmed
from mamp.frames import frame_embeddings
from mamp.layouts import get_layout
from mamp.prepare.__main__ import main as prepare
from mamp.segment import HeadConfig, Segment, Segmenter, Segments, segment
from mamp.segment.changes import find_changes, find_movements, letters
from mamp.segment.features import features, hold, step_edges, step_labels, step_means
from mamp.segment.head import TemporalHead, cheapest_path, train_head
from mamp.segment.segments import label_frames, to_csv
from mamp.synthetic import string_together, write_recordings
from mamp.view import page

FAST = HeadConfig(window=1, stride=0.5, layers=2, width=16, epochs=60, dropout=0.0, learning_rate=1e-2)
OPTIONS = {"layers": "2", "width": "16", "epochs": "20", "dropout": "0", "learning_rate": "0.01"}
needs_ruptures = pytest.mark.skipif(find_spec("ruptures") is None, reason="needs ruptures: make setup-all")
CLASSES = ["left", "right", "legs"]
JOINTS = get_layout("ntu25").joints
MOVING = {1: "wrist_left", 2: "wrist_right", 3: "knee_left"}


def untrimmed(order: list[int], seed: int, length: int = 40) -> tuple[np.ndarray, list[list[int]]]:
    """Somebody who swings one joint after the other, by the numbers in ``order``; 0 is standing still."""
    rng = np.random.default_rng(seed)
    rest = np.random.default_rng(7).normal(0, 0.4, (25, 3))
    positions = np.repeat(rest[None], length * len(order), axis=0) + rng.normal(0, 0.01, (length * len(order), 25, 3))
    rows = []
    for place, label in enumerate(order):
        if label:
            where = slice(place * length, (place + 1) * length)
            positions[where, JOINTS.index(MOVING[label])] += 1 + 0.3 * np.sin(np.arange(length) / 3.0)[:, None]
            rows.append([label, where.start, where.stop, 0])
    return positions[None].astype(np.float32), rows


def make_store(path: Path, orders: int = 9, **more: object) -> Path:
    rng = np.random.default_rng(0)
    with StoreWriter(path, get_layout("ntu25"), {"source": "swings", "classes": CLASSES, **more}) as writer:
        for number in range(orders):
            positions, rows = untrimmed([*rng.permutation(4).tolist(), *rng.permutation(4).tolist()], number)
            split = "test" if number % 3 == 2 else "train"
            writer.add(f"take-{number}", positions, 20.0, split=split, intervals=write_intervals(rows))
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_weights(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def encoder(weights: Path) -> MAMPEncoder:
    return MAMPEncoder.from_pretrained(weights)


# Recordings


def test_takes_are_strung_together() -> None:
    rest = np.random.default_rng(0).normal(size=(1, 5, 3))
    takes = [rest + np.array([x, 0, 3 * x])[None, None] + np.zeros((n, 1, 1)) for x, n in ((0, 30), (5, 24), (-2, 40))]
    whole, spans = string_together(takes, 6)
    assert len(whole) == 30 + 24 + 40 - 2 * 6 and spans == [(0, 27), (27, 45), (45, 82)]
    np.testing.assert_allclose(
        whole, np.broadcast_to(rest, whole.shape), atol=1e-5
    )  # each moved to where the first was
    moving = [take + np.linspace(0, 1, len(take))[:, None, None] for take in takes]
    whole, _ = string_together(moving, 6)
    assert np.abs(np.diff(whole, axis=0))[..., [0, 2]].max() < 0.25  # metres between two frames, on the ground
    np.testing.assert_array_equal(whole[:24], moving[0][:24].astype(np.float32))
    short, spans = string_together([takes[0], takes[1][:3]], 6)
    assert len(short) == 32 and spans == [(0, 29), (29, 32)]  # an overlap is a third of a take at most
    takes[1][:] = np.nan
    with pytest.raises(RecordingError, match="each with tracked ones"):
        string_together(takes, 6)
    with pytest.raises(RecordingError, match="expected takes"):
        string_together([], 6)


def test_a_joint_that_is_lost_is_bridged_from_the_other_take() -> None:
    first, second = np.zeros((12, 3, 3)), np.ones((12, 3, 3))
    first[:, 1], second[:, 2] = np.nan, np.nan
    whole, _ = string_together([first, second], 4)
    assert np.isfinite(whole[8:12]).all() and np.isnan(whole[:8, 1]).all() and np.isnan(whole[12:, 2]).all()


def test_steps_of_a_recording() -> None:
    assert step_edges(6, 20).tolist() == [0, 2, 4, 6]
    assert step_edges(3, 5).tolist() == [0, 1, 2, 3] and step_edges(1, 1000).tolist() == [0, 1]
    edges = step_edges(100, 15)
    assert len(edges) == 68 and edges[0] == 0 and edges[-1] == 100 and set(np.diff(edges)) == {1, 2}
    x = np.arange(6, dtype=np.float32)[:, None]
    assert step_means(x, step_edges(6, 20))[:, 0].tolist() == [0.5, 2.5, 4.5]
    assert step_labels(np.array([0, 0, 1, 1, 2, 2]), step_edges(6, 20)).tolist() == [0, 1, 2]
    x[[0, 3]] = np.nan
    assert hold(x)[:, 0].tolist() == [1, 1, 2, 2, 4, 5]


def test_frame_embeddings_are_means_over_windows(encoder: MAMPEncoder) -> None:
    recording = Skeleton(untrimmed([1, 2], 0)[0], "ntu25", 20)
    whole = encoder.encode(recording, pool="frame")
    np.testing.assert_allclose(frame_embeddings(recording, encoder, 200, 200), whole, atol=1e-6)
    size, stride = 40, 20
    found = frame_embeddings(recording, encoder, size, stride)
    parts = [
        encoder.encode(recording.replace(positions=recording.positions[:, a : a + size]), pool="frame") for a in (0, 20)
    ]
    np.testing.assert_allclose(found[:20], parts[0][:20], atol=1e-5)
    weight = np.arange(20)[:, None]
    np.testing.assert_allclose(
        found[20:40], (parts[0][20:] * (20 - weight) + parts[1][:20] * (1 + weight)) / 21, atol=1e-5
    )
    gap = recording.positions.copy()
    gap[:, :30] = np.nan
    assert np.isnan(frame_embeddings(recording.replace(positions=gap), encoder, 10, 10)[:30]).all()
    x, edges = features(recording.replace(positions=gap), encoder, 0.5, 0.5)
    assert np.isfinite(x).all() and len(x) == len(edges) - 1 == 40


def test_segments_are_a_sequence() -> None:
    found = Segments.of([Segment(2, 3, "b", 0.5), Segment(0, 1.5, "a", 0.9)])
    assert found.start == [0, 2] and found.label == ["a", "b"] and len(found) == 2
    assert found[1] == Segment(2, 3, "b", 0.5) and [one.label for one in found] == ["a", "b"]
    assert found[:1] == Segments([0], [1.5], ["a"], [0.9])
    assert Segments([0], [1], ["a"])[0].score is None
    assert to_csv([("x.bvh", found)]) == "file,start,end,label,score\nx.bvh,0,1.5,a,0.9\nx.bvh,2,3,b,0.5\n"
    assert label_frames(found, ["b", "a"], 7, 2).tolist() == [2, 2, 2, 0, 1, 1, 0]
    with pytest.raises(RecordingError, match="classes b; found 'a'"):
        label_frames(found, ["b"], 7, 2)
    with pytest.raises(RecordingError, match="as many ends"):
        Segments([0, 1], [1], ["a"])
    with pytest.raises(RecordingError, match="start before they end, found 1 to 1 s"):
        Segments([1], [1], ["a"])


# The head


def test_the_cheapest_path_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for change in (0.0, 0.7, 2.0):
        logs = rng.normal(size=(6, 3))
        paths = list(itertools.product(range(3), repeat=6))
        worth = [logs[range(6), path].sum() - change * np.count_nonzero(np.diff(path)) for path in paths]
        assert cheapest_path(logs, change).tolist() == list(paths[int(np.argmax(worth))])
    assert (cheapest_path(logs, 0.0) == logs.argmax(axis=1)).all()
    assert len(set(cheapest_path(logs, 100.0).tolist())) == 1


@pytest.mark.parametrize("layers", [0, 3])
def test_a_head_learns_and_is_the_same_again(layers: int) -> None:
    rng = np.random.default_rng(0)
    labels = [np.repeat(rng.permutation(4), 12) for _ in range(4)]
    steps = [(np.eye(6)[y] + rng.normal(0, 0.2, (len(y), 6))).astype(np.float32) for y in labels]
    config = HeadConfig(layers=layers, width=8, epochs=40, learning_rate=2e-2, dropout=0.1, batch_size=2)
    head = train_head(steps, labels, 3, config, seed=1)
    with torch.inference_mode():
        found = head(torch.from_numpy(steps[0])[None])
        padded = torch.zeros(1, 70, 6)
        padded[0, :48] = torch.from_numpy(steps[0])
        again = head(padded, torch.arange(70)[None] < 48)
    assert (found[0].argmax(dim=-1).numpy() == labels[0]).mean() > 0.95
    np.testing.assert_allclose(again[:, :48].numpy(), found.numpy(), atol=1e-5)  # what is not there is not seen
    same = train_head(steps, labels, 3, config, seed=1).state_dict()
    assert all(torch.equal(value, same[name]) for name, value in head.state_dict().items())
    other = train_head(steps, labels, 3, config, seed=2).state_dict()
    assert not torch.equal(other["classes.weight"], same["classes.weight"])


def test_a_gradient_reaches_every_parameter() -> None:
    head = TemporalHead(6, 3, HeadConfig(layers=2, width=8))
    head(torch.randn(2, 9, 6)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in head.parameters())


def test_settings_that_make_no_sense() -> None:
    for name, value in (("window", 0), ("epochs", 0), ("layers", -1), ("dropout", 1.0), ("change", float("inf"))):
        with pytest.raises(ConfigError, match=f"{name}: expected"):
            HeadConfig(**{name: value})
    with pytest.raises(DataError, match="recordings to learn from"):
        train_head([], [], 2, HeadConfig())


# Segmenters


def recordings(count: int, first: int = 0) -> tuple[list[Skeleton], list[Segments]]:
    orders = [[1, 0, 2, 3], [3, 1, 0, 2], [0, 2, 1, 3], [2, 3, 1, 0]]
    made = [untrimmed(orders[number % 4], number) for number in range(first, first + count)]
    return [Skeleton(positions, "ntu25", 20, name=f"take {n}") for n, (positions, _) in enumerate(made)], [
        Segments([a / 20 for _, a, _, _ in rows], [b / 20 for _, _, b, _ in rows], [CLASSES[k - 1] for k, *_ in rows])
        for _, rows in made
    ]


@pytest.fixture(scope="module")
def segmenter(encoder: MAMPEncoder) -> Segmenter:
    return Segmenter(encoder, FAST).fit(*recordings(4))


def test_a_segmenter_finds_what_it_learnt(segmenter: Segmenter) -> None:
    (recording,), (known,) = recordings(1, first=5)
    found = segmenter.predict(recording)
    assert segmenter.classes_ == sorted(CLASSES) and found.label == known.label
    np.testing.assert_allclose(found.start, known.start, atol=0.5)
    np.testing.assert_allclose(found.end, known.end, atol=0.5)
    assert all(0 < one.score <= 1 for one in found if one.score is not None)
    assert segment(recording, segmenter) == found
    assert '"label":"legs"' in page(recording, weights=None, segments=[found]).replace(" ", "")


def test_a_segmenter_is_kept(segmenter: Segmenter, weights: Path, tmp_path: Path) -> None:
    (recording,), _ = recordings(1, first=6)
    segmenter.save(tmp_path / "mine")
    with pytest.raises(WeightsError, match="fitted with an encoder that has no name"):
        Segmenter.load(tmp_path / "mine")
    loaded = Segmenter.load(tmp_path / "mine", weights)
    assert loaded.predict(recording) == segmenter.predict(recording) and loaded.config == FAST
    loaded.save(tmp_path / "mine")  # over the other one
    assert segment(recording, tmp_path / "mine") == segmenter.predict(recording)
    with pytest.raises(WeightsError, match=r"expected the weights it was fitted with .*tiny"):
        Segmenter.load(tmp_path / "mine", make_weights(tmp_path / "other", seed=1))
    with pytest.raises(WeightsError, match=r"no segment\.json"):
        Segmenter.load(tmp_path)
    record = json.loads((tmp_path / "mine" / "segment.json").read_text())
    for change in ({"classes": ["a"]}, {"config": {"layers": -1}}, {"config": {"window": "1"}}, {"format": 9}):
        (tmp_path / "mine" / "segment.json").write_text(json.dumps(record | change))
        with pytest.raises(WeightsError, match="newer" if "format" in change else "damaged"):
            Segmenter.load(tmp_path / "mine", weights)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(WeightsError, match="found something else there"):
        segmenter.save(tmp_path / "full")


def test_what_cannot_be_learnt(encoder: MAMPEncoder) -> None:
    some, known = recordings(2)
    with pytest.raises(WeightsError, match="call fit first"):
        Segmenter(encoder).predict(some[0])
    with pytest.raises(DataError, match="segments of each of 2 recordings, found 1"):
        Segmenter(encoder).fit(some, known[:1])
    with pytest.raises(DataError, match="names of their classes"):
        Segmenter(encoder).fit(some, [known[0][:0], known[0][:0]])
    with pytest.raises(RecordingError, match="frame rate of the recording is unknown"):
        Segmenter(encoder).fit([some[0].replace(fps=None)], known[:1])
    nobody = some[0].replace(positions=np.full_like(some[0].positions, np.nan))
    with pytest.raises(RecordingError, match="at least one tracked joint"):
        segment(nobody, None, encoder)


# The protocol


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_evaluation(store: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    found = evaluate("segment", str(weights), store, results / "tiny", [0, 1], overrides=OPTIONS)
    metrics = {name: value["mean"] for name, value in found["metrics"].items()}
    assert metrics["map@0.5"] > 60 and metrics["accuracy"] > 70 and metrics["f1@50"] > 60
    assert metrics["majority"] == pytest.approx(25) and found["headline"]["interval_over"].startswith("test recordings")
    low, high = found["headline"]["interval"]
    assert low <= metrics["map@0.5"] <= high
    names = {"segments.csv", "head", "trial.npz"}
    assert {path.name for path in (results / "tiny" / "seed=0").iterdir()} == names
    rows = rows_of(results / "tiny" / "seed=1" / "segments.csv")
    assert {row["file"] for row in rows} == {"take-2", "take-5", "take-8"}
    assert {row["label"] for row in rows} <= set(CLASSES)
    # Resumed: a trial that is done is not done again, and gives the same results.
    (results / "tiny" / "results.json").unlink()
    (results / "tiny" / "seed=1" / "trial.npz").unlink()
    again = evaluate("segment", str(weights), store, results / "tiny", [0, 1], overrides=OPTIONS)
    assert again["metrics"] == found["metrics"] and again["headline"] == found["headline"]
    poses = evaluate("segment", "poses", store, results / "poses", overrides=OPTIONS)
    assert poses["metrics"]["accuracy"]["mean"] > 90 and not (results / "poses" / "seed=0" / "head").exists()
    # The head that was kept finds the same in a file.
    data = ClipStore(store)
    np.savez(tmp_path / "take-2.npz", positions=data.read(2), layout="ntu25", fps=20.0)
    output = tmp_path / "found.csv"
    words = ["segment", str(tmp_path / "take-2.npz"), "--labels", str(results / "tiny"), "-o", str(output)]
    assert main([*words, "--view", str(tmp_path / "page.html"), "--device", "cpu"]) == 0
    assert "found.csv: " in capsys.readouterr().out and (tmp_path / "page.html").stat().st_size > 10_000
    mine = [row for row in rows_of(results / "tiny" / "seed=0" / "segments.csv") if row["file"] == "take-2"]
    assert [(row["start"], row["label"]) for row in rows_of(output)] == [(row["start"], row["label"]) for row in mine]


def test_what_cannot_be_evaluated(store: Path, weights: Path, tmp_path: Path) -> None:
    data = ClipStore(store)

    def write(path: Path, **changes: object) -> Path:
        with StoreWriter(path, data.layout, {"classes": CLASSES}) as writer:
            for clip in range(3):
                columns = {name: data.columns[name][clip].item() for name in ("split", "intervals")} | changes
                fps = columns.pop("fps", 20.0)
                known = {name: value for name, value in columns.items() if value is not None}
                writer.add(f"c{clip}", data.read(clip, 0, 30), fps, **known)
        return path

    for changes, message in (
        ({"intervals": None}, "expected a store with intervals, found no column 'intervals'"),
        ({"intervals": "[]"}, "expected training recordings with intervals"),
        ({"intervals": "[[1, 2]]"}, "expected rows of four whole numbers"),
        ({"fps": None}, "expected recordings with a frame rate"),
        ({"split": "train"}, "no clip of the split 'test'"),
    ):
        path = write(tmp_path / str(len(list(tmp_path.iterdir()))), **changes)
        with pytest.raises(DataError, match=message):
            open_untrimmed(path)
    with StoreWriter(tmp_path / "unseen", data.layout, {"classes": CLASSES}) as writer:
        for split, label in (("train", 1), ("test", 3)):
            writer.add(split, data.read(0), 20.0, split=split, intervals=write_intervals([label, 0, 999, 0]))
    with pytest.raises(DataError, match=r"needs training intervals; none for legs\."):
        open_untrimmed(tmp_path / "unseen")


def test_pku_stores_are_opened_by_their_folder(store: Path, tmp_path: Path) -> None:
    (tmp_path / "pku").mkdir()
    (tmp_path / "pku" / "untrimmed").symlink_to(store)
    found = open_untrimmed(tmp_path / "pku")
    assert found.classes == tuple(CLASSES) and len(found.test) == 3 and found.labels.tolist() == [-1] * 9
    assert found.frames(0).max() == 3 and len(found.frames(0)) == 320
    assert found.describe()["intervals"] != open_untrimmed(make_store(tmp_path / "s", orders=3)).describe()["intervals"]


# Preparing


def test_a_folder_with_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_recordings(tmp_path / "raw", variations=2, seconds=2, actions=["walk", "bow"])
    rows = ["file,start,end,label,split", "walk-0.bvh, 0.5, 1, step, train", "walk-0.bvh,1,9,turn,train"]
    rows += ["walk-1.bvh,0,1.5,turn,test", "bow-0.bvh,,,,train", "bow-1.bvh,0,2,step,test"]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(rows) + "\n")
    assert prepare(["folder", str(tmp_path / "raw"), str(tmp_path / "store"), "--labels", str(table)]) == 0
    store = ClipStore(tmp_path / "store")
    place = {name: number for number, name in enumerate(store.columns["name"].tolist())}
    assert store.info["classes"] == ["step", "turn"] and store.columns["split"][place["bow-1.bvh"]] == "test"
    frames = load(files[0]).num_frames
    assert read_intervals(store, place["walk-0.bvh"]).tolist() == [[1, 15, 30, 0], [2, 30, frames, 0]]
    assert read_intervals(store, place["bow-0.bvh"]).tolist() == []
    assert [len(open_untrimmed(store.path).intervals[place[name]]) for name in ("walk-0.bvh", "bow-0.bvh")] == [2, 0]
    capsys.readouterr()
    for line, message in (
        ("walk-0.bvh,2,1,step,train", "line 2: expected start and end in seconds"),
        ("walk-0.bvh,0,1,,train", "line 2: expected start and end in seconds"),
        ("walk-0.bvh,0,1,step,some", "split: expected train or test, found 'some'"),
        ("walk-0.bvh,0,1,step,train\nwalk-0.bvh,1,2,step,test", "in another split above"),
    ):
        table.write_text(f"{rows[0]}\n{line}\n")
        words = ["folder", str(tmp_path / "raw"), str(tmp_path / "other"), "--labels", str(table)]
        assert prepare(words) == 1 and message in capsys.readouterr().err
        assert not (tmp_path / "other").exists()
    table.write_text("file,start,end,label\nwalk-0.bvh,50,60,step\n")
    assert prepare(["folder", str(tmp_path / "raw"), str(tmp_path / "late"), "--labels", str(table)]) == 1


def test_frames_without_anybody_keep_their_time(tmp_path: Path) -> None:
    positions, _ = untrimmed([1, 2], 0)
    positions[:, :20] = np.nan
    (tmp_path / "raw").mkdir()
    np.savez(tmp_path / "raw" / "a.npz", positions=positions, layout="ntu25", fps=20.0)
    (tmp_path / "labels.csv").write_text("file,start,end,label\na.npz,2,4,right\n")
    words = ["folder", str(tmp_path / "raw"), str(tmp_path / "store"), "--labels", str(tmp_path / "labels.csv")]
    assert prepare(words) == 0
    store = ClipStore(tmp_path / "store")
    assert store.columns["frames"].tolist() == [80] and read_intervals(store, 0).tolist() == [[1, 40, 80, 0]]


# Changes


@needs_ruptures
def test_changes_and_what_recurs() -> None:
    rng = np.random.default_rng(0)
    order, length = [0, 1, 0, 2, 1], 30
    centres = rng.normal(size=(3, 12))
    steps = np.repeat(centres[order], length, axis=0) + rng.normal(0, 0.3, (length * len(order), 12))
    cuts = find_changes(steps.astype(np.float32))
    assert cuts.tolist() == [0, 30, 60, 90, 120, 150]
    found = find_movements(steps.astype(np.float32), np.arange(151) * 3, 30.0)
    assert found.label == ["A", "B", "A", "C", "B"] and found.start == [0, 3, 6, 9, 12] and found.end[-1] == 15
    assert found.score[3] == 0 and min(found.score[0], found.score[1]) > 0.8  # type: ignore[type-var]
    assert len(find_changes(steps.astype(np.float32), penalty=1000)) == 2
    still = np.ones((50, 4), np.float32)
    assert find_changes(still).tolist() == [0, 50] and find_movements(still, np.arange(51), 10.0).label == ["A"]
    with pytest.raises(ConfigError, match="penalty: expected a number above zero, found 0"):
        find_changes(still, 0)
    assert [letters(number) for number in (0, 25, 26, 27, 702)] == ["A", "Z", "AA", "AB", "AAA"]


@needs_ruptures
def test_the_command_without_labels(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", positions=untrimmed([1, 2, 1, 3], 0)[0], layout="ntu25", fps=20.0)
    Path("bad.bvh").write_text("nothing")
    words = ["segment", "a.npz", "--weights", str(weights), "--device", "cpu"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["segments"][0]["start"] == 0 and found["segments"][-1]["end"] == 8 and found["labels"] is None
    assert main(["segment", "bad.bvh", *words[1:], "-o", "a.csv"]) == 1
    captured = capsys.readouterr()
    assert "bad.bvh" in captured.err and Path("a.csv").read_text().startswith("file,start,end,label,score\na.npz,0,")
    assert main([*words, "--penalty", "1e6"]) == 0 and "a.npz, 0.00-8.00 s: A" in capsys.readouterr().out
    for wrong, message in (
        (["segment", "bad.bvh", "-o", "b.csv"], "none of the 1 files could be divided"),
        ([*words, "--labels", "none"], "no segment.json"),
        ([*words, "--labels", "none", "--penalty", "1"], "--penalty is for finding changes"),
        ([*words, "-o", "there/b.csv"], "the folder there does not exist"),
    ):
        assert main(wrong) == 1 and message in capsys.readouterr().err
    assert not Path("b.csv").exists()


@needs_ruptures
def test_the_example(tmp_path: Path) -> None:
    (file,) = write_recordings(tmp_path, variations=1, seconds=3, actions=["bow"])
    command = [sys.executable, "examples/segment_session.py", str(file)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("   0.0 to "), done.stderr
    assert "\nA: " in done.stdout


def test_changes_need_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruptures", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mamp\[segment\]'"):
        find_changes(np.zeros((20, 3), np.float32))
