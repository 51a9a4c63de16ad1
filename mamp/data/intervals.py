"""Intervals of untrimmed recordings, in the column ``intervals`` of a store: what is shown, and when."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mamp.data.store import ClipStore
from mamp.errors import DataError

COLUMN = "intervals"


def write_intervals(rows: ArrayLike) -> str:
    """The entry of the column, of rows [n, 4]: action (from 1), first frame, end (exclusive), confidence."""
    return json.dumps(np.asarray(rows, np.int64).reshape(-1, 4).tolist())


def read_intervals(store: ClipStore, clip: int) -> NDArray[np.int64]:
    """Intervals of a recording of a store, [n, 4]: action (from 1), first frame, end (exclusive), confidence.

    Raises:
        DataError: The store has none, or they are damaged.
    """
    if COLUMN not in store.columns:
        raise DataError(
            f"{store.path}: expected a store with intervals, found no column {COLUMN!r}. python -m mamp.prepare pku1 "
            "and pku2 write one into the folder 'untrimmed', and folder does of labels with start and end."
        )
    try:
        return np.array(json.loads(str(store.columns[COLUMN][clip])), dtype=np.int64).reshape(-1, 4)
    except (ValueError, TypeError):
        name = store.columns["name"][clip]
        raise DataError(f"{store.path}: expected rows of four whole numbers as intervals of {name}.") from None
