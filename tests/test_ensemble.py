"""Several encoders fused: by scores, with weights chosen on training folds, and by features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluate_helpers import make_store, make_weights

from mamp.config import Preprocessing
from mamp.errors import ConfigError
from mamp.evaluate.data import Labelled, open_labelled
from mamp.evaluate.ensemble import EnsembleConfig, Streams, fuse
from mamp.evaluate.runner import evaluate

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    return open_labelled(make_store(tmp_path_factory.mktemp("ensemble") / "store", per_class=9))


def informative(data: Labelled, noise: float, classes: tuple[int, ...], seed: int) -> Any:
    """Features [N, 3] that tell only some classes from the others."""
    rng = np.random.default_rng(seed)
    shown = np.eye(3)[data.labels] * np.isin(np.arange(3), classes)
    return (shown + rng.normal(0, noise, shown.shape)).astype(np.float32)


def test_scores_are_summed_by_their_weights() -> None:
    one, other = np.array([[1.0, 0.0]]), np.array([[0.0, 4.0]])
    assert fuse([one, other], (0.5, 0.25)).tolist() == [[0.5, 1.0]]


def test_a_stream_of_noise_gets_no_weight(data: Labelled) -> None:
    good, noise = informative(data, 0.05, (0, 1, 2), 0), informative(data, 1.0, (), 1)
    streams = Streams([good, noise], data, EnsembleConfig())
    weights = streams.weights((0, 1))
    assert sum(weights) == pytest.approx(1) and weights[0] >= 0.5
    assert (fuse(streams.test, weights).argmax(axis=1) == data.labels[data.test]).all()


def test_equal_streams_get_equal_weights(data: Labelled) -> None:
    same = informative(data, 0.05, (0, 1, 2), 0)
    assert Streams([same, same], data, EnsembleConfig()).weights((0, 1)) == (0.5, 0.5)


def test_streams_that_know_different_classes_are_better_together(data: Labelled) -> None:
    features = [informative(data, 0.3, (0,), 0), informative(data, 0.3, (1,), 1)]
    streams = Streams(features, data, EnsembleConfig())
    labels = data.labels[data.test]
    alone = [(scores.argmax(axis=1) == labels).mean() for scores in streams.test]
    fused = (fuse(streams.test, streams.weights((0, 1))).argmax(axis=1) == labels).mean()
    joined = (streams.joined((0, 1)).argmax(axis=1) == labels).mean()
    assert min(fused, joined) > max(alone)


def test_weights_do_not_see_the_test_clips(data: Labelled) -> None:
    features = [informative(data, 0.4, (0, 1), seed) for seed in (0, 1)]
    expected = Streams(features, data, EnsembleConfig()).weights((0, 1))
    for one in features:
        one[data.test] = np.random.default_rng(2).normal(size=one[data.test].shape)
    assert Streams(features, data, EnsembleConfig()).weights((0, 1)) == expected


def test_end_to_end(data: Labelled, tmp_path: Path) -> None:
    weights = [
        str(make_weights(tmp_path / stream, preprocessing=Preprocessing(stream=stream)))
        for stream in ("joint", "bone", "motion")
    ]
    found = evaluate(
        "ensemble", weights[0], data.store.path, tmp_path / "out", overrides={"others": weights[1:]}, device="cpu"
    )
    rows = found["tables"]["Streams"][1:]
    assert [row[0] for row in rows if row[1] == "none"] == ["joint", "bone", "motion"]
    assert [row[0] for row in rows if row[1] == "features"][-1] == "joint + bone + motion"
    assert found["headline"]["mean"] == found["metrics"]["joint + bone + motion: scores, chosen"]["mean"]
    assert [one["config"]["preprocessing"]["stream"] for one in found["settings"]["streams"]][1:] == ["bone", "motion"]
    alone = evaluate("logistic", weights[0], data.store.path, tmp_path / "alone", device="cpu")
    assert alone["headline"]["mean"] == pytest.approx(found["metrics"]["joint: none"]["mean"])


def test_others_are_needed(data: Labelled, tmp_path: Path) -> None:
    weights = make_weights(tmp_path / "weights")
    with pytest.raises(ConfigError, match="others: expected the other encoders to fuse, found none"):
        evaluate("ensemble", str(weights), data.store.path, tmp_path / "out")
