"""Embeddings adapted to what somebody tells apart, from labelled examples, by a change of the readout.

What examples of one class differ in does not matter to their labels. Directions of embeddings in which they differ are
scaled down, and others up (within-class covariance normalization; Hatch, Kajarekar and Stolcke, Interspeech 2006), so
that examples of a class come nearer to each other than to others. Search, nearest neighbours, segmentation and
classifiers then work with the weights that result as with any others. Not part of the paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mamp.classes import SHRINKAGE, class_scaling
from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError, DataError
from mamp.learnt import open_encoder
from mamp.rows import Source, embed_each


def adapt(
    encoder: MAMPEncoder | str | PathLike[str],
    recordings: Iterable[Source],
    labels: Iterable[str],
    *,
    shrinkage: float = SHRINKAGE,
    batch_size: int = 32,
) -> MAMPEncoder:
    """A new encoder whose embeddings tell apart what the labels do.

    >>> mine = adapt("openmocap", ["walk-1.bvh", "walk-2.bvh", "run-1.bvh"], ["walk", "walk", "run"])
    >>> mine.save_pretrained("my-weights")

    Blocks and tokens stay as they are. A class with one example says nothing; five to ten of each gain most.
    Embeddings of the new encoder cannot be compared with those of the old one. Each person of a recording is an example
    of its own; how people stand to each other is added to the embedding of a clip as before, and is not adapted.

    Args:
        encoder: The encoder, with a readout, or the name of its weights.
        recordings: Examples: recordings or paths; any layouts and lengths.
        labels: Name of the class of each.
        shrinkage: Variance, relative to the mean of what examples of a class differ by, that is added to each direction
            before it is scaled; the larger, the less is scaled.
        batch_size: Recordings in memory at a time.

    Raises:
        ConfigError: The encoder has no readout, or ``shrinkage`` is not above zero.
        DataError: There are not as many labels as examples, one is empty, or no class has two.
        MAMPError: An example cannot be read or embedded; the message names it.
    """
    encoder = open_encoder(encoder, "cpu")
    check_adaptable(encoder, shrinkage)
    sources, names = list(recordings), list(labels)
    if len(sources) != len(names):
        raise DataError(f"expected as many labels as recordings, found {len(names)} and {len(sources)}.")
    rows, classes = [], []
    found = embed_each(encoder, sources, batch_size=batch_size, people=True)
    for label, (_, result) in zip(names, found, strict=True):
        if isinstance(result, Exception):
            raise result
        rows.append(result[1])
        classes += [label] * len(result[1])
    empty = np.zeros((0, encoder.config.embedding_dim), np.float32)
    return adapt_to_embeddings(encoder, np.concatenate([empty, *rows]), classes, shrinkage=shrinkage)


def adapt_to_embeddings(
    encoder: MAMPEncoder, x: NDArray[Any], labels: Sequence[str], *, shrinkage: float = SHRINKAGE
) -> MAMPEncoder:
    """The same from embeddings [n, D] of the encoder, each of one person.

    Raises:
        ConfigError: As in :func:`adapt`.
        DataError: As in :func:`adapt`; or the embeddings are not of that width, or not finite.
    """
    check_adaptable(encoder, shrinkage)
    x, width = np.asarray(x, np.float64), encoder.config.embedding_dim
    if x.ndim != 2 or x.shape[1] != width or len(x) != len(labels) or not np.isfinite(x).all():
        raise DataError(
            f"expected finite embeddings [n, {width}] of these weights and n labels; found shape {list(x.shape)} and "
            f"{len(labels)} labels."
        )
    if blank := [label for label in labels if label is None or not str(label).strip()]:
        raise DataError(f"expected the name of a class for each example, found {blank[0]!r}.")
    names = [str(label) for label in labels]
    scaling = class_scaling(x, names, shrinkage)
    if scaling is None:
        raise DataError(
            f"expected at least two different examples of a class, found {len(x)} examples and {len(set(names))} "
            "names. One example says nothing of what may differ; give more of each."
        )
    # What is white, as embeddings about are, keeps its variance: the examples alone may not say how embeddings vary.
    change = torch.from_numpy(scaling * np.sqrt(len(scaling)) / np.linalg.norm(scaling))
    state = encoder.state_dict()
    for name in ("readout.weight", "readout.bias", "pose.weight"):
        if name in state:
            state[name] = (change @ state[name].cpu().double()).to(state[name])
    with torch.random.fork_rng(devices=[]):
        adapted = type(encoder)(encoder.config).to(encoder.device, encoder.dtype)
    adapted.load_state_dict(state)
    return adapted.eval()


def check_adaptable(encoder: MAMPEncoder, shrinkage: float) -> None:
    """Raise :class:`ConfigError` for what :func:`adapt` refuses before it reads examples."""
    if encoder.config.readout_dim is None:
        raise ConfigError(
            "adapt: expected weights with a readout, as openmocap has; these have none. Fit one first: mamp readout."
        )
    if not 1e-9 <= shrinkage < float("inf"):
        raise ConfigError(f"shrinkage: expected a number above zero (1e-9 at least), found {shrinkage:g}.")
