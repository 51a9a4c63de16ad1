"""``ensemble``: several encoders, such as those of joints, bones and motion, fused by their scores or features."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ConfigError
from mamp.evaluate.data import Labelled
from mamp.evaluate.features import FloatArray, extract
from mamp.evaluate.frozen import NO_SEED, FrozenConfig, folds_of, need_sklearn
from mamp.evaluate.page import show
from mamp.evaluate.predictions import Trial
from mamp.evaluate.protocol import Job, Protocol
from mamp.evaluate.representation import Representation
from mamp.evaluate.result import Result
from mamp.evaluate.scores import bootstrap_difference, bootstrap_interval, classification_metrics

Array = NDArray[np.float64]

STEPS = 10  # weights are tenths
FLOOR = -30.0  # log probability of a class that a fold has no example of


@dataclass(frozen=True)
class EnsembleConfig(FrozenConfig):
    """Settings of ``ensemble``.

    Attributes:
        others: The other encoders, as for ``weights``.
        C: Inverse strength of the L2 penalty of logistic regression.
        group: Column of the store whose groups are not split between folds, if the store has it.
        max_iter: Largest number of steps of the solver.
    """

    others: tuple[str, ...] = ()
    C: float = 0.1
    group: str = "subject"
    max_iter: int = 2000

    def __post_init__(self) -> None:
        if not self.C > 0 or self.max_iter < 1:
            raise ConfigError(f"C, max_iter: expected numbers above zero, found {self.C:g} and {self.max_iter}.")


class Streams:
    """The features of several encoders, and the scores of a classifier on each.

    Args:
        features: Of each encoder, [N, D] for all clips of the store.
        data: Labels and split.
        config: The classifier.
        seed: Of the folds.
    """

    def __init__(self, features: Sequence[FloatArray], data: Labelled, config: EnsembleConfig, seed: int = 0) -> None:
        self.features, self.data, self.config = [one.astype(np.float64) for one in features], data, config
        self.labels = data.labels[data.train]
        folds, self.how = folds_of(data, config.group, seed)
        self.folds = list(folds)
        self.test = [self.scores(x, data.train, data.test) for x in self.features]
        self.held_out = [self._held_out(x) for x in self.features]

    def scores(self, x: Array, train: NDArray[Any], test: NDArray[Any]) -> Array:
        """Log probabilities [n, K] of the clips ``test``, of a classifier fitted to the clips ``train``."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        model = make_pipeline(StandardScaler(), LogisticRegression(C=self.config.C, max_iter=self.config.max_iter))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x[train], self.data.labels[train])
        scores = np.full((len(test), self.data.num_classes), FLOOR)
        scores[:, model.classes_] = model.predict_log_proba(x[test]).clip(FLOOR)
        return scores

    def _held_out(self, x: Array) -> Array:
        """Scores [n, K] of the training clips, each by a classifier that was fitted without its fold."""
        scores = np.empty((len(self.data.train), self.data.num_classes))
        for rest, fold in self.folds:
            scores[fold] = self.scores(x, self.data.train[rest], self.data.train[fold])
        return scores

    def weights(self, streams: Sequence[int]) -> tuple[float, ...]:
        """The weights, tenths that sum to one, that do best on held-out folds of the training clips.

        Of several, those nearest to equal ones.
        """
        grid = [w for w in itertools.product(range(STEPS + 1), repeat=len(streams)) if sum(w) == STEPS]
        chosen = [self.held_out[stream] for stream in streams]

        def quality(weights: tuple[int, ...]) -> tuple[int, float]:
            hits = fuse(chosen, weights).argmax(axis=1) == self.labels
            return int(hits.sum()), -float(np.square(weights).sum())

        return tuple(part / STEPS for part in max(grid, key=quality))

    def joined(self, streams: Sequence[int]) -> Array:
        """Scores [n, K] of the test clips, of one classifier on the features of some streams side by side."""
        x = np.concatenate([self.features[stream] for stream in streams], axis=1)
        return self.scores(x, self.data.train, self.data.test)


def fuse(scores: Sequence[Array], weights: Sequence[float]) -> Array:
    """Weighted sum of scores [n, K]."""
    return np.asarray(sum(weight * one for weight, one in zip(weights, scores, strict=True)))


