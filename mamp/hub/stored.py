"""Unpickle the structure of a checkpoint: containers, text, numbers, and descriptions of its tensors."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import IO, Any

import torch

from mamp.pickles import NUMPY_SCALARS, RestrictedUnpickler


@dataclass(frozen=True)
class Storage:
    """Data of tensors in a file: ``count`` elements of a type, under the name ``key``."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that has not been loaded: a view of a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        """Element type."""
        return self.storage.dtype

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        return prod(self.size) * self.dtype.itemsize

    @property
    def fits(self) -> bool:
        """Whether it lies within its storage, without repeating elements."""
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        room = self.storage.count - self.offset
        repeats = any(n > 1 and step == 0 for n, step in zip(self.size, self.stride, strict=True))
        return prod(self.size) == 0 or (last < self.storage.count and prod(self.size) <= room and not repeats)


class _Fields(dict[Any, Any]):
    """Stand-in for ordered dicts and namespaces: attributes become items."""

    def __init__(self, *items: object) -> None:
        super().__init__()
        if items:
            raise pickle.UnpicklingError("a mapping made of a call")

    def restore(self, state: object) -> None:
        """Add attributes as items, except the module versions that ``state_dict`` attaches."""
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            raise pickle.UnpicklingError("fields without names")
        self.update({name: value for name, value in state.items() if name != "_metadata"})


def _tensor(storage: object, offset: object, size: object, stride: object, *_: object) -> StoredTensor:
    numbers = (offset, *_ints(size), *_ints(stride))
    if not isinstance(storage, Storage) or len(_ints(size)) != len(_ints(stride)):
        raise pickle.UnpicklingError("a tensor of something else than numbers")
    if not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers):
        raise pickle.UnpicklingError("a tensor with an impossible shape")
    return StoredTensor(storage, numbers[0], _ints(size), _ints(stride))


def _ints(values: object) -> tuple[Any, ...]:
    if not isinstance(values, tuple) or len(values) > 16:
        raise pickle.UnpicklingError("a tensor without a shape")
    return values


def _parameter(tensor: object, *_: object) -> object:
    return tensor


def _path(*parts: object) -> str:
    return "/".join(part[:1000] for part in parts[:50] if isinstance(part, str))


_KINDS: dict[str, torch.dtype] = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool,
}  # fmt: skip
_ALLOWED: dict[tuple[str, str], Any] = {
    **NUMPY_SCALARS,
    **{("torch", f"{kind}Storage"): dtype for kind, dtype in _KINDS.items()},
    **{("torch", str(dtype).removeprefix("torch.")): str(dtype) for dtype in _KINDS.values()},
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): lambda sizes=(): sizes,
    ("torch", "device"): lambda *name: ":".join(str(part)[:100] for part in name[:2] if isinstance(part, (str, int))),
    ("collections", "OrderedDict"): _Fields,
    ("argparse", "Namespace"): _Fields,
    **{
        (module, name): _path
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
    },
}


class CheckpointUnpickler(RestrictedUnpickler):
    """Unpickler that makes a :class:`StoredTensor` for each tensor.

    Args:
        file: Binary file, positioned at the pickle.
        sizes: Size of each storage in the file, in bytes; ``None`` if not known yet.
        storages: Set to which the storages named by the pickle are added.
    """

    def __init__(self, file: IO[bytes], sizes: Mapping[str, int] | None, storages: set[Storage] | None = None) -> None:
        super().__init__(file, _ALLOWED)
        self.sizes, self.storages = sizes, storages

    def persistent_load(self, pid: object) -> Storage:
        """Return a storage; its stated size must equal the size of its data."""
        fields: Collection[Any] = pid if isinstance(pid, tuple) else ()
        if len(fields) not in (5, 6):
            raise pickle.UnpicklingError("a damaged storage")
        kind, dtype, key, _, count, *view = fields
        whole = type(count) is int and count >= 0 and view in ([], [None])
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str) or not whole:
            raise pickle.UnpicklingError("a damaged storage")
        storage = Storage(key, dtype, count)
        if self.sizes is not None and self.sizes.get(key) != count * dtype.itemsize:
            raise pickle.UnpicklingError(
                f"storage {key[:80]!r}: expected {count * dtype.itemsize} bytes, found {self.sizes.get(key)}"
            )
        if self.storages is not None:
            self.storages.add(storage)
        return storage
