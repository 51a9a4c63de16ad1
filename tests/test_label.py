"""Labels from a few examples: what is decided, calibrated, unknown, kept and refused; in Python and as a command."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from evaluate_helpers import make_weights, tiny

from mamp import MAMPEncoder, Skeleton, load
from mamp.classes import FOLDS, Classes, centre_and_means, fit_classes, fit_temperature, folds, softmax, unit
from mamp.cli.main import main
from mamp.config import Preprocessing
from mamp.errors import ConfigError, DataError, MissingExtraError, ReadError, WeightsError
from mamp.label import FewShotClassifier
from mamp.synthetic import write_recordings

ACTIONS = ["walk", "run", "bow", "kick"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    found = write_recordings(tmp_path_factory.mktemp("files"), variations=4, seconds=3, actions=ACTIONS)
    return {action: [path for path in found if path.name.startswith(action)] for action in ACTIONS}


@pytest.fixture(scope="module")
def encoder() -> MAMPEncoder:
    return MAMPEncoder.from_pretrained()


@pytest.fixture(scope="module")
def classifier(encoder: MAMPEncoder, files: dict[str, list[Path]]) -> FewShotClassifier:
    """Knows walk, run and bow by one example each."""
    return FewShotClassifier(encoder).fit([files[one][0] for one in ACTIONS[:3]], ACTIONS[:3])


# Vectors


def clouds(
    n: int = 20, spread: float = 0.15, num: int = 4, dim: int = 16, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(num, dim))
    return np.repeat(centres, n, axis=0) + rng.normal(scale=spread * 4, size=(n * num, dim)), np.repeat(
        np.arange(num), n
    )


def test_means_are_the_nearest_by_cosine() -> None:
    x, y = clouds(3)
    model = fit_classes(x, y, "means")
    centre = np.stack([x[y == k].mean(axis=0) for k in range(4)]).sum(axis=0) / 6
    z = (x - centre) / np.linalg.norm(x - centre, axis=1, keepdims=True)
    means = np.stack([z[y == k].mean(axis=0) for k in range(4)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    query, _ = clouds(5, seed=1)
    q = (query - centre) / np.linalg.norm(query - centre, axis=1, keepdims=True)
    np.testing.assert_allclose(model.probabilities(query), softmax(q @ means.T / model.temperature))
    np.testing.assert_allclose(
        model.known(query), 1 / (1 + np.exp(-model.known_slope * ((q @ means.T).max(axis=1) - model.known_at)))
    )


def test_logistic_regression_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    query, _ = clouds(5, seed=1)
    for num in (2, 4):
        x, y = clouds(6, num=num)
        model = fit_classes(x, y, "logistic")
        centre, _ = centre_and_means(x, y)
        theirs = LogisticRegression(C=10, max_iter=1000).fit(unit(x - centre), y)
        plain = Classes(**{**vars(model), "temperature": 1.0})
        np.testing.assert_allclose(plain.probabilities(query), theirs.predict_proba(unit(query - centre)), atol=1e-9)


def test_discriminant_is_that_of_scikit_learn() -> None:
    """With a covariance that is shrunk towards the identity; both treat classes as equally likely."""
    from sklearn.covariance import ShrunkCovariance
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    query, _ = clouds(5, seed=1)
    x, y = clouds(6, num=4)
    model = fit_classes(x, y, "discriminant")
    centre, _ = centre_and_means(x, y)
    # Covariance plus its mean variance is twice the covariance shrunk by half.
    theirs = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=ShrunkCovariance(shrinkage=0.5))
    theirs.fit(unit(x - centre), y)
    scores = unit(query - centre) @ model.weight.T + model.bias
    expected = theirs.decision_function(unit(query - centre))
    scores, expected = (s - s.mean(axis=1, keepdims=True) for s in (scores, expected))
    np.testing.assert_allclose(scores / np.abs(scores).max(), expected / np.abs(expected).max(), atol=1e-6)


def test_the_head_is_chosen_on_examples_left_out() -> None:
    """Where vectors differ most in what says nothing of the class, the discriminant looks past it."""
    rng, y = np.random.default_rng(0), np.repeat([0, 1], 30)
    x = rng.normal(size=(60, 32)) * 0.3
    x[:, 0] *= 20
    x[:, 1] += np.where(y == 0, 1, -1)
    model = fit_classes(x, y)
    assert model.head == "discriminant" and model.left_out["discriminant"] > model.left_out["means"] + 0.2
    assert set(fit_classes(*clouds(2)).left_out) == {"means", "discriminant"}
    assert fit_classes(*clouds(1)).left_out == {} and fit_classes(*clouds(1)).head == "means"


def test_classes_of_one_example_are_left_to_nearest_means() -> None:
    """They would count as well known as the others; and without its pair, a class says nothing of what may differ."""
    x, y = clouds(5)
    for counts in ([2, 1, 1, 1], [5, 1, 1, 1], [5, 5, 5, 1]):
        rows = np.concatenate([np.flatnonzero(y == k)[:count] for k, count in enumerate(counts)])
        model = fit_classes(x[rows], y[rows])
        assert model.head == "means" and set(model.left_out) == {"means"}


def test_each_example_is_left_out_once_and_its_class_is_never_lost() -> None:
    for counts in ([3, 3], [40, 40, 2], [300, 200, 100], [2] * 60):
        y = np.repeat(np.arange(len(counts)), counts)
        groups = folds(y)
        assert sorted(np.concatenate(groups).tolist()) == list(range(len(y)))
        assert all(set(np.delete(y, group)) == set(y) for group in groups)
        assert len(groups) in (len(y), FOLDS)


def test_temperature() -> None:
    """Scores that are logarithms of the true probabilities, times a number, need that number as temperature."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), size=4000)
    y = (rng.random(4000)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=2)
    scores = 0.3 * np.log(probabilities)
    assert fit_temperature(scores, y, typical=0.5, spread=0.5).temperature == pytest.approx(0.3, rel=0.1)
    assert fit_temperature(scores[:0], y[:0], typical=0.5, spread=0.5).temperature == 0.5
    few = fit_temperature(scores[:3], y[:3], typical=0.5, spread=0.1).temperature
    assert few == pytest.approx(0.5, rel=0.2)  # little evidence moves it little


