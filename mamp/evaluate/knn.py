"""``knn``: the class of the nearest training clips, and retrieval of training clips of the same class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ConfigError
from mamp.evaluate.data import IntArray
from mamp.evaluate.features import FloatArray
from mamp.evaluate.frozen import Features, FrozenConfig, make_trial, run_frozen, standardise
from mamp.evaluate.predictions import Trial
from mamp.evaluate.protocol import Job, Protocol
from mamp.evaluate.result import Result
from mamp.evaluate.scores import classification_metrics

Metric = Literal["cosine", "euclidean"]
RECALLS = (1, 5, 10)
QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class KnnConfig(FrozenConfig):
    """Settings of ``knn``.

    Attributes:
        k: Neighbours that vote; a tie goes to the class of the nearer neighbour.
        metric: cosine or euclidean; also used for retrieval.
        standardise: Standardise the features by the training clips.
    """

    k: int = 1
    metric: Metric = "cosine"
    standardise: bool = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"k: expected at least 1, found {self.k}.")


def similarity(queries: FloatArray, gallery: FloatArray, metric: Metric) -> NDArray[np.float64]:
    """Similarity [n, m] of queries [n, D] and a gallery [m, D]; larger is nearer."""
    a, b = queries.astype(np.float64), gallery.astype(np.float64)
    if metric == "cosine":
        a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12) for rows in (a, b))
        return a @ b.T
    return 2 * a @ b.T - (a**2).sum(axis=1)[:, None] - (b**2).sum(axis=1)


def vote(neighbours: IntArray, num_classes: int) -> IntArray:
    """Most frequent class [n] of the neighbours [n, k], nearest first; a tie goes to the nearer neighbour."""
    votes = np.zeros((len(neighbours), num_classes))
    rows = np.arange(len(neighbours))
    for rank, classes in enumerate(neighbours.T):
        votes[rows, classes] += 1 + 0.5 ** (rank + 1)  # the bonus weighs less than a vote, and more than all later ones
    return votes.argmax(axis=1)


def average_precision(relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Average precision [n] of rankings, nearest first; ``relevant`` [n, m] marks the query's class."""
    found = relevant.cumsum(axis=1)
    precision = found / np.arange(1, relevant.shape[1] + 1)
    return np.asarray((precision * relevant).sum(axis=1) / found[:, -1])


def neighbours_and_retrieval(
    queries: FloatArray,
    gallery: FloatArray,
    query_labels: IntArray,
    gallery_labels: IntArray,
    k: int = 1,
    metric: Metric = "cosine",
) -> tuple[IntArray, dict[str, float]]:
    """Rank the gallery for each query.

    Args:
        queries: [n, D] features.
        gallery: [m, D] features.
        query_labels: [n] classes, each of which is in the gallery.
        gallery_labels: [m] classes.
        k: Number of neighbours to return.
        metric: Measure of similarity.

    Returns:
        Classes [n, k] of the neighbours, nearest first; and in per cent ``map`` (mean average precision over the whole
        ranking), ``recall@1``, ``recall@5`` and ``recall@10`` (queries with a match among the first).
    """
    nearest, precision, hits = [], [], []
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        some = slice(first, first + QUERIES_AT_ONCE)
        order = np.argsort(-similarity(queries[some], gallery, metric), axis=1, kind="stable")
        ranked = gallery_labels[order]
        relevant = ranked == query_labels[some, None]
        nearest.append(ranked[:, :k])
        precision.append(average_precision(relevant))
        hits.append(np.stack([relevant[:, :count].any(axis=1) for count in RECALLS], axis=1))
    recalls = np.concatenate(hits).mean(axis=0)
    metrics = {"map": 100 * float(np.concatenate(precision).mean())}
    metrics |= {f"recall@{count}": 100 * float(value) for count, value in zip(RECALLS, recalls, strict=True)}
    return np.concatenate(nearest), metrics


def knn_trial(config: KnnConfig, features: Features) -> Trial:
    """Classify and retrieve: test clips are the queries, training clips the gallery."""
    data, x = features.data, features.x
    if config.k > len(data.train):
        raise ConfigError(f"k: expected at most {len(data.train)}, the number of training clips, found {config.k}.")
    if config.standardise:
        x = standardise(x, x[data.train])
    labels = data.labels[data.test]
    nearest, retrieval = neighbours_and_retrieval(
        x[data.test], x[data.train], labels, data.labels[data.train], config.k, config.metric
    )
    predicted = vote(nearest, data.num_classes)
    return make_trial(features, classification_metrics(labels, predicted, data.num_classes) | retrieval, predicted)


def run_knn(job: Job) -> Result:
    """Run ``knn``."""
    by = "standardised by the training clips" if job.config.standardise else "not standardised"
    notes = (
        f"Features are {by}; similarity is {job.config.metric}. Retrieval: test clips are the queries, training clips "
        "the gallery; recall@k is the share of test clips with a clip of their class among the first k.",
    )
    return run_frozen(job, "top1", lambda features: knn_trial(job.config, features), notes)


PROTOCOL = Protocol(
    name="knn",
    description="The class of the nearest training clip (or of the k nearest), and retrieval: mean average precision "
    "and recall@1, 5, 10.",
    source="The paper's retrieval protocol, one nearest neighbour by cosine; k, other metrics and retrieval measures "
    "are added.",
    config=KnnConfig(),
    run=run_knn,
    poses=True,
)
