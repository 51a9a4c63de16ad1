"""Scores with known answers, what a result leaves on disk, and many results in one table."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mamp.cli.main import main
from mamp.errors import DataError
from mamp.evaluate import result as result_module
from mamp.evaluate.predictions import Predictions, Trial
from mamp.evaluate.result import Result, read_results, write_result
from mamp.evaluate.results_table import differences, make_report
from mamp.evaluate.scores import (
    bootstrap_difference,
    bootstrap_interval,
    classification_metrics,
    confusion_matrix,
    mean_and_deviation,
    per_class,
    top_k_hits,
)
from mamp.outputs import dump_json, write_whole, written_whole

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 2, 2])


@pytest.fixture
def pictures() -> None:
    """For a test that has pictures drawn, which takes long."""


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(result_module, "_draw", lambda *args: [])


# Scores


def test_confusion_and_classes_by_hand() -> None:
    assert confusion_matrix(LABELS, PREDICTED, 4).tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    table = per_class(LABELS, PREDICTED, 4)
    np.testing.assert_allclose(table.recall, [200 / 3, 50, 100, np.nan])
    np.testing.assert_allclose(table.precision, [100, 50, 50, np.nan])
    assert table.count.tolist() == [3, 2, 1, 0]


def test_metrics_by_hand() -> None:
    found = classification_metrics(LABELS, PREDICTED, 4)
    assert found == {"top1": pytest.approx(400 / 6), "mean_class": pytest.approx((200 / 3 + 50 + 100) / 3)}
    assert "top5" not in classification_metrics(LABELS, np.eye(5)[PREDICTED], 5)
    # The class of clip i is at place i of the order, from 0 on: five of six are among the first five.
    scores = -np.abs(np.arange(6)[None, :] - np.zeros((6, 1)))
    found = classification_metrics(np.arange(6), scores, 6)
    assert found["top1"] == pytest.approx(100 / 6) and found["top5"] == pytest.approx(500 / 6)


def test_equal_scores_are_not_all_hits() -> None:
    hits = top_k_hits(np.arange(10), np.zeros((10, 10)), 5)
    assert hits.tolist() == [True] * 5 + [False] * 5


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        ([], [], "at least one"),
        ([0, 1], [0], "as many predictions as labels"),
        ([0, 3], [0, 1], "expected labels from 0 to 2, found 0 to 3"),
        ([0, 1], [0, -1], "expected predictions from 0 to 2, found -1 to 0"),
        ([0, 1], np.zeros((2, 4)), "expected scores of 3 classes"),
    ],
)
def test_what_does_not_fit_is_refused(labels: list[int], predicted: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        classification_metrics(np.array(labels, int), np.asarray(predicted), 3)


def test_interval_is_that_of_a_binomial() -> None:
    hits = np.arange(400) < 280
    low, high = bootstrap_interval(hits)
    half = 1.96 * 100 * np.sqrt(0.7 * 0.3 / 400)
    assert low == pytest.approx(70 - half, abs=0.5) and high == pytest.approx(70 + half, abs=0.5)
    assert bootstrap_interval(hits) == (low, high) != bootstrap_interval(hits, seed=1)
    wide = bootstrap_interval(hits, level=0.99)
    assert wide.low < low and wide.high > high
    assert bootstrap_interval(np.ones(10)) == (100, 100)


def test_trials_of_the_same_clips_are_no_more_clips() -> None:
    hits = np.arange(400) < 280
    assert bootstrap_interval(np.stack([hits] * 5)) == bootstrap_interval(hits)
    # Other clips in each trial are: a clip counts where a trial has it.
    apart = np.full((2, 800), np.nan)
    apart[0, :400], apart[1, 400:] = hits, hits
    one, two = bootstrap_interval(hits), bootstrap_interval(apart)
    assert (two.high - two.low) / (one.high - one.low) == pytest.approx(2**-0.5, abs=0.06)


def test_interval_over_trials_shows_how_much_they_differ() -> None:
    rng = np.random.default_rng(0)
    trials = np.stack([rng.random(2000) < share for share in (0.4, 0.6, 0.8)])
    fixed, drawn = bootstrap_interval(trials), bootstrap_interval(trials, trials=True)
    assert fixed.high - fixed.low < 4 and drawn.high - drawn.low > 20


def test_paired_difference() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(1000)
    one, other = hard < 0.7, hard < 0.68  # the same clips are hard
    difference, interval = bootstrap_difference(one, other)
    assert difference == pytest.approx(100 * (one.mean() - other.mean()))
    assert 0 < interval.low < difference < interval.high < 3.5  # unpaired it would reach from -2 to 6
    assert bootstrap_difference(one, one) == (0, (0, 0))
    assert bootstrap_difference(other, one)[0] == -difference
    with pytest.raises(DataError, match="same clips"):
        bootstrap_difference(one, other[:-1])


def test_trials_of_a_difference_are_drawn_apart() -> None:
    trials = np.repeat([[0.2], [0.8]], 500, axis=1)  # all clips alike, the trials not
    difference, interval = bootstrap_difference(trials, trials, trials=True)
    assert difference == 0 and interval.low == pytest.approx(-60) and interval.high == pytest.approx(60)


def test_mean_and_deviation() -> None:
    assert mean_and_deviation([1.0, 3.0]) == (2, pytest.approx(2**0.5))
    assert mean_and_deviation([5.0]) == (5, None)


# Files of a result


def make_result(
    weights: str = "openmocap",
    protocol: str = "linear",
    right: float = 0.8,
    seeds: tuple[int, ...] = (0,),
    clips: int = 200,
    sha256: str = "a" * 64,
    **changes: Any,
) -> Result:
    """A result of eight classes in which about that share of the clips is right."""
    rng = np.random.default_rng(1)
    labels, hard = rng.integers(8, size=clips), rng.random(clips)
    trials = []
    for seed in seeds:
        scores = np.random.default_rng(seed).random((clips, 8))
        scores[np.arange(clips), (labels + (hard >= right)) % 8] += 2
        metrics = classification_metrics(labels, scores, 8)
        history = [{"epoch": epoch, "loss": 1 / (epoch + 1), "top1": 20.0 * epoch} for epoch in range(4)]
        best = {"epoch": 3, "top1": 99.0}
        trials.append(Trial(seed, [f"clip-{i}" for i in range(clips)], labels, None, scores, metrics, best, history))
    values: dict[str, Any] = {
        "weights": {"name": weights, "kind": "pretrained", "fingerprint": "f" * 16},
        "data": {"name": "set", "sha256": sha256, "protocol": "xsub", "classes": [f"act {k}" for k in range(8)]},
        "settings": {"lr": 0.1, "betas": (0.9, 0.95)},
    }
    return Result(protocol, "top1", trials=trials, **{**values, **changes})


def test_results_json(tmp_path: Path) -> None:
    result = make_result(seeds=(0, 1), notes=["a note"], device="cpu")
    said = write_result(result, tmp_path / "out")
    found = read_results(tmp_path / "out")
    assert found == json.loads(dump_json(said))
    head = found["headline"]
    hits = [trial.metrics["top1"] for trial in result.trials]
    assert head["metric"] == "top1" and head["trials"] == 2 and head["mean"] == pytest.approx(np.mean(hits))
    assert head["std"] == pytest.approx(np.std(hits, ddof=1))
    assert head["interval"][0] < head["mean"] < head["interval"][1] and head["level"] == 0.95
    assert set(found["metrics"]) == {"top1", "top5", "mean_class"}
    assert found["best"] == {
        "chosen": "best epoch, chosen on the test clips", "metric": "top1", "mean": 99, "std": 0, "trials": 2,
    }  # fmt: skip
    assert all(trial["best"]["chosen"] == "best epoch, chosen on the test clips" for trial in found["trials"])
    assert [row["class"] for row in found["classes"]] == [f"act {k}" for k in range(8)]
    assert sum(row["count"] for row in found["classes"]) == 400 == np.sum(found["confusion"])
    worst = found["worst_confusions"][0]
    counts = np.array(found["confusion"])
    np.fill_diagonal(counts, 0)
    assert worst["clips"] == counts.max() and worst["predicted"] == f"act {(int(worst['class'][4:]) + 1) % 8}"
    assert found["settings"] == {"lr": 0.1, "betas": [0.9, 0.95]} and found["device"] == "cpu"
    assert {"mamp", "torch", "numpy", "python"} <= found["environment"].keys() and "arguments" in found
    assert not list((tmp_path / "out").glob(".*"))


def test_page_says_the_headline_first_and_what_the_best_epoch_is(tmp_path: Path, pictures: None) -> None:
    said = write_result(make_result(seeds=(0, 1)), tmp_path)
    page = (tmp_path / "results.md").read_text()
    lines = page.splitlines()
    head = said["headline"]
    assert lines[0] == "# linear: openmocap on set, xsub"
    assert lines[2].startswith(f"**top1 {head['mean']:.1f} ± ") and "(2 seeds)" in lines[2]
    assert "The best epoch, chosen on the test clips, has top1 99.0: not a result" in page
    assert "| act 3 |" in page and "Most frequent confusions" in page and "![confusion](confusion.png)" in page
    for name in said["pictures"]:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert said["pictures"] == ["confusion.png", "classes.png", "history.png"]


def test_predictions_are_those_of_the_trials(tmp_path: Path) -> None:
    result = make_result(seeds=(3, 5))
    write_result(result, tmp_path)
    found = Predictions.read(tmp_path / "predictions.npz")
    assert found.seeds.tolist() == [3, 5] and len(found.clip) == 400 and found.classes[7] == "act 7"
    second = found.trial == 1
    assert found.scores is not None and found.predicted is not None and found.value is not None
    np.testing.assert_array_equal(found.scores[second], np.float32(result.trials[1].scores))
    assert 100 * found.value[second].mean() == pytest.approx(result.trials[1].metrics["top1"])
    assert (found.predicted[second] == found.label[second]).mean() == found.value[second].mean()


def test_clips_are_matched_by_name_and_not_by_place() -> None:
    labels = np.zeros(3, int)
    one = Trial(0, ["a", "b", "b"], labels, np.array([0, 1, 0]), None, {"top1": 200 / 3})
    two = Trial(1, ["b", "c", "a"], labels, np.array([1, 0, 0]), None, {"top1": 200 / 3})
    table = Predictions.of([one, two], "top1", ["x", "y"]).by_clip()
    assert table is not None
    assert table[0] == [("a", 0), ("b", 0), ("b", 1), ("c", 0)]
    np.testing.assert_array_equal(table[1], [[1, 0, 1, np.nan], [1, 0, np.nan, 1]])


def test_headline_that_is_a_mean_over_clips(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 50)
    trial = Trial(0, [f"{i:02d}" for i in range(50)], np.arange(50) % 2, None, None, {"map": 50.0}, values=values)
    said = write_result(Result("knn", "map", {"name": "w"}, DATA, {}, [trial]), tmp_path)
    assert said["headline"]["interval"] == list(bootstrap_interval(values))
    assert said["confusion"] is None and said["classes"] is None and said["best"] is None and not said["pictures"]


DATA = {"name": "set", "sha256": "a" * 64, "protocol": None}


def test_headline_that_is_none(tmp_path: Path) -> None:
    trial = Trial(0, ["a", "b"], np.arange(2), None, None, {"nmi": 40.0, "ari": float("nan")})
    said = write_result(Result("cluster", "nmi", {"name": "w"}, DATA, {}, [trial]), tmp_path)
    assert said["headline"]["interval"] is None
    assert "NaN" not in (tmp_path / "results.json").read_text()
    assert read_results(tmp_path)["metrics"]["ari"]["mean"] is None
    own = Result("fewshot", "1-shot", {"name": "w"}, DATA, {}, [trial], interval=(1, 2), interval_over="episodes")
    trial.metrics, trial.intervals = {"1-shot": 1.5, "5-shot": 3.0}, {"5-shot": (2.5, 3.5)}
    said = write_result(own, tmp_path)
    assert said["headline"]["interval"] == [1, 2] and said["metrics"]["5-shot"]["interval"] == [2.5, 3.5]
    assert "interval over episodes" in (tmp_path / "results.md").read_text()


def test_trials_must_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labels: expected one entry for each of 2 clips, found 3"):
        Trial(0, ["a", "b"], LABELS[:3], None, None, {})
    result = make_result()
    result.trials[0].metrics.pop("top1")
    with pytest.raises(DataError, match="expected trials that each have the metric 'top1'"):
        write_result(result, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("last", ["predictions.npz", "results.md", "results.json"])
def test_a_write_that_fails_leaves_no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    write_result(make_result(), tmp_path)

    def full(path: Path, content: bytes | str) -> None:
        if path.name == last:
            raise OSError("no space left")
        write_whole(path, content)

    monkeypatch.setattr(result_module, "write_whole", full)
    with pytest.raises(DataError, match=r"cannot write the results here \(no space left\)"):
        write_result(make_result(right=0.2), tmp_path)
    assert not (tmp_path / "results.json").exists()  # the old one would belie the new files
    with pytest.raises(DataError, match="found none"):
        read_results(tmp_path)


def test_a_file_is_replaced_whole_or_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    with pytest.raises(OSError, match="no space"), written_whole(path) as file:
        file.write(b"n")
        raise OSError("no space left")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_without_matplotlib(tmp_path: Path, pictures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert write_result(make_result(), tmp_path)["pictures"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions.npz", "results.json", "results.md"]


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 1, "headline": null}'])
def test_damaged_results(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(DataError, match="damaged"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text('{"format": 99}')
    with pytest.raises(DataError, match="expected format 1, found 99"):
        read_results(tmp_path)
    (tmp_path / "predictions.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="expected the predictions"):
        Predictions.read(tmp_path / "predictions.npz")


# Many results in one table


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Results of several weights, protocols and sets, some of an ablation."""

    def write(path: str, weights: str, protocol: str, right: float, kind: str = "pretrained", **changes: Any) -> None:
        result = make_result(weights, protocol, right, **changes)
        result.weights["kind"] = kind
        write_result(result, tmp_path / path)

    other = {"name": "other", "sha256": "b" * 64, "protocol": None, "classes": [str(k) for k in range(8)]}
    write("a/scratch", "untrained", "scratch", 0.6, "untrained")
    write("a/linear", "openmocap", "linear", 0.8, seeds=(0, 1))
    write("a/knn", "openmocap", "knn", 0.7)
    write("a/poses", "poses", "knn", 0.5, "poses")
    write("a/untrained", "untrained", "knn", 0.4, "untrained")
    write("b/linear", "openmocap", "linear", 0.9, data=other)
    for seed, right in ((0, 0.70), (1, 0.74)):
        write(f"grid/target=motion/seed={seed}/evaluate/knn", f"target=motion/seed={seed}", "knn", right, seeds=(seed,))
    return tmp_path


