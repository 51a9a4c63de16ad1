"""Embeddings in two dimensions."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ConfigError, MissingExtraError

METHODS = ("auto", "umap", "tsne", "pca")
FEWEST = 5  # points that UMAP and t-SNE need
MANY = 10_000  # from here t-SNE takes minutes

FloatArray = NDArray[np.float32]


def choose_method(method: str, count: int) -> str:
    """The method that ``auto`` stands for: UMAP or t-SNE, whichever is installed, else the principal components.

    Raises:
        ConfigError: There is no such method.
    """
    if method not in METHODS:
        raise ConfigError(f"method: expected one of {', '.join(METHODS)}, found {method!r}.")
    if count < FEWEST:
        return "pca"
    if method != "auto":
        return method
    if find_spec("umap") is not None:
        return "umap"
    return "tsne" if find_spec("sklearn") is not None and count <= MANY else "pca"


def project(vectors: FloatArray, method: str = "auto", seed: int = 0) -> FloatArray:
    """Place embeddings in two dimensions, so that those whose centred cosine is high are near.

    Args:
        vectors: [N, D].
        method: ``umap`` (extra ``map``), ``tsne`` (extra ``map`` or ``sklearn``), ``pca``, or ``auto``.
        seed: Of UMAP and t-SNE.

    Returns:
        [N, 2], centred, with the larger extent from -1 to 1.

    Raises:
        ConfigError: There is no such method.
        MissingExtraError: What the method needs is not installed.
    """
    unit = np.asarray(vectors, np.float64) - vectors.mean(0)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True).clip(1e-12)
    place = {"umap": _umap, "tsne": _tsne, "pca": _pca}[choose_method(method, len(vectors))](unit, seed)
    place = place - (place.min(0) + place.max(0)) / 2
    return np.asarray(place / max(float(np.abs(place).max()), 1e-12), np.float32)


def _pca(unit: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    centred = unit - unit.mean(0)
    values, directions = np.linalg.eigh(centred.T @ centred)
    axes = directions[:, np.argsort(-values)[:2]]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), range(axes.shape[1])])  # the same sign everywhere
    return np.asarray(np.pad(centred @ axes, ((0, 0), (0, 2 - axes.shape[1]))))


def _tsne(unit: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise MissingExtraError("t-SNE needs scikit-learn: pip install 'mamp[map]'; pca needs nothing.") from None
    perplexity = min(30.0, (len(unit) - 1) / 3)
    return np.asarray(TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(unit))


def _umap(unit: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    try:
        from umap import UMAP
    except ImportError:
        raise MissingExtraError("UMAP needs umap-learn: pip install 'mamp[map]'; pca needs nothing.") from None
    neighbours = min(15, len(unit) - 1)
    start = "spectral" if len(unit) > 50 else "random"
    return np.asarray(
        UMAP(
            n_neighbors=neighbours, min_dist=0.4, metric="cosine", random_state=seed, n_jobs=1, init=start
        ).fit_transform(unit)
    )
