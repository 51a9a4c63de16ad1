"""What protocols on frozen features share, and ``logistic``: logistic regression on features extracted once."""

from __future__ import annotations

import json
import logging
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ConfigError, MissingExtraError
from mamp.evaluate.data import IntArray, Labelled
from mamp.evaluate.features import FeaturePool, FloatArray, extract
from mamp.evaluate.predictions import Trial
from mamp.evaluate.protocol import Job, Protocol
from mamp.evaluate.result import Result
from mamp.evaluate.scores import classification_metrics
from mamp.outputs import written_whole

logger = logging.getLogger(__name__)

GRID = (0.001, 0.01, 0.1, 1.0, 10.0)
FOLDS = 5
NO_SEED = "Nothing here depends on the seed, so there is only one trial."


@dataclass(frozen=True)
class FrozenConfig:
    """What all protocols on frozen features have in common.

    Attributes:
        pool: What represents a clip: clip (the embedding that encode returns), clip+std (mean and standard deviation of
            the tokens), or joint (the mean of each joint).
    """

    pool: FeaturePool = "clip"


@dataclass
class Features:
    """What a trial on frozen features is given.

    Attributes:
        x: [N, D] features of every clip of the store.
        data: Labels and split.
        seed: Seed of the trial.
        notes: Takes what the reader should know of the trial.
    """

    x: FloatArray
    data: Labelled
    seed: int
    notes: list[str]


def run_frozen(
    job: Job,
    headline: str,
    trial: Callable[[Features], Trial],
    notes: tuple[str, ...] = (),
    seeded: bool = False,
) -> Result:
    """Extract the features of each trial, and run the trials that are not finished.

    Args:
        job: The evaluation; its configuration has the field ``pool``.
        headline: Metric that counts.
        trial: One trial, from its features.
        notes: What a reader should know.
        seeded: Whether the trial draws random numbers. If not, and the weights are not fresh, there is one trial.
    """
    source = job.representation(job.seeds[0])
    fresh = source.kind == "untrained"
    seeds = job.seeds if fresh or seeded else job.seeds[:1]
    found = list(notes) + ([] if len(seeds) == len(job.seeds) else [NO_SEED])
    features = {seed: extract(job, seed, job.config.pool) for seed in (seeds if fresh else seeds[:1])}
    trials = []
    # From here on the main process works alone; the others have nothing to wait for.
    for seed in seeds if job.world.is_main else ():
        x = features[seed if fresh else seeds[0]]
        assert x is not None
        path = job.output / f"seed={seed}" / "trial.npz"
        done = read_trial(path)
        if done is None:
            new: list[str] = []
            done = trial(Features(x, job.data, seed, new)), new
            write_trial(path, *done)
        trials.append(done[0])
        found += [note for note in done[1] if note not in found]
    return job.result(headline, source, trials, found)


def make_trial(
    features: Features,
    metrics: dict[str, float],
    predicted: IntArray | None = None,
    scores: NDArray[Any] | None = None,
) -> Trial:
    """A trial over the test clips."""
    data = features.data
    return Trial(features.seed, data.names(data.test), data.labels[data.test], predicted, scores, metrics)


def standardise(x: FloatArray, by: FloatArray) -> FloatArray:
    """Subtract the mean of ``by`` [n, D] and divide by its standard deviation; columns that are constant stay so."""
    mean, deviation = by.mean(axis=0, dtype=np.float64), by.std(axis=0, dtype=np.float64)
    constant = deviation <= 1e-6 * np.abs(mean) + 1e-12
    return ((x - mean) / np.where(constant, 1, deviation)).astype(np.float32)


def need_sklearn() -> None:
    """Raise unless scikit-learn can be imported."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "this protocol needs scikit-learn, which is not installed: pip install 'mamp[evaluate]'"
        ) from None


def write_trial(path: Path, trial: Trial, notes: list[str]) -> None:
    """Write a trial that is done, and its notes."""
    arrays = {name: getattr(trial, name) for name in ("labels", "predicted", "scores", "values")}
    facts = {"seed": trial.seed, "metrics": trial.metrics, "intervals": trial.intervals, "notes": notes}
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as file:
        np.savez(
            file,
            facts=np.array(json.dumps(facts)),
            clips=np.array(trial.clips),
            **{name: value for name, value in arrays.items() if value is not None},
        )


def read_trial(path: Path) -> tuple[Trial, list[str]] | None:
    """A trial that is done, and its notes."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = dict(arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("%s: damaged (%s); doing the trial again.", path, error)
        return None
    facts = json.loads(str(found.pop("facts")))
    clips = [str(name) for name in found.pop("clips")]
    kept = {name: found.get(name) for name in ("labels", "predicted", "scores", "values")}
    intervals = {name: (low, high) for name, (low, high) in facts["intervals"].items()}
    trial = Trial(facts["seed"], clips, metrics=facts["metrics"], intervals=intervals, **kept)  # type: ignore[arg-type]
    return trial, facts["notes"]


