"""Queries: a recording, a file, a part of one (``walk.bvh@3.2-5.0``), a vector, or several of these, as vectors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import SearchError
from mamp.search.embedder import Embedder
from mamp.skeleton import Skeleton
from mamp.sources import load_part


def query_vectors(
    query: Any, embedder: Embedder, width: int, person: int | None, reading: Mapping[str, Any]
) -> NDArray[np.float32]:
    """Unit vectors [n, D]: one for each window and person of a recording, or the one mean of several queries.

    Raises:
        SearchError: The query is none, or holds nobody.
        RecordingError: A file cannot be read or embedded.
    """
    if isinstance(query, Skeleton):
        return _unit(_embed(query, embedder, person))
    if isinstance(query, str | os.PathLike):
        return _unit(_embed(load_part(os.fspath(query), reading), embedder, person))
    if is_vector(query):
        return _unit(_check_vectors(np.asarray(query), width))
    if not isinstance(query, Sequence) or not query:
        raise SearchError(
            f"query: expected a recording, a path, a vector of {width} numbers, or several of these, found "
            f"{'none' if isinstance(query, Sequence) else type(query).__name__}."
        )
    if len(query) == 1:
        return query_vectors(query[0], embedder, width, person, reading)
    means = [query_vectors(one, embedder, width, person, reading).mean(axis=0) for one in query]
    return _unit(_unit(np.stack(means)).mean(axis=0, keepdims=True))


def is_vector(query: Any) -> bool:
    """Whether a query is an array, or a list of numbers, and needs no encoder."""
    if isinstance(query, np.ndarray):
        return True
    numbers = isinstance(query, Sequence) and len(query) and not isinstance(query, str)
    return bool(numbers) and all(isinstance(one, int | float | np.number) for one in query)


def _check_vectors(vectors: NDArray[Any], width: int) -> NDArray[np.float32]:
    if vectors.dtype.kind not in "fiu" or vectors.ndim not in (1, 2) or vectors.shape[-1] != width or not vectors.size:
        raise SearchError(f"query: expected a vector of {width} numbers, found shape {vectors.shape}.")
    if not np.isfinite(vectors).all():
        raise SearchError("query: expected finite numbers, found NaN or infinity.")
    return np.atleast_2d(vectors).astype(np.float32)


def _embed(recording: Skeleton, embedder: Embedder, person: int | None) -> NDArray[np.float32]:
    if not recording.tracked.any():
        raise SearchError(f"{recording.name}: expected a person to search for, found nobody who is tracked.")
    people, vectors = embedder.windows(recording)[2:]
    if person is None:
        return vectors
    if person not in people:
        known = ", ".join(map(str, np.unique(people)))
        raise SearchError(f"{recording.name}: expected one of the people {known}, found {person}.")
    return vectors[people == person]


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    if not (lengths > 0).all():
        raise SearchError("query: expected a vector with a direction, found one of length 0.")
    return np.asarray(rows / lengths, np.float32)