def test_unknown_classes_are_told_from_known_ones() -> None:
    x, y = clouds(num=8)
    query, classes = clouds(seed=1, num=8)
    model = fit_classes(x[y < 5], y[y < 5])
    known = model.known(query)
    assert (known[classes < 5] > 0.5).mean() > 0.9 and (known[classes >= 5] < 0.5).mean() > 0.9
    one = fit_classes(x[:1], y[:1])
    assert one.probabilities(query).tolist() == [[1.0]] * len(query)
    assert one.known(x[1:20]).mean() > one.known(x[20:]).mean() + 0.3


def test_logistic_regression_needs_an_extra_and_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="needs at least two classes, found one"):
        fit_classes(*clouds(num=1), "logistic")
    with pytest.raises(ConfigError, match="head: expected 'auto', 'means', 'discriminant', 'logistic', found 'svm'"):
        fit_classes(*clouds(), "svm")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mamp\[sklearn\]'"):
        fit_classes(*clouds(), "logistic")
    assert fit_classes(*clouds()).head != "logistic" and fit_classes(*clouds(1)).head == "means"


# Recordings


def test_one_example_a_class(classifier: FewShotClassifier, files: dict[str, list[Path]]) -> None:
    assert classifier.classes_ == ["bow", "run", "walk"] and classifier.counts_ == [1, 1, 1]
    for action in ACTIONS[:3]:
        assert classifier.predict(files[action][1:]) == [action] * 3
    assert classifier.predict(files["kick"]) == ["unknown"] * 4
    shares = classifier.predict_proba(load(files["run"][1]))
    assert shares.shape == (1, 3) and shares.argmax() == 1 and shares.sum() == pytest.approx(1)
    assert classifier.predict([]) == [] and classifier.predict_proba([]).shape == (0, 3)
    found = classifier.label([files["kick"][0], files["bow"][1]])
    assert found[0].label == "unknown" and found[0].nearest in classifier.classes_
    assert found[0].confidence == pytest.approx(1 - found[0].known) and found[1].confidence > 0.5


def test_one_class(encoder: MAMPEncoder, files: dict[str, list[Path]]) -> None:
    one = FewShotClassifier(encoder).fit(files["walk"][:2], ["walk", "walk"])
    assert one.predict([files["walk"][2], files["bow"][0]]) == ["walk", "unknown"]
    always = FewShotClassifier(encoder, unknown=0).fit(files["walk"][:1], ["walk"])
    assert always.predict(files["bow"]) == ["walk"] * 4


def test_windows_and_people(classifier: FewShotClassifier, files: dict[str, list[Path]]) -> None:
    walk, bow = (load(files[action][1]).to_layout("ntu25") for action in ("walk", "bow"))
    positions = np.concatenate([walk.positions, bow.positions + np.float32([2, 0, 0])])
    both = Skeleton(positions, "ntu25", 30, name="both")
    found = classifier.label(both, people=True)
    assert [(one.person, one.nearest) for one in found] == [(0, "walk"), (1, "bow")]
    after = Skeleton(np.concatenate([walk.positions, bow.positions], axis=1), "ntu25", 30, name="after")
    found = classifier.label(after, window=3.0)
    assert [(one.start, one.end, one.label) for one in found] == [(0.0, 3.0, "walk"), (3.0, 6.0, "bow")]