@dataclass(frozen=True)
class LogisticConfig(FrozenConfig):
    """Settings of ``logistic``.

    Attributes:
        C: Inverse strength of the L2 penalty. None chooses it from 0.001 to 10 by five-fold cross-validation on the
            training clips.
        group: Column of the store whose groups are not split between folds, if the store has it.
        max_iter: Largest number of steps of the solver.
    """

    C: float | None = 0.1
    group: str = "subject"
    max_iter: int = 2000

    def __post_init__(self) -> None:
        if self.C is not None and self.C <= 0:
            raise ConfigError(f"C: expected a number above zero, or none, found {self.C:g}.")
        if self.max_iter < 1:
            raise ConfigError(f"max_iter: expected at least 1, found {self.max_iter}.")


def logistic_trial(config: LogisticConfig, features: Features) -> Trial:
    """Fit logistic regression on the training clips and predict the test clips."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data, x = features.data, features.x.astype(np.float64)
    labels = data.labels[data.train]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=config.C or GRID[0], max_iter=config.max_iter))
        if config.C is None:
            model = _choose(model, config, features)
        model.fit(x[data.train], labels)
    steps = int(np.max(model[-1].n_iter_))
    if steps >= config.max_iter:
        features.notes.append(f"Seed {features.seed}: the solver stopped at its {steps} steps; raise max_iter.")
    assert len(model.classes_) == data.num_classes  # open_labelled: every class has training clips
    scores = model.predict_log_proba(x[data.test])
    metrics = classification_metrics(data.labels[data.test], scores, data.num_classes)
    return make_trial(features, metrics, scores=scores.astype(np.float32))


def _choose(model: Any, config: LogisticConfig, features: Features) -> Any:
    """The model with the penalty that does best on folds of the training clips."""
    from sklearn.model_selection import GridSearchCV

    data = features.data
    x, labels = features.x[data.train].astype(np.float64), data.labels[data.train]
    folds, how = folds_of(data, config.group, features.seed)
    search = GridSearchCV(model, {"logisticregression__C": GRID}, cv=folds, refit=False).fit(x, labels)
    chosen = search.best_params_["logisticregression__C"]
    features.notes.append(f"Seed {features.seed}: C = {chosen:g}, chosen on the training clips by {how}.")
    return model.set_params(logisticregression__C=chosen)


def folds_of(data: Labelled, group: str, seed: int) -> tuple[list[tuple[IntArray, IntArray]], str]:
    """Folds of the training clips to choose settings on, and what to call them.

    Args:
        data: Labels and split.
        group: Column of the store whose groups are not split between folds, if the store has it.
        seed: Of the folds, if there are no groups.

    Returns:
        For each fold, indices into the training clips of the others and of its own.

    Raises:
        ConfigError: A class has a single training clip, and there are no groups.
    """
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    labels, column = data.labels[data.train], data.store.columns.get(group)
    groups = None if column is None else column[data.train]
    count = 0 if groups is None else len(np.unique(groups))
    if count > 1:
        size = min(FOLDS, count)
        return list(GroupKFold(size).split(labels, labels, groups)), f"{size} folds of whole groups of {group!r}"
    size = min(FOLDS, int(np.bincount(labels).min()))
    if size < 2:
        raise ConfigError(
            "C: to choose it, each class needs two training clips or a column of groups; give a number instead."
        )
    folds = StratifiedKFold(size, shuffle=True, random_state=seed)
    return list(folds.split(labels, labels)), f"{size} folds"


def run_logistic(job: Job) -> Result:
    """Run ``logistic``."""
    need_sklearn()
    notes = ("Features are standardised by the training clips.",)
    return run_frozen(job, "top1", lambda features: logistic_trial(job.config, features), notes, job.config.C is None)


PROTOCOL = Protocol(
    name="logistic",
    description="Fast linear probe: logistic regression on features that are extracted once and standardised.",
    source="Like the paper's linear probe, with logistic regression of scikit-learn instead of SGD.",
    config=LogisticConfig(),
    run=run_logistic,
    poses=True,
)
