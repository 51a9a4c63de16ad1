"""Pickles of numbers from unknown people: plain containers and NumPy arrays, and nothing else.

What NumPy's pickles call makes an :class:`_Array` of bytes that become an array of numbers once type, shape and length
were checked; see :mod:`mamp.pickles`.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from mamp.errors import MissingFileError, ReadError
from mamp.pickles import NUMPY_SCALARS, RestrictedUnpickler, array_from_bytes


class _Array:
    """Stands in for ``numpy.ndarray``; :func:`_plain` puts its array in place."""

    __slots__ = ("array",)

    def __init__(self, *_: object) -> None:
        self.array: np.ndarray[Any, Any] = np.zeros(0)

    def restore(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("a damaged array")
        _, shape, dtype, fortran, data = state
        self.array = array_from_bytes(data, dtype, shape, "F" if fortran is True else "C")


ALLOWED: dict[tuple[str, str], Any] = NUMPY_SCALARS | {("numpy", "ndarray"): _Array}
for _module in ("numpy.core", "numpy._core"):
    ALLOWED |= {
        (f"{_module}.multiarray", "_reconstruct"): _Array,
        (f"{_module}.numeric", "_frombuffer"): array_from_bytes,
    }


def read_pickle(path: Path) -> Any:
    """Read a pickle of dicts, lists, tuples, text, numbers, and arrays of numbers or text.

    Raises:
        MissingFileError: There is no such file.
        ReadError: It is no pickle, is cut, or holds anything else, which is never run.
    """
    try:
        with path.open("rb") as file:
            return _plain(RestrictedUnpickler(file, ALLOWED).load(), {})
    except FileNotFoundError:
        raise MissingFileError(f"no such file: {path}. Check the path.") from None
    except pickle.UnpicklingError as error:
        raise ReadError(
            f"{path}: expected a pickle of plain containers and arrays, found {str(error)[:200]}. It was not run."
        ) from None
    except MemoryError:
        raise ReadError(f"{path}: needs more memory than there is; is it damaged?") from None
    except Exception as error:  # what a damaged pickle raises is not bounded
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise ReadError(f"{path}: not a pickle, or cut or damaged ({reason}).") from None


def _plain(value: Any, known: dict[int, Any], depth: int = 0) -> Any:
    """The same with arrays in place of their stand-ins; containers up to eight deep, shared ones once."""
    if isinstance(value, _Array):
        return value.array
    if value is None or isinstance(value, bool | int | float | str | bytes | np.ndarray):
        return value
    if depth == 8 or not isinstance(value, dict | list | tuple):
        raise pickle.UnpicklingError("deep nesting" if depth == 8 else f"a {type(value).__name__.strip('_')}")
    if id(value) not in known:
        if isinstance(value, dict):
            copy: dict[str | int, Any] = {}
            known[id(value)] = copy
            copy.update({key: _plain(item, known, depth + 1) for key, item in value.items()})
        else:
            items: list[Any] = []
            known[id(value)] = items
            items.extend(_plain(item, known, depth + 1) for item in value)
    return known[id(value)]
