"""Read pickles from untrusted sources without running code.

A pickle is a program that can call any function. Here it only reaches stand-ins: a table maps each permitted name to a
function of this package that returns plain values. Any other name raises an error before anything is called.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from math import prod
from typing import IO, Any, ClassVar

import numpy as np

KINDS = "biufSU"  # of array elements: truth values, numbers, text
LARGEST_KEY = 1 << 31


class Refused(pickle.UnpicklingError):
    """The pickle asks for a name that is not permitted."""

    def __init__(self, module: str, name: str) -> None:
        self.name = f"{module}.{name}"[:80]
        super().__init__(f"the name {self.name!r}")


class _Dtype:
    """Stand-in for ``numpy.dtype``."""

    __slots__ = ("big", "text")

    def __init__(self, text: object, *_: object) -> None:
        if not isinstance(text, str) or len(text) > 16:
            raise pickle.UnpicklingError("an array of something else than numbers or text")
        self.text, self.big = text, False

    def restore(self, state: object) -> None:
        self.big = isinstance(state, tuple) and len(state) > 1 and state[1] == ">"

    def real(self) -> np.dtype[Any]:
        """Return the numpy type."""
        try:
            dtype = np.dtype(self.text).newbyteorder(">" if self.big else "=")
        except (TypeError, ValueError):
            dtype = np.dtype(object)
        if dtype.kind not in KINDS or dtype.names or dtype.subdtype or not dtype.itemsize:
            raise pickle.UnpicklingError(f"an array of {self.text!r}; expected numbers or text")
        return dtype


def array_from_bytes(
    data: object, dtype: object, shape: object, order: object = "C", axes: object = None
) -> np.ndarray[Any, Any]:
    """Make an array of numbers or text, after checking type, shape and length."""
    sizes = shape if isinstance(shape, tuple) and len(shape) <= 16 else (-1,)
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError("an array of objects; expected numbers or text")
    kind = dtype.real()
    if not all(type(size) is int and 0 <= size < 1 << 62 for size in sizes):
        raise pickle.UnpicklingError("an array of an impossible shape")
    if prod(sizes) * kind.itemsize != len(data):
        raise pickle.UnpicklingError(f"an array whose shape {str(sizes)[:60]} does not fit its {len(data)} bytes")
    array = np.frombuffer(data, kind).reshape(sizes, order="F" if order == "F" else "C")
    if axes is None:
        return array
    if not isinstance(axes, tuple) or sorted(axes) != list(range(array.ndim)):
        raise pickle.UnpicklingError("a damaged array")
    return array.transpose(axes)


def _scalar(dtype: object, data: object = b"") -> Any:
    return array_from_bytes(data, dtype, ()).item()


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """Decode bytes as written by pickle protocol 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("text in another encoding")
    return text.encode("latin1")


NUMPY_SCALARS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


class _Call:
    """A function that the pickle can call but not otherwise access."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: object) -> Any:
        return self._function(*args)


_Base: Any = pickle._Unpickler  # the one in Python: its opcodes can be replaced, and no nesting crashes it


class RestrictedUnpickler(_Base):
    """Unpickler for plain containers, text, numbers, and the results of permitted functions.

    Args:
        file: Binary file, positioned at the pickle.
        allowed: Maps each permitted ``(module, name)`` to a stand-in, which is a function or a plain value. State that
            the pickle sets on an object is passed to the object's method ``restore``, if it has one.
    """

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(_Base.dispatch)

    def __init__(self, file: IO[bytes], allowed: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(file)
        self.allowed, self.position, self.made = allowed, file.tell, 0

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name.

        Raises:
            Refused: The name is not permitted.
        """
        if (module, name) not in self.allowed:
            raise Refused(module, name)
        found = self.allowed[module, name]
        return _Call(found) if callable(found) else found

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][_key(key)] = value

    def _setitems(self) -> None:
        items = self.pop_mark()
        self.stack[-1].update({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def _reduce(self) -> None:
        args = self.stack.pop()
        found = self.stack[-1] = self.stack[-1](*args)
        if isinstance(found, bytes | str):  # short calls must not make long text again and again
            self.made += len(found)
            if self.made > self.position() + 1000:
                raise pickle.UnpicklingError("more text than it holds")

    def _build(self) -> None:
        state = self.stack.pop()
        restore = getattr(type(self.stack[-1]), "restore", None)
        if restore is None:
            raise pickle.UnpicklingError(f"state for a {type(self.stack[-1]).__name__.strip('_')}")
        restore(self.stack[-1], state)

    def _bytearray8(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))  # what is there, not what is said

    def _refuse(self) -> None:
        raise pickle.UnpicklingError("a set, an extension, or a class of another time")

    dispatch[pickle.SETITEM[0]], dispatch[pickle.SETITEMS[0]] = _setitem, _setitems
    dispatch[pickle.DICT[0]], dispatch[pickle.BYTEARRAY8[0]] = _dict, _bytearray8
    dispatch[pickle.REDUCE[0]] = dispatch[pickle.NEWOBJ[0]] = _reduce
    dispatch[pickle.BUILD[0]] = _build
    for _opcode in (
        pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.INST,
        pickle.OBJ, pickle.NEWOBJ_EX, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER,
    ):  # fmt: skip
        dispatch[_opcode[0]] = _refuse


def _key(key: object) -> str | int:
    """Check a dict key: other types can be slow or crash when hashed, and large integers can be made to collide."""
    if isinstance(key, str) or (isinstance(key, int) and -LARGEST_KEY < key < LARGEST_KEY):
        return key
    raise pickle.UnpicklingError(f"a {type(key).__name__.strip('_')} as a key")