def test_saved_and_loaded(classifier: FewShotClassifier, files: dict[str, list[Path]], tmp_path: Path) -> None:
    classifier.save(tmp_path / "model")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["label.json", "label.safetensors", "model"]
    queries = [files["walk"][1], files["kick"][0]]
    with pytest.raises(WeightsError, match="fitted with an encoder that has no name; pass the encoder"):
        FewShotClassifier.load(tmp_path / "model")
    loaded = FewShotClassifier.load(tmp_path / "model", "openmocap")
    assert loaded.label(queries) == classifier.label(queries)
    np.testing.assert_array_equal(loaded.predict_proba(queries), classifier.predict_proba(queries))
    loaded.save(tmp_path / "model")  # over the other one
    assert FewShotClassifier.load(tmp_path / "model").classes_ == classifier.classes_
    with pytest.raises(WeightsError, match=r"expected the weights it was fitted with .*found"):
        FewShotClassifier.load(tmp_path / "model", make_weights(tmp_path / "other"))


def test_what_cannot_be_saved_or_loaded(classifier: FewShotClassifier, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(WeightsError, match="expected a new folder or that of a classifier"):
        classifier.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    with pytest.raises(WeightsError, match="call fit first"):
        FewShotClassifier(classifier.encoder).save(tmp_path / "new")
    with pytest.raises(WeightsError, match=r"found no label.json"):
        FewShotClassifier.load(tmp_path / "mine", classifier.encoder)
    folder = tmp_path / "model"
    classifier.save(folder)
    record = json.loads((folder / "label.json").read_text())
    for changes, message in (
        ({"format": 2}, "a newer mamp may be needed"),
        ({"classes": ["a"]}, "damaged"),
        ({"temperature": 0}, "damaged"),
        ({"known_at": None}, "damaged"),
    ):
        (folder / "label.json").write_text(json.dumps(record | changes))
        with pytest.raises(WeightsError, match=message):
            FewShotClassifier.load(folder, classifier.encoder)
    (folder / "label.json").write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        FewShotClassifier.load(folder, classifier.encoder)
    (folder / "label.json").write_text(json.dumps(record))
    (folder / "label.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="expected safetensors"):
        FewShotClassifier.load(folder, classifier.encoder)


def test_mistakes(encoder: MAMPEncoder, files: dict[str, list[Path]], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="as many labels as recordings, at least one; found 1 and 4"):
        FewShotClassifier(encoder).fit(files["walk"], ["walk"])
    with pytest.raises(DataError, match="at least one; found 0 and 0"):
        FewShotClassifier(encoder).fit([], [])
    with pytest.raises(DataError, match="'unknown'"):
        FewShotClassifier(encoder).fit(files["walk"][:2], ["walk", "unknown"])
    with pytest.raises(ReadError, match=r"absent\.bvh"):
        FewShotClassifier(encoder).fit([tmp_path / "absent.bvh"], ["walk"])
    with pytest.raises(WeightsError, match="call fit first"):
        FewShotClassifier(encoder).predict(files["walk"])
    with pytest.raises(ConfigError, match="unknown: expected a probability"):
        FewShotClassifier(encoder, unknown=2)
    with pytest.raises(DataError, match=r"expected finite embeddings \[n, 256\]"):
        FewShotClassifier(encoder).fit_embeddings(np.zeros((2, 8)), ["a", "b"])


# The command


def examples(path: Path, rows: list[tuple[object, ...]], columns: str = "file,label") -> Path:
    path.write_text("\n".join([columns, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def test_command(files: dict[str, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = files["walk"][0].parent
    table = examples(folder / "examples.csv", [(files[one][0].name, one) for one in ACTIONS[:3]])
    queries = [str(files["run"][1]), str(tmp_path / "absent.bvh"), str(files["kick"][1])]
    options = ["--unit", "cm"]
    output, model = tmp_path / "labels.csv", tmp_path / "model"
    assert main(["label", "--examples", str(table), *queries, "-o", str(output), "--save", str(model), *options]) == 1
    said = capsys.readouterr()
    assert "absent.bvh" in said.err and "bow 1, run 1, walk 1" in said.out
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert list(rows[0]) == ["file", "label", "confidence"]
    assert [(row["file"], row["label"]) for row in rows] == [(queries[0], "run"), (queries[2], "unknown")]
    assert main(["label", "--model", str(model), queries[0], "--json", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["labels"][0]["label"] == "run" and found["classes"] == {"bow": 1, "run": 1, "walk": 1}
    assert float(rows[0]["confidence"]) == pytest.approx(found["labels"][0]["confidence"], abs=1e-5)
    words = ["label", "--model", str(model), queries[0], "--window", "1", "--people", "-o", str(output), *options]
    assert main(words) == 0
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [*rows[0]] == ["file", "person", "start", "end", "label", "confidence"] and len(rows) == 3
    capsys.readouterr()
    assert main(["label", "--model", str(model), queries[2], "--unknown", "0", *options]) == 0
    assert "unknown" not in capsys.readouterr().out
    other = str(make_weights(tmp_path / "other"))
    assert main(["label", "--model", str(model), queries[0], "--weights", other]) == 1
    assert "expected the weights it was fitted with" in capsys.readouterr().err


def test_parts_of_recordings_as_examples(
    files: dict[str, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walk, bow = (load(files[action][0], unit="cm").to_layout("ntu25") for action in ("walk", "bow"))
    np.save(tmp_path / "long.npy", np.concatenate([walk.positions, bow.positions], axis=1))
    table = examples(
        tmp_path / "parts.csv", [("long.npy", "walk", "", 3), ("long.npy", "bow", 3, "")], "file,label,start,end"
    )
    for action in ("walk", "bow"):
        np.save(tmp_path / f"{action}.npy", load(files[action][1], unit="cm").to_layout("ntu25").positions)
    queries = [str(tmp_path / f"{action}.npy") for action in ("walk", "bow")]
    reading = ["--layout", "ntu25", "--fps", "30", "--unit", "m"]
    assert main(["label", "--examples", str(table), *queries, "--json", *reading]) == 0
    assert [one["label"] for one in json.loads(capsys.readouterr().out)["labels"]] == ["walk", "bow"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the columns file and label"),
        ("file,label\n", "found no row"),
        ("name,label\na,b\n", "expected the columns file and label .*found name, label"),
        ("file,label\nwalk.bvh,\n", "row 2: expected a file and a label"),
        ("file,label,start\nwalk.bvh,walk,soon\n", "row 2: start: expected seconds, found 'soon'"),
        ("file,label\nabsent.bvh,walk\n", "no example of walk can be read"),
    ],
)
def test_examples_that_are_wrong(
    text: str, message: str, files: dict[str, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    weights = make_weights(tmp_path / "weights")
    (tmp_path / "examples.csv").write_text(text)
    words = ["label", "--examples", str(tmp_path / "examples.csv"), str(files["walk"][0]), "--weights", str(weights)]
    assert main([*words, "-o", str(tmp_path / "out.csv"), "--save", str(tmp_path / "model")]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out.csv").exists() and not (tmp_path / "model").exists()


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(examples(tmp_path / "examples.csv", [("a.bvh", "a")]))
    for words, message in (
        (["--examples", table], "expected files to label, or a folder"),
        (["--model", "m", "--save", "n", "a.bvh"], "--model is kept already"),
        (["--examples", table, "a.bvh", "--stride", "1"], "expected a --window too"),
        (["--examples", table, "a.bvh", "--unknown", "7"], "expected a probability"),
        (["--examples", table, "a.bvh", "-o", str(tmp_path / "no" / "out.csv")], "does not exist; make it first"),
        (["--examples", table, "a.bvh", "-o", str(tmp_path)], "expected a file to write, found a folder"),
    ):
        assert main(["label", *words]) == 1
        assert message in capsys.readouterr().err
    assert main(["label", "a.bvh"]) == 2


def test_a_kill_leaves_a_whole_model_or_none(classifier: FewShotClassifier, tmp_path: Path) -> None:
    """A process saves one classifier over another until it is killed; what is there loads."""
    classifier.weights = "openmocap"
    classifier.save(tmp_path / "first")
    program = (
        "import sys; from mamp.label import FewShotClassifier\n"
        "one = FewShotClassifier.load(sys.argv[1]); print('ready', flush=True)\n"
        "while True: one.save(sys.argv[2])"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "first"), str(tmp_path / "model")]
    for delay in (0.0, 0.01, 0.05):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
        if (tmp_path / "model").exists():
            assert FewShotClassifier.load(tmp_path / "model", classifier.encoder).classes_ == classifier.classes_
    classifier.save(tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "model"]
    classifier.weights = None


def test_tiny_weights_with_people(files: dict[str, list[Path]]) -> None:
    """Weights that take no people beyond those there, and have no readout."""
    encoder = MAMPEncoder(tiny(preprocessing=Preprocessing(max_people=None, absent_person="none"))).eval()
    found = FewShotClassifier(encoder).fit(files["walk"] + files["bow"], ["walk"] * 4 + ["bow"] * 4)
    assert set(found.predict(files["walk"])) <= {"walk", "bow", "unknown"}
