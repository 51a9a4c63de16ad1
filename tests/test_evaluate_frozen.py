"""Protocols on frozen features: their measures by hand, and the features themselves."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluate_helpers import count_encodings, make_job, make_store, make_weights, tiny

from mamp import MAMPEncoder
from mamp.data import ClipStore
from mamp.errors import ConfigError, DataError, MissingExtraError, RecordingError
from mamp.evaluate import cluster, features, fewshot, frozen, knn
from mamp.evaluate.data import open_labelled
from mamp.evaluate.features import extract
from mamp.evaluate.frozen import Features, FrozenConfig, LogisticConfig, standardise
from mamp.evaluate.predictions import Trial
from mamp.evaluate.representation import label_of, load_representation
from mamp.preprocessing import prepare_clip

CONFIG = FrozenConfig()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_weights(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BATCH", 4)
    monkeypatch.setattr(features, "PART", 8)


def with_features(store: Path, x: Any, seed: int = 0) -> Features:
    return Features(np.asarray(x, np.float32), open_labelled(store), seed, [])


# ---- measures, by hand


def test_similarity() -> None:
    queries, gallery = np.array([[3.0, 4.0]], np.float32), np.array([[6.0, 8.0], [4.0, -3.0], [3.0, 0.0]], np.float32)
    assert knn.similarity(queries, gallery, "cosine")[0] == pytest.approx([1.0, 0.0, 0.6])
    assert -knn.similarity(queries, gallery, "euclidean")[0] == pytest.approx([25.0, 50.0, 16.0])


def test_vote_goes_to_the_majority_and_then_to_the_nearest() -> None:
    neighbours = np.array([[0, 1, 1], [2, 1, 0], [1, 1, 2], [0, 0, 0]])
    assert knn.vote(neighbours, 3).tolist() == [1, 2, 1, 0]
    assert knn.vote(neighbours[:, :1], 3).tolist() == [0, 2, 1, 0]
    assert knn.vote(np.array([[2, 1, 1, 2], [0, 2, 2, 0]]), 3).tolist() == [2, 0]


def test_average_precision() -> None:
    relevant = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1], [0, 1, 1, 0]], bool)
    expected = [(1 + 2 / 3) / 2, 1 / 4, 1.0, (1 / 2 + 2 / 3) / 2]
    assert knn.average_precision(relevant) == pytest.approx(expected)


def test_retrieval_on_a_line() -> None:
    gallery = np.arange(12, dtype=np.float32)[:, None]
    labels = np.array([0] * 6 + [1] * 5 + [0])
    queries, asked = np.array([[0.1], [11.2]], np.float32), np.array([1, 0])
    nearest, found = knn.neighbours_and_retrieval(queries, gallery, asked, labels, 2, "euclidean")
    assert nearest.tolist() == [[0, 0], [0, 1]]
    # From 0.1 the class 1 comes at places 7 to 11; from 11.2 the class 0 at places 1 and 7 to 12.
    first = np.mean([1 / 7, 2 / 8, 3 / 9, 4 / 10, 5 / 11])
    second = np.mean([1, 2 / 7, 3 / 8, 4 / 9, 5 / 10, 6 / 11, 7 / 12])
    assert found["map"] == pytest.approx(100 * (first + second) / 2)
    assert (found["recall@1"], found["recall@5"], found["recall@10"]) == (50.0, 50.0, 100.0)


def test_chunks_of_queries_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)).astype(np.float32), rng.integers(0, 3, 40)
    whole = knn.neighbours_and_retrieval(x[:17], x[17:], y[:17], y[17:], 3)
    monkeypatch.setattr(knn, "QUERIES_AT_ONCE", 4)
    parts = knn.neighbours_and_retrieval(x[:17], x[17:], y[:17], y[17:], 3)
    assert np.array_equal(whole[0], parts[0]) and whole[1] == pytest.approx(parts[1])


def test_knn_agrees_with_scikit_learn(store: Path) -> None:
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler

    x = np.random.default_rng(0).normal(size=(18, 4)) * [1, 10, 0.1, 3] + 5
    given = with_features(store, x)
    train, test, labels = given.data.train, given.data.test, given.data.labels
    trial = knn.knn_trial(knn.KnnConfig(k=1, metric="euclidean"), given)
    scaled = StandardScaler().fit(x[train]).transform(x)
    expected = KNeighborsClassifier(1).fit(scaled[train], labels[train]).predict(scaled[test])
    assert trial.predicted is not None and trial.predicted.tolist() == expected.tolist()
    assert trial.metrics["top1"] == pytest.approx(100 * np.mean(expected == labels[test]))
    assert set(trial.metrics) == {"top1", "mean_class", "map", "recall@1", "recall@5", "recall@10"}
    assert trial.clips == [f"clip-{clip:02d}" for clip in test]
    raw = knn.knn_trial(knn.KnnConfig(metric="euclidean", standardise=False), given)
    expected = KNeighborsClassifier(1).fit(x[train], labels[train]).predict(x[test])
    assert raw.predicted is not None and raw.predicted.tolist() == expected.tolist()
    with pytest.raises(ConfigError, match="at most 12, the number of training clips, found 13"):
        knn.knn_trial(knn.KnnConfig(k=13), given)


def test_standardise() -> None:
    x = np.array([[1, 5, 7], [3, 5, 7.5], [9, 5, 8]], np.float32)
    found = standardise(x, x[:2])
    assert found == pytest.approx(np.array([[-1, 0, -1], [1, 0, 1], [7, 0, 3]]))
    assert found.dtype == np.float32


def test_logistic_agrees_with_scikit_learn(store: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x = np.random.default_rng(1).normal(size=(18, 6)).astype(np.float32)
    given = with_features(store, x)
    train, test, labels = given.data.train, given.data.test, given.data.labels
    trial = frozen.logistic_trial(LogisticConfig(C=0.5), given)
    scaler = StandardScaler().fit(x[train].astype(float))
    model = LogisticRegression(C=0.5, max_iter=2000).fit(scaler.transform(x[train].astype(float)), labels[train])
    assert trial.scores == pytest.approx(model.predict_log_proba(scaler.transform(x[test].astype(float))), abs=1e-4)
    expected = 100 * model.score(scaler.transform(x[test].astype(float)), labels[test])
    assert trial.metrics["top1"] == pytest.approx(expected) and not given.notes
    assert trial.scores is not None and trial.scores.shape == (6, 3)


def test_logistic_of_two_classes_has_a_score_for_each(tmp_path: Path) -> None:
    labels = [0, 0, 1, 1, 0, 1]
    path = make_store(tmp_path / "store", labels=labels, split=["train"] * 4 + ["test"] * 2)
    trial = frozen.logistic_trial(LogisticConfig(), with_features(path, np.array(labels)[:, None] + np.zeros((6, 2))))
    assert trial.scores is not None and trial.scores.shape == (2, 2) and trial.metrics["top1"] == 100


def test_logistic_chooses_its_penalty_on_whole_groups(store: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import sklearn.model_selection

    seen: list[Any] = []
    real = sklearn.model_selection.GroupKFold.split

    def split(self: Any, x: Any, y: Any = None, groups: Any = None) -> Any:
        seen.append(groups)
        return real(self, x, y, groups)

    monkeypatch.setattr(sklearn.model_selection.GroupKFold, "split", split)
    rng = np.random.default_rng(2)
    y = open_labelled(store).labels
    given = with_features(store, np.eye(3)[y] + rng.normal(size=(18, 3)) * 0.1)
    frozen.logistic_trial(LogisticConfig(C=None), given)
    assert len(given.notes) == 1 and "2 folds of whole groups of 'subject'" in given.notes[0]
    assert len(seen) == 1 and set(seen[0]) == {0, 1}  # subject 2 is in the test clips only
    other = make_store(tmp_path / "store", without=("subject",))
    given = with_features(other, given.x)
    frozen.logistic_trial(LogisticConfig(C=None), given)
    assert given.notes and "by 4 folds" in given.notes[0]


def test_logistic_says_that_it_did_not_converge(store: Path) -> None:
    given = with_features(store, np.random.default_rng(0).normal(size=(18, 8)))
    frozen.logistic_trial(LogisticConfig(C=100.0, max_iter=2), given)
    assert given.notes == ["Seed 0: the solver stopped at its 2 steps; raise max_iter."]


# ---- few shots


def test_novel_classes_by_name_number_and_range() -> None:
    names = ("sit down", "stand up", "wave", "e-mail", "kick")
    assert fewshot.novel_classes("wave, 0", names).tolist() == [0, 2]
    assert fewshot.novel_classes("1-3,e-mail", names).tolist() == [1, 2, 3]
    for wrong in ("wve,0", "0,5", "1-5", "a-b,0"):
        with pytest.raises(ConfigError, match="novel: no class"):
            fewshot.novel_classes(wrong, names)
    for few in ("wave", "", "3-1"):
        with pytest.raises(ConfigError, match="at least two classes"):
            fewshot.novel_classes(few, names)


def test_episode_by_hand(store: Path) -> None:
    draw = fewshot.Draw(
        np.array([0, 2]), [np.array([0]), np.array([1])], [np.array([2, 3]), np.array([4, 1])], np.arange(5)
    )
    x = np.array([[1, 0], [0, 1], [0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
    hits, drawn = fewshot.episode(x, draw, 1, None, np.random.default_rng(0))
    # Clip 3 is nearer to the other class; clip 1 is labelled and so is not asked.
    assert hits.tolist() == [True, False, True] and drawn.tolist() == [0, 1]


def test_centroids_are_means_of_the_shots() -> None:
    support = [np.array([0, 1]), np.array([2, 3])]
    draw = fewshot.Draw(np.array([0, 1]), support, [np.array([4]), np.array([5])], np.arange(6))
    x = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0.5, 0.5, 0.6], [0.6, 0.6, 0.5]], np.float32)
    hits, _ = fewshot.episode(x, draw, 2, None, np.random.default_rng(0))
    # (1, 1, 0) / sqrt 2 against (0, 0, 1): 0.707 > 0.6, and 0.849 > 0.5.
    assert hits.tolist() == [True, False]


def test_fewshot_takes_ways_and_shots(store: Path) -> None:
    labels = open_labelled(store).labels
    given = with_features(store, np.eye(3)[labels] + np.random.default_rng(0).normal(size=(18, 3)) * 1e-3)
    config = fewshot.FewShotConfig(shots=(1, 4), ways=2, episodes=20)
    trial = fewshot.fewshot_trial(config, given)
    assert trial.metrics == {"1-shot": 100.0, "4-shot": 100.0, "1-shot std": 0.0, "4-shot std": 0.0}
    noise = with_features(store, np.random.default_rng(3).normal(size=(18, 3)))
    two = fewshot.fewshot_trial(dataclasses.replace(config, episodes=300), noise).metrics
    three = fewshot.fewshot_trial(dataclasses.replace(config, ways=None, episodes=300), noise).metrics
    assert two["1-shot"] > three["1-shot"] + 5 and two["1-shot std"] > 5
    again = fewshot.fewshot_trial(dataclasses.replace(config, episodes=300), noise).metrics
    other = fewshot.fewshot_trial(dataclasses.replace(config, episodes=300), dataclasses.replace(noise, seed=1)).metrics
    assert again == two and other != two


def test_fewshot_draws_support_from_training_and_queries_from_test(store: Path) -> None:
    data = open_labelled(store)
    draw = fewshot.plan(fewshot.FewShotConfig(shots=(1,)), data)
    assert set(np.concatenate(draw.support)) == set(data.train) and set(np.concatenate(draw.queries)) == set(data.test)
    assert np.array_equal(draw.known, data.train)
    draw = fewshot.plan(fewshot.FewShotConfig(shots=(1, 5), novel="legs,0"), data)
    assert draw.classes.tolist() == [0, 2] and [len(clips) for clips in draw.support] == [6, 6]
    assert set(draw.known) == set(np.flatnonzero(data.labels == 1))  # what is known of the other classes only


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shots": (5,)}, "'left arm' has 4 clips to draw from, 5 shots need 5"),
        ({"shots": (6,), "novel": "0,1"}, "'left arm' has 6 clips to draw from, 6 shots need 7"),
        ({"shots": (1,), "ways": 4}, "at most 3"),
        ({"shots": (1,), "novel": "0-2"}, "all classes are novel"),
    ],
)
def test_fewshot_refuses_what_cannot_be_drawn(store: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fewshot.plan(fewshot.FewShotConfig(**changes), open_labelled(store))


@pytest.mark.parametrize("changes", [{"shots": ()}, {"shots": (0,)}, {"shots": (1, 1)}, {"episodes": 1}, {"ways": 1}])
def test_fewshot_refuses_senseless_settings(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        fewshot.FewShotConfig(**changes)


def test_interval_over_episodes() -> None:
    trials = [Trial(0, [], np.array([]), None, None, {"1-shot": 60.0, "1-shot std": 6.0})]
    trials += [Trial(1, [], np.array([]), None, None, {"1-shot": 70.0, "1-shot std": 8.0})]
    half = 1.96 * math.sqrt(50) / math.sqrt(2 * 100)
    assert fewshot.interval(trials, "1-shot", 100) == pytest.approx((65 - half, 65 + half), abs=1e-3)


# ---- clusters


def test_cluster_finds_classes_that_are_apart(store: Path) -> None:
    labels = open_labelled(store).labels
    given = with_features(store, np.eye(3)[labels] + np.random.default_rng(0).normal(size=(18, 3)) * 1e-3)
    for clips in ("test", "all"):
        trial = cluster.cluster_trial(cluster.ClusterConfig(clips=clips), given)  # type: ignore[arg-type]
        assert trial.metrics == {"nmi": pytest.approx(100), "ari": pytest.approx(100)} and trial.predicted is None


def test_cluster_by_hand(tmp_path: Path) -> None:
    # Clusters {a, a, b, b} and {b, b} of labels a, a, b, b, b, b.
    labels = [0, 0, 1, 1, 1, 1, 0, 1]
    path = make_store(tmp_path / "store", labels=labels, split=["test"] * 6 + ["train"] * 2)
    given = with_features(path, [[0.0], [0.1], [0.05], [0.02], [9.0], [9.1], [-500.0], [700.0]])
    found = cluster.cluster_trial(cluster.ClusterConfig(), given).metrics
    # Pairs: 15 in all, 7 of one class, 7 of one cluster, 3 of both.
    assert found["ari"] == pytest.approx(100 * (3 - 49 / 15) / (7 - 49 / 15))
    entropy = -(2 / 6 * math.log(2 / 6) + 4 / 6 * math.log(4 / 6))
    shared = 2 / 6 * math.log((2 / 6) / (2 / 6 * 4 / 6)) + 2 / 6 * math.log((2 / 6) / (4 / 6 * 4 / 6))
    shared += 2 / 6 * math.log((2 / 6) / (4 / 6 * 2 / 6))
    assert found["nmi"] == pytest.approx(100 * shared / entropy)


# ---- features


def all_recordings(store: Path) -> list[Any]:
    return list(ClipStore(store).recordings())


def test_features_are_those_of_encode(store: Path, weights: Path, tmp_path: Path) -> None:
    job = make_job(store, weights, tmp_path / "run", CONFIG)
    found = extract(job, 0)
    encoder = MAMPEncoder.from_pretrained(weights)
    assert found is not None and found.shape == (18, 16)
    assert np.array_equal(found, encoder.encode(all_recordings(store), batch_size=4))
    assert found[7] == pytest.approx(encoder.encode(all_recordings(store)[7]), abs=1e-6)
    assert found.std(axis=0).min() > 1e-4


def test_other_pools(store: Path, weights: Path, tmp_path: Path) -> None:
    job = make_job(store, weights, tmp_path / "run", CONFIG)
    encoder, recordings = MAMPEncoder.from_pretrained(weights), all_recordings(store)
    joint = extract(job, 0, "joint")
    assert joint is not None and joint.shape == (18, 25 * 16)
    assert joint[3].reshape(25, 16) == pytest.approx(encoder.encode(recordings[3], pool="joint"), abs=1e-6)
    both, tokens = extract(job, 0, "clip+std"), encoder.encode(recordings[3], pool="tokens").reshape(-1, 16)
    assert both is not None and both.shape == (18, 32)
    assert both[3] == pytest.approx(np.concatenate([tokens.mean(axis=0), tokens.std(axis=0)]), abs=1e-6)


def test_poses_need_no_encoder(store: Path, tmp_path: Path) -> None:
    found = extract(make_job(store, "poses", tmp_path / "run", CONFIG), 0)
    expected = load_representation("poses").config.preprocessing
    clip = prepare_clip(all_recordings(store)[5], expected, 30)[0]
    assert found is not None and np.array_equal(found[5], clip[0].ravel()) and found.shape == (18, 30 * 75)


def test_features_are_extracted_once(store: Path, weights: Path, tmp_path: Path, monkeypatch: Any) -> None:
    job = make_job(store, weights, tmp_path / "run", CONFIG)
    first = extract(job, 0)
    assert first is not None
    counted = count_encodings(monkeypatch)
    # Another output beside it, and weights that are the same by another name.
    copy = make_weights(tmp_path / "copy")
    for again in (
        make_job(store, weights, tmp_path / "other", CONFIG),
        make_job(store, copy, tmp_path / "run", CONFIG),
    ):
        found = extract(again, 0)
        assert found is not None and np.array_equal(found, first) and not counted
    # Anything else is extracted anew: weights, what they expect, clips, pool, folder.
    others = [
        (make_job(store, make_weights(tmp_path / "w1", seed=1), tmp_path / "run", CONFIG), "clip"),
        (make_job(make_store(tmp_path / "s1", seed=1), weights, tmp_path / "run", CONFIG), "clip"),
        (make_job(store, weights, tmp_path / "run", CONFIG), "joint"),
        (make_job(store, weights, tmp_path / "run", CONFIG, cache=tmp_path / "cache"), "clip"),
        (make_job(store, change_crop(weights, tmp_path / "w2"), tmp_path / "run", CONFIG), "clip"),
    ]
    for other, pool in others:
        counted.clear()
        found = extract(other, 0, pool)  # type: ignore[arg-type]
        assert sum(counted) == 18 and found is not None
        assert pool != "clip" or other.cache or not np.array_equal(found, first)


def change_crop(weights: Path, path: Path) -> Path:
    """The same weights that expect something else."""
    encoder = MAMPEncoder.from_pretrained(weights)
    other = MAMPEncoder(tiny(preprocessing=dataclasses.replace(encoder.config.preprocessing, crop=0.5)))
    other.load_state_dict(encoder.state_dict())
    other.save_pretrained(path)
    return path


def test_stopped_extraction_goes_on(store: Path, weights: Path, tmp_path: Path, monkeypatch: Any) -> None:
    job = make_job(store, weights, tmp_path / "run", CONFIG)
    counted = count_encodings(monkeypatch)
    real = features._features

    def stop_at_third(source: Any, clips: Any, some: Any, pool: Any) -> Any:
        if some[0] == 16:
            raise KeyboardInterrupt
        return real(source, clips, some, pool)

    with monkeypatch.context() as patch:
        patch.setattr(features, "_features", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            extract(job, 0)
    assert sum(counted) == 16 and not list((tmp_path / "features").glob("*.npy"))
    found = extract(job, 0)
    assert sum(counted) == 18
    undisturbed = extract(make_job(store, weights, tmp_path / "run", CONFIG, cache=tmp_path / "fresh"), 0)
    assert found is not None and undisturbed is not None and np.array_equal(found, undisturbed)
    assert sorted(path.suffix for path in (tmp_path / "features").iterdir()) == [".json", ".npy"]  # no parts


def test_damaged_features_are_extracted_again(
    store: Path, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job(store, weights, tmp_path / "run", CONFIG)
    first = extract(job, 0)
    (path,) = (tmp_path / "features").glob("*.npy")
    whole = path.read_bytes()
    for damage in (whole[:-100], b"", b"garbage"):
        path.write_bytes(damage)
        again = extract(job, 0)
        assert first is not None and again is not None and np.array_equal(first, again)
        assert path.read_bytes() == whole
    assert "damaged" in caplog.text
    np.save(path, np.zeros((3, 16), np.float32))
    again = extract(job, 0)
    assert again is not None and np.array_equal(first, again)


def test_features_that_are_not_finite(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mamp.hub.tensors.LARGEST_VALUE", 4e38)  # weights that would be refused
    torch.manual_seed(0)
    encoder = MAMPEncoder(tiny())
    with torch.no_grad():
        encoder.norm.weight.fill_(3e38)
    encoder.save_pretrained(tmp_path / "weights")
    with pytest.raises(RecordingError, match="clip-00: expected finite features"):
        extract(make_job(store, tmp_path / "weights", tmp_path / "run", CONFIG), 0)


def test_no_room_for_features(store: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the features here"):
        extract(make_job(store, weights, tmp_path / "run", CONFIG, cache=tmp_path / "file"), 0)


# ---- trials


def test_one_trial_stands_for_all_where_nothing_is_drawn(store: Path, weights: Path, tmp_path: Path) -> None:
    config = knn.KnnConfig()
    found = knn.run_knn(make_job(store, weights, tmp_path / "a", config, seeds=(3, 4)))
    assert [trial.seed for trial in found.trials] == [3] and frozen.NO_SEED in found.notes
    fresh = knn.run_knn(
        make_job(store, "untrained", tmp_path / "b", config, seeds=(3, 4), encoder_overrides=small_encoder())
    )
    assert [trial.seed for trial in fresh.trials] == [3, 4] and frozen.NO_SEED not in fresh.notes
    assert fresh.trials[0].metrics != fresh.trials[1].metrics
    drawn = fewshot.run_fewshot(
        make_job(store, weights, tmp_path / "c", fewshot.FewShotConfig(shots=(1,), episodes=5), seeds=(3, 4))
    )
    assert [trial.seed for trial in drawn.trials] == [3, 4] and drawn.interval_over == "episodes"


def small_encoder() -> dict[str, Any]:
    return {"dim_feat": 16, "depth": 1, "num_heads": 2, "num_frames": 16}


def test_finished_trials_are_not_done_again(store: Path, weights: Path, tmp_path: Path, monkeypatch: Any) -> None:
    config = fewshot.FewShotConfig(shots=(1, 2), episodes=10)
    first = fewshot.run_fewshot(make_job(store, weights, tmp_path / "run", config, seeds=(0, 1)))
    done: list[int] = []
    real = fewshot.fewshot_trial
    monkeypatch.setattr(fewshot, "fewshot_trial", lambda config, given: done.append(given.seed) or real(config, given))
    again = fewshot.run_fewshot(make_job(store, weights, tmp_path / "run", config, seeds=(0, 1, 2)))
    assert done == [2]
    for a, b in zip(again.trials[:2], first.trials, strict=True):
        assert (a.seed, a.clips, a.metrics, a.intervals) == (b.seed, b.clips, b.metrics, b.intervals)
        assert np.array_equal(a.labels, b.labels)
    path = tmp_path / "run" / "seed=1" / "trial.npz"
    path.write_bytes(path.read_bytes()[:50])
    fewshot.run_fewshot(make_job(store, weights, tmp_path / "run", config, seeds=(0, 1, 2)))
    assert done == [2, 1]


def test_a_trial_is_read_back_as_it_was(store: Path, weights: Path, tmp_path: Path) -> None:
    job = make_job(store, weights, tmp_path / "run", LogisticConfig(max_iter=2))
    first, again = frozen.run_logistic(job), frozen.run_logistic(job)
    a, b = first.trials[0], again.trials[0]
    assert (a.seed, a.clips, a.metrics, first.notes) == (b.seed, b.clips, b.metrics, again.notes)
    assert np.array_equal(a.scores, b.scores) and b.predicted is None and np.array_equal(a.labels, b.labels)  # type: ignore[arg-type]


def test_scikit_learn_is_an_extra(store: Path, weights: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    for run, config in ((frozen.run_logistic, LogisticConfig()), (cluster.run_cluster, cluster.ClusterConfig())):
        with pytest.raises(MissingExtraError, match=r"pip install 'mamp\[evaluate\]'"):
            run(make_job(store, weights, tmp_path / "run", config))
    assert knn.run_knn(make_job(store, weights, tmp_path / "run", knn.KnnConfig())).trials


# ---- data and weights


def test_labelled_clips(tmp_path: Path) -> None:
    split = ["train", "train", "test", "test", "none", "train"]
    data = open_labelled(make_store(tmp_path / "store", labels=[2, 0, 2, 0, 1, 0], split=split))
    assert data.labels.tolist() == [1, 0, 1, 0, -1, 0] and data.classes == ("left arm", "legs")
    assert data.train.tolist() == [0, 1, 5] and data.test.tolist() == [2, 3] and data.protocol is None
    facts = data.describe()
    assert (facts["name"], facts["train_clips"], facts["test_clips"]) == ("swings", 3, 2)
    assert facts["sha256"] == ClipStore(tmp_path / "store").info["sha256"] and str(tmp_path) not in str(facts)


def test_labels_may_be_names_or_numbers_without_names(tmp_path: Path) -> None:
    named = make_store(tmp_path / "a", labels=["b", "a", "b", "a"], split=["train", "train", "test", "test"])
    assert open_labelled(named).classes == ("a", "b") and open_labelled(named).labels.tolist() == [1, 0, 1, 0]
    far = make_store(tmp_path / "b", labels=[7, 9, 7, 9], split=["train", "train", "test", "test"])
    assert open_labelled(far).classes == ("7", "9")


def test_splits_of_a_set_with_several(tmp_path: Path) -> None:
    labels, here, there = [0, 1, 0, 1], ["train", "train", "test", "test"], ["test", "test", "train", "train"]
    path = make_store(tmp_path / "a", labels=labels, without=("split",), split_xsub=here, split_xview=there)
    assert open_labelled(path, "xview").train.tolist() == [2, 3] and open_labelled(path, "xview").protocol == "xview"
    with pytest.raises(DataError, match="choose one of its protocols: xsub, xview"):
        open_labelled(path)
    with pytest.raises(DataError, match="no split of the name 'xset'; choose one of its protocols: xsub, xview"):
        open_labelled(path, "xset")
    one = make_store(tmp_path / "b", labels=labels, without=("split",), split_xsub=here)
    assert open_labelled(one).protocol == "xsub" and open_labelled(one).train.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"without": ("label",)}, "expected a column 'label'"),
        ({"without": ("split",)}, "not divided into training and test clips"),
        ({"labels": [1, 1, 1], "split": ["train", "test", "test"]}, "at least two classes, found only 'right arm'"),
        ({"labels": [0, 1, 2], "split": ["train", "train", "test"]}, "needs training clips; none for 'legs'"),
        ({"labels": [0, -1, 0], "split": ["train", "train", "test"]}, "1 clips have no label, clip-01"),
        ({"labels": [0.5, 1.0, 0.5], "split": ["train", "train", "test"]}, "whole numbers or names"),
        ({"labels": [0, 1], "split": ["train", "train"]}, "no clip of the split 'test'"),
        ({"layout": "kinect20"}, "the weights expect the layout ntu25, the clips have kinect20"),
    ],
)
def test_data_that_cannot_be_evaluated_on(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = make_store(tmp_path / "store", **changes)
    with pytest.raises(DataError, match=message):
        open_labelled(path)


def test_fresh_weights_are_those_of_the_seed() -> None:
    first, again, other = (load_representation("untrained:openmocap", seed, small_encoder()) for seed in (1, 1, 2))
    assert first.encoder is not None and again.encoder is not None and other.encoder is not None
    a, b, c = (source.encoder.state_dict()["pos_embed"] for source in (first, again, other))  # type: ignore[union-attr]
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert first.describe() == other.describe() and first.kind == "untrained" and first.fingerprint is None
    config = MAMPEncoder.from_pretrained().config
    assert first.config == config.without_readout().replace(**small_encoder()) and not first.encoder.training


def test_weights_of_a_name_that_are_not_here_have_an_architecture() -> None:
    source = load_representation("untrained:ntu60", 0, {"depth": 1})
    assert source.config.preprocessing.max_people == 2 and source.config.depth == 1


def test_overrides_are_for_fresh_weights(weights: Path) -> None:
    with pytest.raises(ConfigError, match="only random weights"):
        load_representation(str(weights), 0, {"depth": 2})
    with pytest.raises(ConfigError, match="unknown field 'dept'"):
        load_representation("untrained", 0, {"dept": 2})


def test_names_of_weights_tell_no_folder_of_this_machine(weights: Path) -> None:
    assert load_representation(str(weights)).describe()["name"] == f"{weights.parent.name}/tiny"
    assert label_of("/home/me/runs/target=motion/seed=0/encoder") == "target=motion/seed=0"
    assert label_of("runs/a") == "runs/a" and label_of("openmocap") == "openmocap"


def test_features_of_a_store_with_the_sums_of_another(
    store: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A noisy copy that states the sums of the original has features, and results, of its own."""
    other = shutil.copytree(store, tmp_path / "noisy")
    noise = np.random.default_rng(0).normal(size=(other / "positions.bin").stat().st_size // 4).astype(np.float32)
    (other / "positions.bin").write_bytes(noise.tobytes())
    counted = count_encodings(monkeypatch)
    cache = tmp_path / "features"
    found = []
    for path in (store, other, store):
        job = make_job(path, weights, tmp_path / path.name, CONFIG, cache=cache)
        found.append(extract(job, 0))
    assert ClipStore(store).info["sha256"] == ClipStore(other).info["sha256"]
    assert sum(counted) == 2 * len(ClipStore(store)) and len(list(cache.glob("*.npy"))) == 2
    assert np.array_equal(found[0], found[2]) and not np.allclose(found[0], found[1])
    sums = [make_job(path, weights, tmp_path / "x", CONFIG).data.describe()["sha256"] for path in (store, other)]
    assert sums[0] != sums[1]