def test_order_columns_and_merged_seeds(many: Path) -> None:
    report = make_report([many])
    assert report.columns == ["set, xsub", "other"]
    assert [(row.weights, row.protocol) for row in report.rows] == [
        ("poses", "knn"),
        ("untrained", "knn"),
        ("untrained", "scratch"),
        ("openmocap", "knn"),
        ("openmocap", "linear"),
        ("target=motion", "knn"),
    ]
    assert report.notes == []
    linear, merged = report.rows[4].cells, report.rows[5].cells["set, xsub"].to_dict()
    assert set(linear) == {"set, xsub", "other"}
    assert linear["set, xsub"].to_dict()["interval"] == read_results(many / "a/linear")["headline"]["interval"]
    ends = [read_results(many / f"grid/target=motion/seed={s}/evaluate/knn")["headline"]["mean"] for s in (0, 1)]
    assert merged["trials"] == 2 and merged["mean"] == pytest.approx(np.mean(ends))
    assert merged["std"] == pytest.approx(np.std(ends, ddof=1))
    assert merged["interval"][0] < merged["mean"] < merged["interval"][1]


def test_sets_of_one_name_are_not_mixed(many: Path) -> None:
    write_result(make_result("openmocap", "knn", sha256="c" * 64), many / "c")
    report = make_report([many])
    assert report.columns == ["set, xsub (aaaaaaaa)", "other", "set, xsub (cccccccc)"]
    assert any("2 different sets of clips have this name; they are not comparable" in note for note in report.notes)
    knn = next(row for row in report.rows if (row.weights, row.protocol) == ("openmocap", "knn"))
    assert len(knn.cells) == 2


