"""Pickles of numbers from unknown people: plain containers and NumPy arrays, and nothing else.

A pickle is a program that may call any function. Here it reaches stand-ins only: what NumPy's pickles call makes an
:class:`_Array` of bytes that become an array of numbers once type, shape and length were checked. Every other name is
refused before anything is called.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mamp.errors import MissingFileError, ReadError

KINDS = "biufSU"  # of array elements: truth values, numbers, text


class _Dtype:
    """Stands in for ``numpy.dtype``."""

    __slots__ = ("big", "text")

    def __init__(self, text: object, *_: object) -> None:
        if not isinstance(text, str) or len(text) > 16:
            raise pickle.UnpicklingError("an array of something else than numbers or text")
        self.text, self.big = text, False

    def __setstate__(self, state: object) -> None:
        self.big = isinstance(state, tuple) and len(state) > 1 and state[1] == ">"

    def real(self) -> np.dtype[Any]:
        """The type that it stands for."""
        try:
            dtype = np.dtype(self.text).newbyteorder(">" if self.big else "=")
        except (TypeError, ValueError):
            dtype = np.dtype(object)
        if dtype.kind not in KINDS or dtype.names or dtype.subdtype or not dtype.itemsize:
            raise pickle.UnpicklingError(f"an array of {self.text!r}; expected numbers or text")
        return dtype


class _Array:
    """Stands in for ``numpy.ndarray``; :func:`_plain` puts its array in place."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: np.ndarray[Any, Any] = np.zeros(0)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("a damaged array")
        _, shape, dtype, fortran, data = state
        self.array = _from_bytes(data, dtype, shape, "F" if fortran is True else "C")


def _from_bytes(
    data: object, dtype: object, shape: object, order: object = "C", axes: object = None
) -> np.ndarray[Any, Any]:
    sizes = shape if isinstance(shape, tuple) and len(shape) <= 16 else (-1,)
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError("an array of objects; expected numbers or text")
    kind = dtype.real()
    if not all(type(size) is int and size >= 0 for size in sizes) or prod(sizes) * kind.itemsize != len(data):
        raise pickle.UnpicklingError(f"an array whose shape {str(shape)[:60]} does not fit its {len(data)} bytes")
    array = np.frombuffer(data, kind).reshape(sizes, order="F" if order == "F" else "C")
    if axes is None:
        return array
    if not isinstance(axes, tuple) or sorted(axes) != list(range(array.ndim)):
        raise pickle.UnpicklingError("a damaged array")
    return array.transpose(axes)


def _scalar(dtype: object, data: object = b"") -> Any:
    return _from_bytes(data, dtype, ()).item()


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """How pickles of protocol 2 write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("text in another encoding")
    return text.encode("latin1")


class _Call:
    """A function that a pickle may call, and nothing else may be done with."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: object) -> Any:
        return self._function(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a function that would be changed")


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): lambda *_: _Array(),
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}
for _module in ("numpy.core", "numpy._core"):
    ALLOWED |= {
        (f"{_module}.multiarray", "_reconstruct"): lambda *_: _Array(),
        (f"{_module}.multiarray", "scalar"): _scalar,
        (f"{_module}.numeric", "_frombuffer"): _from_bytes,
    }


_Base: Any = pickle._Unpickler  # the one in Python: its opcodes can be replaced, and no nesting crashes it


class _Unpickler(_Base):
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(_Base.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        """Stand-ins of what NumPy's pickles name.

        Raises:
            UnpicklingError: For every other name.
        """
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"the name {f'{module}.{name}'[:80]!r}")
        return _Call(ALLOWED[module, name])

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][_key(key)] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self.stack[-1].update({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def refuse(self) -> None:
        raise pickle.UnpicklingError("a set")

    dispatch[pickle.SETITEM[0]], dispatch[pickle.SETITEMS[0]] = load_setitem, load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    for _opcode in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET):
        dispatch[_opcode[0]] = refuse


def _key(key: object) -> str | int:
    """A key of a dict; hashing anything else could run for ever or crash."""
    if not isinstance(key, str | int):
        raise pickle.UnpicklingError(f"a {type(key).__name__.strip('_')} as a key")
    return key


def read_pickle(path: Path) -> Any:
    """Read a pickle of dicts, lists, tuples, text, numbers, and arrays of numbers or text.

    Raises:
        MissingFileError: There is no such file.
        ReadError: It is no pickle, is cut, or holds anything else, which is never run.
    """
    try:
        with path.open("rb") as file:
            return _plain(_Unpickler(file).load(), {})
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
