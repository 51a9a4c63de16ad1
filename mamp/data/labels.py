"""Which clips of a store are labelled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mamp.data.store import ClipStore
from mamp.errors import DataError


def has_label(store: ClipStore, column: str = "label") -> NDArray[np.bool_]:
    """[N] whether clips have a label: a whole number from 0 on, or a name that is not blank.

    Raises:
        DataError: There is no such column, or it holds neither whole numbers nor names.
    """
    if column not in store.columns:
        raise DataError(f"{store.path}: expected labels in the column {column!r}; it has {', '.join(store.columns)}.")
    found = store.columns[column]
    if found.dtype.kind not in "iuU":
        raise DataError(f"{store.path}: {column}s: expected whole numbers or names, found {found.dtype}.")
    return np.asarray(np.char.strip(found) != "" if found.dtype.kind == "U" else found >= 0)