def test_other_test_clips_are_told(many: Path) -> None:
    write_result(make_result("novel", "fewshot", clips=50), many / "c")
    (note,) = make_report([many]).notes
    assert "not all rows have the same test clips (fewshot: 50; knn, scratch, linear: 200); these do not" in note


def test_variants_of_a_protocol_are_rows_of_their_own(many: Path) -> None:
    for share in (0.01, 0.1):
        result = make_result("openmocap", "semi", settings={"share": share, "lr": 0.1})
        write_result(result, many / f"semi-{share}")
    names = [row.protocol for row in make_report([many]).rows if row.protocol.startswith("semi")]
    assert names == ["semi (share 0.01)", "semi (share 0.1)"]


def test_weights_of_one_name_are_told_apart(many: Path) -> None:
    result = make_result("openmocap", "knn", 0.3)
    result.weights["fingerprint"] = "e" * 16
    write_result(result, many / "later")
    rows = [row.weights for row in make_report([many]).rows if row.protocol == "knn" and "openmocap" in row.weights]
    assert rows == ["openmocap (eeeeeeee)", "openmocap (ffffffff)"]


def test_the_same_evaluation_twice_counts_once(many: Path) -> None:
    write_result(make_result("openmocap", "knn", 0.7), many / "copy")
    report = make_report([many])
    knn = next(row for row in report.rows if (row.weights, row.protocol) == ("openmocap", "knn"))
    assert knn.cells["set, xsub"].to_dict()["trials"] == 1
    assert any("is the same evaluation as" in note for note in report.notes)