def run_ensemble(job: Job) -> Result:
    """Run ``ensemble``."""
    need_sklearn()
    config, data, seed = job.config, job.data, job.seeds[0]
    if not config.others:
        raise ConfigError("others: expected the other encoders to fuse, found none. Name one or more.")
    jobs = [job, *(replace(job, weights=other, opened=None) for other in config.others)]
    sources = [one.representation(seed) for one in jobs]
    for source in sources[1:]:
        if source.config.preprocessing.layout != data.store.layout.name:
            raise ConfigError(
                f"others: {source.name} expects the layout {source.config.preprocessing.layout}, the clips have "
                f"{data.store.layout.name}."
            )
    found = [extract(replace(one, opened=source), seed, config.pool) for one, source in zip(jobs, sources, strict=True)]
    names = stream_names(sources)
    features = [x for x in found if x is not None]
    if len(features) < len(jobs):  # the main process alone works on
        return job.result("top1", sources[0], [], [])
    streams = Streams(features, data, config, seed)
    rows, notes = [["streams", "fusion", "weights", "top1", "to the first"]], []
    first = right(streams.test[0], data)
    everything = tuple(range(len(names)))
    metrics: dict[str, float] = {}
    final = streams.test[0]
    groups = [group for size in range(1, len(names) + 1) for group in itertools.combinations(everything, size)]
    for group in groups:
        label = " + ".join(names[stream] for stream in group)
        for fusion, scores, weights in _fusions(streams, group):
            hits = right(scores, data)
            rows.append([label, fusion, weights, _with_interval(hits), _difference(hits, first, group)])
            metrics[f"{label}: {fusion}"] = 100 * float(hits.mean())
            if group == everything and fusion == "scores, chosen":
                final = scores
    notes.append(
        "top1 is that of all streams, scores fused. Scores are log probabilities of logistic regression on "
        f"standardised features; their weights were chosen on {streams.how} of the training clips."
    )
    notes += [NO_SEED] if len(job.seeds) > 1 else []
    metrics = {**classification_metrics(data.labels[data.test], final, data.num_classes), **metrics}
    trial = Trial(seed, data.names(data.test), data.labels[data.test], None, final.astype(np.float32), metrics)
    result = job.result("top1", sources[0], [trial], notes, streams=[source.describe() for source in sources])
    result.tables = {"Streams": rows}
    return result


def _fusions(streams: Streams, group: tuple[int, ...]) -> list[tuple[str, Array, str]]:
    """Name, scores and weights of each way to fuse some streams."""
    if len(group) == 1:
        return [("none", streams.test[group[0]], "")]
    chosen = [streams.test[stream] for stream in group]
    weights = streams.weights(group)
    return [
        ("scores, equal", fuse(chosen, [1 / len(group)] * len(group)), ""),
        ("scores, chosen", fuse(chosen, weights), " ".join(f"{weight:g}" for weight in weights)),
        ("features", streams.joined(group), ""),
    ]


def stream_names(sources: Sequence[Representation]) -> list[str]:
    """What each encoder sees, or its name where two see the same."""
    names = [source.config.preprocessing.stream for source in sources]
    return [source.name if names.count(name) > 1 else name for name, source in zip(names, sources, strict=True)]


def right(scores: Array, data: Labelled) -> Array:
    """Whether each test clip [n] is classified correctly."""
    return (scores.argmax(axis=1) == data.labels[data.test]).astype(np.float64)


def _with_interval(hits: Array) -> str:
    low, high = bootstrap_interval(hits)
    return f"{show(100 * float(hits.mean()))} [{show(low)}, {show(high)}]"


def _difference(hits: Array, first: Array, group: tuple[int, ...]) -> str:
    if group == (0,):
        return ""
    mean, (low, high) = bootstrap_difference(hits, first)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


PROTOCOL = Protocol(
    name="ensemble",
    description="Several encoders, such as those of joints, bones and motion, fused by their scores and by features.",
    source="The two- and three-stream rows of the field; here the weights are chosen on training folds.",
    config=EnsembleConfig(),
    run=run_ensemble,
)
