"""``fewshot``: classes from one or a few labelled clips each, by the nearest centroid."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ConfigError
from mamp.evaluate.data import IntArray, Labelled
from mamp.evaluate.features import FloatArray
from mamp.evaluate.frozen import Features, FrozenConfig, make_trial, run_frozen, standardise
from mamp.evaluate.predictions import Trial
from mamp.evaluate.protocol import Job, Protocol
from mamp.evaluate.result import Result

NORMAL_95 = 1.959964


@dataclass(frozen=True)
class FewShotConfig(FrozenConfig):
    """Settings of ``fewshot``.

    Attributes:
        shots: Labelled clips of each class; may be several numbers.
        ways: Classes of an episode, drawn anew for each; none takes all.
        episodes: Number of draws of the labelled clips.
        novel: Novel classes, by name or number, with ranges as in 10-19, separated by commas. Labelled clips and
            queries are then drawn from all clips of these classes, whatever their split. With none, labelled clips are
            training clips and all test clips are queries.
        standardise: Standardise the features without using labels of the classes in question: by all training clips,
            or, with novel classes, by the clips of the other classes.
    """

    shots: tuple[int, ...] = (1, 5)
    ways: int | None = None
    episodes: int = 200
    novel: str | None = None
    standardise: bool = True

    def __post_init__(self) -> None:
        if not self.shots or min(self.shots) < 1 or len(set(self.shots)) < len(self.shots):
            raise ConfigError(f"shots: expected different numbers above zero, found {self.shots}.")
        if self.episodes < 2:
            raise ConfigError(f"episodes: expected at least 2, found {self.episodes}.")
        if self.ways is not None and self.ways < 2:
            raise ConfigError(f"ways: expected at least 2 classes, found {self.ways}.")


@dataclass(frozen=True)
class Draw:
    """Where episodes are drawn from.

    Attributes:
        classes: Classes in question.
        support: For each, the clips of which the labelled ones are drawn.
        queries: For each, the clips to classify; those that were drawn are left out.
        known: Clips by which features are standardised.
    """

    classes: IntArray
    support: list[IntArray]
    queries: list[IntArray]
    known: IntArray


def plan(config: FewShotConfig, data: Labelled) -> Draw:
    """Choose which clips are labelled, queries and known.

    Raises:
        ConfigError: A class is unknown or has too few clips, or there are too few classes.
    """
    labels = data.labels
    if config.novel is None:
        classes = np.unique(labels[data.test])
        support = [data.train[labels[data.train] == one] for one in classes]
        draw = Draw(classes, support, [data.test[labels[data.test] == one] for one in classes], data.train)
    else:
        classes = novel_classes(config.novel, data.classes)
        support = [np.flatnonzero(labels == one) for one in classes]
        draw = Draw(classes, support, support, np.flatnonzero((labels >= 0) & ~np.isin(labels, classes)))
    if len(classes) < 2:
        raise ConfigError("fewshot: expected test clips of at least two classes, found one.")
    if config.ways is not None and len(classes) < config.ways:
        raise ConfigError(f"ways: expected at most {len(classes)}, as many as there are classes, found {config.ways}.")
    if config.standardise and len(draw.known) < 2:
        raise ConfigError("standardise: no clips are left to do it by: all classes are novel. Set standardise false.")
    spare = 0 if config.novel is None else 1
    for one, clips in zip(classes, draw.support, strict=True):
        if len(clips) < max(config.shots) + spare:
            raise ConfigError(
                f"shots: {data.classes[one]!r} has {len(clips)} clips to draw from, {max(config.shots)} shots need "
                f"{max(config.shots) + spare}. Take fewer shots, or other classes."
            )
    return draw


def novel_classes(text: str, names: tuple[str, ...]) -> IntArray:
    """Numbers of classes by their names, numbers, or ranges of numbers, separated by commas."""
    found: list[int] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = word.partition("-")
        if word in names:
            found.append(names.index(word))
        elif first.isdecimal() and (last.isdecimal() if dash else True) and int(last or first) < len(names):
            found += range(int(first), int(last or first) + 1)
        else:
            raise ConfigError(
                f"novel: no class {word!r}; expected names, numbers from 0 to {len(names) - 1}, or ranges of them. "
                f"The classes are {', '.join(names)}."
            )
    if len(set(found)) < 2:
        raise ConfigError(f"novel: expected at least two classes, found {text!r}.")
    return np.unique(found)


def episode(
    x: FloatArray, draw: Draw, shots: int, ways: int | None, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], IntArray]:
    """One draw of labelled clips.

    The centroid of a class is the mean of its labelled clips' features of unit length; a query is of the class whose
    centroid has the largest cosine with it.

    Args:
        x: [N, D] features of unit length.
        draw: Where to draw from.
        shots: Labelled clips of each class.
        ways: Number of classes; none takes all.
        rng: Draws.

    Returns:
        Whether each query [q] was classified correctly, and which clips [s] were drawn.
    """
    chosen = np.arange(len(draw.classes))
    if ways is not None:
        chosen = np.sort(rng.choice(len(chosen), ways, replace=False))
    support = [rng.choice(draw.support[one], shots, replace=False) for one in chosen]
    centroids = np.stack([x[clips].mean(axis=0) for clips in support])
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True).clip(1e-12)
    drawn = np.concatenate(support)
    hits = []
    for place, one in enumerate(chosen):
        queries = np.setdiff1d(draw.queries[one], drawn)
        hits.append((x[queries] @ centroids.T).argmax(axis=1) == place)
    return np.concatenate(hits), drawn


def fewshot_trial(config: FewShotConfig, features: Features) -> Trial:
    """All episodes of a seed: mean and standard deviation of their accuracies, for each number of shots."""
    draw = plan(config, features.data)
    x = standardise(features.x, features.x[draw.known]) if config.standardise else features.x
    x = x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12)
    means, deviations = {}, {}
    for shots in config.shots:
        rng = np.random.default_rng([features.seed, shots])
        hits = [100 * episode(x, draw, shots, config.ways, rng)[0].mean() for _ in range(config.episodes)]
        means[f"{shots}-shot"] = float(np.mean(hits))
        deviations[f"{shots}-shot std"] = float(np.std(hits, ddof=1))
    trial = make_trial(features, means | deviations)
    trial.intervals = {name: interval([trial], name, config.episodes) for name in means}
    return trial


def interval(trials: list[Trial], metric: str, episodes: int) -> tuple[float, float]:
    """95 % interval of the mean over all episodes of all trials; it covers the draw of labelled clips."""
    mean = float(np.mean([trial.metrics[metric] for trial in trials]))
    variance = float(np.mean([trial.metrics[f"{metric} std"] ** 2 for trial in trials]))
    half = NORMAL_95 * float(np.sqrt(variance / (episodes * len(trials))))
    return mean - half, mean + half


def run_fewshot(job: Job) -> Result:
    """Run ``fewshot``."""
    config = job.config
    draw = plan(config, job.data)
    ways = len(draw.classes) if config.ways is None else config.ways
    if config.novel is None:
        where = "labelled clips are training clips, all test clips of the classes are queries"
        by = "the training clips, without their labels"
    else:
        novel = ", ".join(job.data.classes[one] for one in draw.classes)
        where, by = (
            f"labelled clips and queries are clips of the novel classes {novel}",
            "the clips of the other classes",
        )
    standardised = f"standardised by {by}" if config.standardise else "not standardised"
    note = (
        f"{config.episodes} episodes of {ways} classes for each seed; {where}. Nearest centroid by cosine; features "
        f"are {standardised}."
    )
    metrics = [f"{shots}-shot" for shots in config.shots]
    result = run_frozen(job, metrics[0], lambda features: fewshot_trial(config, features), (note,), seeded=True)
    if not result.trials:
        return result
    ends = {name: interval(result.trials, name, config.episodes) for name in metrics}
    told = ", ".join(f"{name} {low:.1f} to {high:.1f}" for name, (low, high) in ends.items())
    result.notes.append(
        f"95 % intervals of the mean over the episodes: {told}. They cover the draw of labelled clips, not that of the "
        "test clips."
    )
    return dataclasses.replace(result, interval=ends[metrics[0]], interval_over="episodes")


PROTOCOL = Protocol(
    name="fewshot",
    description="Nearest centroid of one and of five labelled clips of each class, averaged over many draws; with "
    "--novel, on novel classes.",
    source="Added here: the usual one-shot protocol, with random exemplars.",
    config=FewShotConfig(),
    run=run_fewshot,
    poses=True,
)
