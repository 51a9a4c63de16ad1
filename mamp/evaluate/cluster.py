"""``cluster``: how well k-means finds the classes without labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mamp.errors import ConfigError
from mamp.evaluate.frozen import Features, FrozenConfig, make_trial, need_sklearn, run_frozen, standardise
from mamp.evaluate.predictions import Trial
from mamp.evaluate.protocol import Job, Protocol
from mamp.evaluate.result import Result


@dataclass(frozen=True)
class ClusterConfig(FrozenConfig):
    """Settings of ``cluster``.

    Attributes:
        clips: Clips to cluster: test clips, or all clips of both splits.
        inits: Random starts of k-means; the best one is used.
        standardise: Standardise the features by the clips to cluster.
    """

    clips: Literal["test", "all"] = "test"
    inits: int = 10
    standardise: bool = True

    def __post_init__(self) -> None:
        if self.inits < 1:
            raise ConfigError(f"inits: expected at least 1, found {self.inits}.")


def cluster_trial(config: ClusterConfig, features: Features) -> Trial:
    """Cluster the clips by k-means into as many clusters as they have classes, and compare the two."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    data = features.data
    clips = data.test if config.clips == "test" else np.union1d(data.train, data.test)
    x, labels = features.x[clips], data.labels[clips]
    if config.standardise:
        x = standardise(x, x)
    classes = len(np.unique(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different clips than classes
        found = KMeans(classes, n_init=config.inits, random_state=features.seed).fit_predict(x)
    metrics = {
        "nmi": 100 * float(normalized_mutual_info_score(labels, found)),
        "ari": 100 * float(adjusted_rand_score(labels, found)),
    }
    return make_trial(features, metrics)


def run_cluster(job: Job) -> Result:
    """Run ``cluster``."""
    need_sklearn()
    what = "the test clips" if job.config.clips == "test" else "the clips of both splits"
    features = "standardised features" if job.config.standardise else "features"
    note = (
        f"k-means on {features} of {what}, with as many clusters as they have classes. nmi is normalised mutual "
        "information, ari the adjusted Rand index. Labels are only used to count the classes."
    )
    return run_frozen(job, "nmi", lambda features: cluster_trial(job.config, features), (note,), seeded=True)


PROTOCOL = Protocol(
    name="cluster",
    description="k-means with as many clusters as classes, without labels: normalised mutual information and adjusted "
    "Rand index.",
    source="Added here: k-means and measures of scikit-learn.",
    config=ClusterConfig(),
    run=run_cluster,
    poses=True,
)