def test_differences_are_paired_and_refused_where_clips_differ(many: Path) -> None:
    write_result(make_result("fewer", "knn", clips=50), many / "c")
    report = make_report([many])
    lines, notes = differences(report, "poses")
    found = {row.weights: cells["set, xsub"] for row, cells in lines}
    assert set(found) == {"untrained", "openmocap", "target=motion"}
    assert notes == ["fewer, knn top1 on set, xsub: no difference, since the test clips are not the same."]
    means = {row.weights: row.cells["set, xsub"].to_dict()["mean"] for row in report.rows if row.protocol == "knn"}
    for name, cell in found.items():
        assert cell["difference"] == pytest.approx(means[name] - means["poses"])
        assert cell["interval"][0] < cell["difference"] < cell["interval"][1]
    lines, _ = differences(report, "untrained/scratch")
    assert ("openmocap", "linear") in {(row.weights, row.protocol) for row, _ in lines}
    with pytest.raises(DataError, match="expected weights of the table, or WEIGHTS/PROTOCOL; there are poses"):
        differences(report, "nothing")


def test_command(many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(many / "a"), str(many / "b"), "--against", "poses"]) == 0
    text = capsys.readouterr().out
    assert "| weights | protocol | metric | set, xsub | other |\n|---|---|---|---:|---:|" in text
    assert "Difference to poses, in percentage points, paired by test clip:" in text
    assert main(["report", str(many), "--json", "--against", "poses"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["rows"]) == 6 and len(found["differences"]) == 3
    assert main(["report", str(many), "--csv", "-o", str(many / "table.csv")]) == 0
    rows = list(csv.DictReader(io.StringIO((many / "table.csv").read_text())))
    assert len(rows) == 7 and rows[0]["weights"] == "poses" and float(rows[0]["low"]) < float(rows[0]["mean"])
    assert main(["report", str(many), "--metrics", "top5", "--csv"]) == 0
    assert "top5" in capsys.readouterr().out


def test_command_with_nothing_to_report(tmp_path: Path, many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (many / "empty").mkdir()
    assert main(["report", str(many / "empty")]) == 1
    assert "no results.json of python -m mamp.evaluate below" in capsys.readouterr().err
    assert main(["report", str(many / "absent")]) == 1
    assert "expected a folder with results" in capsys.readouterr().err
    (many / "a" / "knn" / "results.json").write_text("{")
    assert main(["report", str(many / "a")]) == 0
    assert "left out:" in capsys.readouterr().out
