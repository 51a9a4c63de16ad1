"""The transformer of scikit-learn: what it gives, pipelines, searches, caches, pickles, and its own checks."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluate_helpers import make_weights
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from mamp import MAMPEncoder, Skeleton, load
from mamp.errors import MissingExtraError, ReadError, RecordingError, WeightsError
from mamp.sklearn import MAMPFeatures
from mamp.synthetic import write_recordings


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_weights(tmp_path_factory.mktemp("weights") / "tiny"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_recordings(tmp_path_factory.mktemp("files"), variations=2, seconds=2, actions=["walk", "run", "bow"])


def labels(files: list[Path]) -> list[str]:
    return [file.name.partition("-")[0] for file in files]


def test_embeddings_are_those_of_encode(weights: str, files: list[Path]) -> None:
    encoder, recordings = MAMPEncoder.from_pretrained(weights), [load(file) for file in files]
    expected = encoder.encode(recordings)
    np.testing.assert_array_equal(MAMPFeatures(weights).fit_transform(files), expected)
    np.testing.assert_array_equal(MAMPFeatures(encoder, batch_size=4).fit_transform(recordings), expected)
    joints = MAMPFeatures(weights, pool="joint").fit_transform(files)
    np.testing.assert_array_equal(joints, encoder.encode(recordings, pool="joint").reshape(6, -1))
    frames = MAMPFeatures(weights, pool="frame").fit_transform(files)
    first = encoder.encode(recordings[0], pool="frame")
    np.testing.assert_allclose(frames[0], np.concatenate([first.mean(axis=0), first.std(axis=0)]), atol=1e-6)
    windows = MAMPFeatures(weights, window=1.0, stride=0.5).fit_transform(files)
    first = encoder.encode(recordings[0], window=30, stride=15)
    np.testing.assert_allclose(windows[0], first.mean(axis=0), atol=1e-6)
    first = encoder.encode(recordings[0], pool="joint", window=30)
    joints = MAMPFeatures(weights, pool="joint", window=1.0).fit_transform(files)
    np.testing.assert_allclose(joints[0], first.mean(axis=0).ravel(), atol=1e-6)
    assert MAMPFeatures(weights).fit(files).transform([]).shape == (0, 16)


@pytest.mark.filterwarnings("ignore:You are using `torch.load`:FutureWarning")  # pickled modules, before torch 2.6
def test_clone_and_pickle(weights: str, files: list[Path], tmp_path: Path) -> None:
    features = MAMPFeatures(weights, pool="frame", window=1.0).fit(files)
    copy = clone(features)
    assert copy.get_params() == features.get_params() and not hasattr(copy, "encoder_")
    content = pickle.dumps(features)
    assert len(content) < 1000  # the weights are not in it
    np.testing.assert_array_equal(pickle.loads(content).transform(files), features.transform(files))
    held = MAMPFeatures(MAMPEncoder.from_pretrained(weights)).fit(files)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(held)).transform(files), held.transform(files))
    assert clone(held).fit(files).fingerprint_ == held.fingerprint_
    place = make_weights(tmp_path / "mine")
    content = pickle.dumps(MAMPFeatures(place).fit(files))
    make_weights(place, seed=1)
    with pytest.raises(WeightsError, match=r"expected the weights .* that the pickle was made with"):
        pickle.loads(content)
    assert pickle.loads(pickle.dumps(MAMPFeatures(place))).fit(files).n_features_out_ == 16


def test_pandas_output(weights: str, files: list[Path]) -> None:
    import pandas as pd

    features = MAMPFeatures(weights).set_output(transform="pandas")
    column = pd.Series(map(str, files), index=[f"row{i}" for i in range(6)])
    frame = features.fit_transform(column.to_frame())
    assert list(frame.columns) == features.get_feature_names_out().tolist() and frame.columns[1] == "mampfeatures1"
    assert list(frame.index) == list(column.index) and len(frame.columns) == 16
    np.testing.assert_array_equal(frame.to_numpy(), features.transform(column).to_numpy())


def test_search_over_pool_and_window(weights: str, files: list[Path]) -> None:
    model = make_pipeline(MAMPFeatures(weights), LogisticRegression())
    grid = {"mampfeatures__pool": ["clip", "frame"], "mampfeatures__window": [None, 1.0]}
    search = GridSearchCV(model, grid, cv=2).fit(files, labels(files))
    assert len(search.cv_results_["params"]) == 4 and np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.predict(files).shape == (6,)


def test_a_pipeline_with_memory_embeds_once(
    weights: str, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    embed = MAMPFeatures._embed
    monkeypatch.setattr(MAMPFeatures, "_embed", lambda self, some: calls.append(len(some)) or embed(self, some))
    recordings = [load(file) for file in files]
    for strength in (1.0, 0.1):
        model = make_pipeline(MAMPFeatures(weights), LogisticRegression(C=strength), memory=str(tmp_path / "cache"))
        model.fit(recordings, labels(files))
    assert calls == [6]
    make_pipeline(MAMPFeatures(weights, pool="frame"), LogisticRegression(), memory=str(tmp_path / "cache")).fit(
        recordings, labels(files)
    )
    assert calls == [6, 6]
    assert model.predict(recordings[:2]).shape == (2,)


def test_mistakes(weights: str, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFittedError):
        MAMPFeatures(weights).transform(files)
    with pytest.raises(RecordingError, match="pool: expected one of clip, joint, frame; found 'person'"):
        MAMPFeatures(weights, pool="person").fit(files)  # type: ignore[arg-type]
    with pytest.raises(RecordingError, match=r"expected a list of recordings or paths, found str.*\[recording\]"):
        MAMPFeatures(weights).fit_transform(str(files[0]))
    with pytest.raises(ReadError, match=r"absent.bvh"):
        MAMPFeatures(weights).fit_transform([*files, tmp_path / "absent.bvh"])
    with pytest.raises(RecordingError, match="window: expected seconds above zero"):
        MAMPFeatures(weights, window=-1.0).fit_transform(files)
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "mamp.sklearn")
    with pytest.raises(MissingExtraError, match=r"pip install 'mamp\[sklearn\]'"):
        import mamp.sklearn  # noqa: F401


class Numbers(MAMPFeatures):
    """Takes arrays of numbers, as scikit-learn's checks give, and makes a recording of each row."""

    def fit(self, X: Any, y: Any = None) -> Numbers:
        from sklearn.utils.validation import validate_data

        super().fit(list(validate_data(self, X, dtype="numeric")), y)
        return self

    def transform(self, X: Any) -> Any:
        from sklearn.utils.validation import check_is_fitted, validate_data

        check_is_fitted(self)
        body = np.random.default_rng(0).normal(size=(8, 25, 3))
        recordings = []
        for row in validate_data(self, X, reset=False, dtype=float):
            positions = body.copy()
            positions[:, : len(row[:25])] += np.tanh(row[None, :25, None])
            recordings.append(Skeleton(positions, "ntu25", 30))
        return super().transform(recordings)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.no_validation = True, False
        return tags


def checks() -> Iterator[Any]:
    """All checks of scikit-learn; through arrays of numbers, since none of them knows recordings."""
    generate = getattr(estimator_checks, "estimator_checks_generator", None)
    for _, check in generate(Numbers("unknown")) if generate else ():
        name = getattr(check, "func", check).__name__
        # The only one that is left out: it wants SCIPY_ARRAY_API=1 in the environment, and arrays of other libraries.
        if name != "check_array_api_input":
            yield pytest.param(check, id=name)


@pytest.mark.parametrize("check", list(checks()))
def test_checks_of_scikit_learn(check: Any, weights: str) -> None:
    check(Numbers(weights))
