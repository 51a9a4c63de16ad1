"""Classes of vectors from a few examples each: nearest means or a discriminant, calibrated, and what is unknown.

Vectors are centred and brought to unit length first. The centre is the mean of the class means, drawn towards zero
where classes are few: K of them count against two at zero, since the mean of two opposite classes would take away what
tells both from everything else.

Every choice is made on scores of examples that were left out: which head, the temperature of its probabilities, and
the similarity below which a vector is of no class. Leaving out an example shows how similar a new one of a class is;
leaving out its whole class shows how similar one of an unknown class is. Where there is too little to leave out, and
with one example a class there is nothing, typical values take the place (``Prior``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ConfigError, MissingExtraError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Head = Literal["means", "discriminant", "logistic"]

FOLDS = 50  # more examples than this are left out in so many groups
SHRINKAGE = 1.0  # of the covariance within classes, relative to its mean over directions
STRENGTH = 10.0  # of the logistic regression: scikit-learn's C
FACTORS = np.geomspace(0.1, 10, 81)  # of the typical temperature


@dataclass(frozen=True)
class Prior:
    """What the bundled weights typically show, and how many examples it counts for.

    Attributes:
        temperature: By head, of the probabilities.
        spread: Standard deviation of the logarithm of the temperature.
        deviation: Standard deviation of a similarity.
        examples: Examples that the typical similarities count for.
    """

    temperature: tuple[tuple[Head, float], ...] = (("means", 0.1), ("discriminant", 0.08), ("logistic", 0.5))
    spread: float = 0.5
    deviation: float = 0.16
    examples: int = 4

    def similarity(self, num_classes: int) -> tuple[float, float]:
        """Mean of the largest cosine of vectors of known and of unknown classes: the more classes, the larger."""
        return 0.25 + 0.07 * np.log(num_classes), -0.05 + 0.13 * np.log(num_classes)


PRIOR = Prior()


@dataclass(frozen=True)
class Classes:
    """Decides to which of K classes vectors [n, D] belong.

    Attributes:
        centre: [D], subtracted from a vector before it is brought to unit length.
        means: [K, D] mean of the examples of each class, of unit length.
        weight: [K, D] of the head; the means again for nearest means.
        bias: [K] of the head.
        head: Which head it is.
        temperature: Scores are divided by it.
        known_at: Largest cosine with a mean at which a vector is as likely of a known class as of an unknown one.
        known_slope: How fast that changes: the probability is a logistic function of the cosine.
        left_out: Share of right answers for each head that was tried, examples left out.
    """

    centre: FloatArray
    means: FloatArray
    weight: FloatArray
    bias: FloatArray
    head: Head
    temperature: float
    known_at: float
    known_slope: float
    left_out: dict[str, float]

    def probabilities(self, x: NDArray[Any]) -> FloatArray:
        """[n, K] of each class, given that it is one of them."""
        return softmax((self._unit(x) @ self.weight.T + self.bias) / self.temperature)

    def known(self, x: NDArray[Any]) -> FloatArray:
        """[n] probability that a vector is of one of the classes at all, when that is as likely as not."""
        margin = self.known_slope * ((self._unit(x) @ self.means.T).max(axis=1) - self.known_at)
        return np.asarray(1 / (1 + np.exp(-margin.clip(-50, 50))))

    def _unit(self, x: NDArray[Any]) -> FloatArray:
        return unit(np.asarray(x, np.float64) - self.centre)


def fit_classes(x: NDArray[Any], y: IntArray, head: Head | Literal["auto"] = "auto", prior: Prior = PRIOR) -> Classes:
    """Fit the head, its temperature, and what is unknown.

    Args:
        x: [n, D] examples.
        y: [n] their classes, 0 to K - 1, each at least once.
        head: ``"means"``, ``"discriminant"``, ``"logistic"``, or ``"auto"``: of the first two the one that makes
            examples that were left out more likely, or ``"means"`` where a class has one example.
        prior: What to assume for want of examples.

    Raises:
        ConfigError: The head is unknown, or there is one class and the head is logistic regression.
        MissingExtraError: Logistic regression needs scikit-learn, which is not installed.
    """
    if head != "auto" and head not in HEADS:
        raise ConfigError(f"head: expected 'auto', {', '.join(map(repr, HEADS))}, found {head!r}.")
    x, num = np.asarray(x, np.float64), int(y.max()) + 1
    if num == 1 and head == "logistic":
        raise ConfigError("head: logistic regression needs at least two classes, found one; take 'means'.")
    counts = np.bincount(y)
    scored = np.flatnonzero(counts[y] > 1) if num > 1 else np.zeros(0, np.int64)
    tried: tuple[Head, ...] = ("means", "discriminant") if head == "auto" else (head,)
    if head == "auto" and (num == 1 or counts.min() == 1):
        tried = ("means",)  # a discriminant would weigh a class of one example as if it were as well known as others
    scores = {name: _left_out(x, y, scored, HEADS[name]) for name in tried}
    fits = {
        name: fit_temperature(scores[name], y[scored], dict(prior.temperature)[name], prior.spread) for name in tried
    }
    best = min(tried, key=lambda name: fits[name].loss)  # of equal ones the first, which is simpler
    centre, means = centre_and_means(x, y)
    weight, bias = HEADS[best](unit(x - centre), y)
    known_at, known_slope = _known(x, y, prior)
    return Classes(
        centre=centre,
        means=means,
        weight=weight,
        bias=bias,
        head=best,
        temperature=fits[best].temperature,
        known_at=known_at,
        known_slope=known_slope,
        left_out={name: float((scores[name].argmax(axis=1) == y[scored]).mean()) for name in tried if len(scored)},
    )


def centre_and_means(x: FloatArray, y: IntArray) -> tuple[FloatArray, FloatArray]:
    """Centre [D], and the class means [K, D] of the centred vectors, of unit length."""
    classes = np.unique(y)
    centre = np.stack([x[y == k].mean(axis=0) for k in classes]).sum(axis=0) / (len(classes) + 2)
    z = unit(x - centre)
    return centre, unit(np.stack([z[y == k].mean(axis=0) for k in classes]))


def class_scaling(x: FloatArray, y: NDArray[Any] | Sequence[str], shrinkage: float) -> FloatArray | None:
    """The symmetric matrix [D, D] that scales down what vectors [n, D] of a class differ in.

    It is (S + shrinkage)^(-1/2), where S is the covariance within classes relative to its mean over directions; it is
    ``None`` where no class has two vectors that differ.
    """
    names, group, counts = np.unique(np.asarray(y), return_inverse=True, return_counts=True)
    means = np.zeros((len(names), x.shape[1]))
    np.add.at(means, group, x)
    within = x - (means / counts[:, None])[group]
    covariance = within.T @ within
    spread = covariance.trace() / len(covariance)
    if not spread > 1e-12 * np.square(x).sum():
        return None
    variance, directions = np.linalg.eigh(covariance / spread)
    return np.asarray((directions / np.sqrt(variance.clip(0) + shrinkage)) @ directions.T)


def _means_head(z: FloatArray, y: IntArray) -> tuple[FloatArray, FloatArray]:
    means = unit(np.stack([z[y == k].mean(axis=0) for k in np.unique(y)]))
    return means, np.zeros(len(means))


def _discriminant_head(z: FloatArray, y: IntArray) -> tuple[FloatArray, FloatArray]:
    """Linear discriminant analysis with a covariance that is drawn towards the identity, and classes equally likely."""
    scaling = class_scaling(z, y, SHRINKAGE)
    if scaling is None:
        return _means_head(z, y)
    around = z - z.mean(axis=0)
    scaling *= np.linalg.norm(around) / np.linalg.norm(around @ scaling)  # for scores of about the same size
    means = np.stack([z[y == k].mean(axis=0) for k in np.unique(y)]) @ scaling
    return means @ scaling, -np.square(means).sum(axis=1) / 2


def _logistic_head(z: FloatArray, y: IntArray) -> tuple[FloatArray, FloatArray]:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtraError(
            "logistic regression needs scikit-learn: pip install 'mamp[sklearn]'. The other heads do not."
        ) from None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # few examples are expected here
        model = LogisticRegression(C=STRENGTH, max_iter=1000).fit(z, y)
    if len(model.coef_) > 1:
        return model.coef_, model.intercept_
    return np.concatenate([-model.coef_, model.coef_]) / 2, np.concatenate([-model.intercept_, model.intercept_]) / 2


HEADS: dict[Head, Callable[[FloatArray, IntArray], tuple[FloatArray, FloatArray]]] = {
    "means": _means_head,
    "discriminant": _discriminant_head,
    "logistic": _logistic_head,
}


def _left_out(
    x: FloatArray, y: IntArray, scored: IntArray, fit: Callable[[FloatArray, IntArray], tuple[FloatArray, FloatArray]]
) -> FloatArray:
    """Scores [s, K] of the examples ``scored``, each by what was fitted without it (and the others of its fold)."""
    scores = np.zeros((len(scored), int(y.max()) + 1))
    for rows in folds(y[scored]):
        kept = np.delete(np.arange(len(y)), scored[rows])
        centre, _ = centre_and_means(x[kept], y[kept])
        weight, bias = fit(unit(x[kept] - centre), y[kept])
        scores[rows] = unit(x[scored[rows]] - centre) @ weight.T + bias
    return scores


def folds(y: IntArray) -> Sequence[IntArray]:
    """Groups of examples that are left out together: one each, or from FOLDS on several of different classes."""
    if len(y) <= FOLDS:
        return [np.array([row]) for row in range(len(y))]
    order = np.argsort(y, kind="stable")
    groups = [order[first::FOLDS] for first in range(FOLDS)]
    smallest = np.bincount(y)[np.unique(y)].min()
    if all(np.bincount(y[group]).max() < smallest for group in groups):
        return groups
    return [np.array([row]) for row in range(len(y))]


class Fit(NamedTuple):
    """A temperature, and the mean negative log likelihood of left-out examples with it."""

    temperature: float
    loss: float


def fit_temperature(scores: FloatArray, y: IntArray, typical: float, spread: float) -> Fit:
    """Temperature at which scores [n, K] make the classes [n] likeliest, drawn towards the typical one.

    Without examples it is the typical one.
    """
    rows = np.arange(len(y))
    losses = [-np.log(softmax(scores / t)[rows, y].clip(1e-12)).sum() for t in typical * FACTORS]
    best = int(np.argmin(losses + 0.5 * (np.log(FACTORS) / spread) ** 2))
    return Fit(float(typical * FACTORS[best]), float(losses[best]) / max(len(y), 1))


def _known(x: FloatArray, y: IntArray, prior: Prior) -> tuple[float, float]:
    """Where, and how fast, the largest cosine with a class mean turns from unknown to known."""
    counts, inside, outside = np.bincount(y), [], []
    for row in range(len(y)):
        if counts[y[row]] > 1:
            inside.append(_similarity(x, y, np.arange(len(y)) != row, row))
        if len(counts) > 2:
            outside.append(_similarity(x, y, y != y[row], row))
    means = []
    for values, typical, number in zip((inside, outside), prior.similarity(len(counts)), (1, 0), strict=True):
        # One class fewer is known while a class is left out.
        shift = 0.0 if number else typical - prior.similarity(max(len(counts) - 1, 1))[1]
        means.append((prior.examples * typical + sum(values) + shift * len(values)) / (prior.examples + len(values)))
    squares = sum(float(((np.array(v) - np.mean(v)) ** 2).sum()) for v in (inside, outside) if v)
    number = len(inside) + len(outside)
    variance = (2 * prior.examples * prior.deviation**2 + squares) / (2 * prior.examples + number)
    gap = max(means[0] - means[1], 0.02)
    return (means[0] + means[1]) / 2, gap / variance


def _similarity(x: FloatArray, y: IntArray, kept: NDArray[np.bool_], row: int) -> float:
    """Largest cosine of an example with the class means of the examples that are kept."""
    centre, means = centre_and_means(x[kept], y[kept])
    return float((means @ unit(x[row] - centre)).max())


def unit(x: FloatArray) -> FloatArray:
    """Rows of unit length."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True).clip(1e-12)


def softmax(scores: FloatArray) -> FloatArray:
    """Rows that sum to 1."""
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))
