"""Read torch checkpoints (``.pth``, ``.pt``) from untrusted sources without running code.

:func:`torch.load` allocates whatever sizes a file states and ignores its checksums. This reader compares all checksums
first, refuses tensors that are larger than their bytes in the file, and loads only the tensors that are asked for.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from mamp.errors import MAMPError, WeightsError
from mamp.hub.stored import CheckpointUnpickler, Storage, StoredTensor
from mamp.pickles import Refused, RestrictedUnpickler

LARGEST_FILE = 2 << 30  # bytes
LARGEST_PICKLE = LARGEST_DIRECTORY = 4 << 20
MOST_RECORDS = 20_000
_BLOCK = 1 << 20
_DEEPEST = 20  # containers in containers
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # of files by torch before 1.6


class Checkpoint:
    """An open checkpoint.

    Attributes:
        content: Plain containers, text and numbers, with a :class:`StoredTensor` for each tensor.
    """

    def __init__(self, path: Path, content: Any, read: Callable[[str], Iterable[bytes]]) -> None:
        self.path, self.content, self._read = path, content, read

    def tensors(self, wanted: Mapping[str, StoredTensor], largest: int | None = None) -> dict[str, Tensor]:
        """Read tensors.

        Args:
            wanted: The tensors to read, by the names used in messages.
            largest: Limit on their total size in bytes.

        Raises:
            WeightsError: A tensor is larger than its data in the file, or the total exceeds the limit.
        """
        for name, tensor in wanted.items():
            if not tensor.fits:
                raise WeightsError(
                    f"{self.path}: tensor {name!r} of shape {list(tensor.size)[:8]}: expected its "
                    f"{prod(tensor.size):,} values in the file, found {tensor.storage.count:,}: it is damaged."
                )
        storages: dict[Storage, list[str]] = {}
        for name, tensor in wanted.items():
            storages.setdefault(tensor.storage, []).append(name)
        stored = sum(storage.count * storage.dtype.itemsize for storage in storages)
        needed = sum(tensor.nbytes for tensor in wanted.values())
        if needed > stored:
            raise WeightsError(
                f"{self.path}: expected {needed:,} bytes of tensors, found {stored:,}: tensors share their values."
            )
        if largest is not None and stored > largest:
            raise WeightsError(f"{self.path}: expected at most {largest:,} bytes of weights, found {stored:,}.")
        found: dict[str, Tensor] = {}
        for storage, names in storages.items():
            data = bytearray()
            for block in self._read(storage.key):
                data += block
            numbers = torch.frombuffer(data, dtype=storage.dtype) if data else torch.empty(0, dtype=storage.dtype)
            for name in names:
                tensor = wanted[name]
                found[name] = numbers.as_strided(tensor.size, tensor.stride, tensor.offset).clone()
        return {name: found[name] for name in wanted}

    def load(self) -> Any:
        """Return the whole content with all tensors loaded."""
        wanted: dict[str, StoredTensor] = {}
        _replace(self.content, lambda tensor: wanted.setdefault(str(id(tensor)), tensor), {})
        tensors = self.tensors(wanted)
        return _replace(self.content, lambda tensor: tensors[str(id(tensor))], {})


def _replace(value: Any, change: Callable[[StoredTensor], Any], known: dict[int, Any], depth: int = 0) -> Any:
    """Copy nested containers, replacing each tensor; shared containers are visited once."""
    if isinstance(value, StoredTensor):
        return change(value)
    if not isinstance(value, (dict, list, tuple)):
        return value
    if depth == _DEEPEST:
        raise pickle.UnpicklingError("deep nesting")
    if id(value) not in known:
        if isinstance(value, dict):
            known[id(value)] = {key: _replace(item, change, known, depth + 1) for key, item in value.items()}
        else:
            known[id(value)] = type(value)(_replace(item, change, known, depth + 1) for item in value)
    return known[id(value)]


@contextmanager
def open_checkpoint(path: Path, largest: int | None = LARGEST_FILE) -> Iterator[Checkpoint]:
    """Verify a checkpoint and open it.

    Args:
        path: The file.
        largest: Size in bytes up to which it is read.

    Raises:
        WeightsError: The file is missing, damaged or too large, or it asks for code to be run.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: expected a checkpoint file, found {'a folder' if path.is_dir() else 'nothing'}.")
    if largest is not None and (size := path.stat().st_size) > largest:
        raise WeightsError(f"{path}: expected a checkpoint of at most {largest:,} bytes, found {size:,}.")
    try:
        with _Blocks(path) as file:
            if file.read(4) == b"PK\x03\x04":
                with zipfile.ZipFile(file) as archive:
                    yield _open_zip(path, archive)
            else:
                yield _open_legacy(path, file)
    except Refused as error:
        raise WeightsError(
            f"{path}: refused. It asks for {error.name!r}, which no checkpoint of the published code needs and which "
            "may run code; nothing of it was run."
        ) from error
    except PermissionError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}).") from error
    except MAMPError:
        raise
    except MemoryError as error:
        raise WeightsError(f"{path}: needs more memory than there is.") from error
    except Exception as error:  # what a damaged pickle raises is not bounded
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise WeightsError(f"{path}: expected a torch checkpoint, found a cut or damaged file ({reason}).") from error


class _Blocks(io.FileIO):
    """File that refuses large reads: :mod:`zipfile` would load a directory of any size into memory."""

    def read(self, size: int | None = -1) -> bytes:
        left = max(os.fstat(self.fileno()).st_size - self.tell(), 0)
        size = left if size is None or size < 0 else min(size, left)
        if size > LARGEST_DIRECTORY:
            raise zipfile.BadZipFile(f"a directory or block of {size:,} bytes")
        return super().read(size) or b""


def _open_zip(path: Path, archive: zipfile.ZipFile) -> Checkpoint:
    records = archive.infolist()
    if len(records) > MOST_RECORDS or sum(record.compress_size for record in records) > path.stat().st_size:
        raise zipfile.BadZipFile(f"{len(records)} records, larger than the file")
    names = {record.filename: record for record in records}
    if len(names) < len(records) or any(
        record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size or record.flag_bits & 1
        for record in records
    ):
        raise zipfile.BadZipFile("records that are compressed, encrypted or there twice; torch writes no such files")
    for record in records:
        for _ in _blocks(archive, record):  # its checksum is compared at its end
            pass
    roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise zipfile.BadZipFile("no data.pkl")
    (root,) = roots
    order = names.get(f"{root}byteorder")
    if order is not None and archive.read(order) != b"little":
        raise zipfile.BadZipFile("numbers of another byte order")
    program = names[f"{root}data.pkl"]
    if program.file_size > LARGEST_PICKLE:
        raise zipfile.BadZipFile(f"a data.pkl of {program.file_size:,} bytes")

    sizes = {name.removeprefix(f"{root}data/"): record.file_size for name, record in names.items()}
    content = CheckpointUnpickler(io.BytesIO(archive.read(program)), sizes).load()
    return Checkpoint(path, content, lambda key: _blocks(archive, names[f"{root}data/{key}"]))


def _blocks(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(record) as file:
        while block := file.read(_BLOCK):
            yield block


def _open_legacy(path: Path, file: IO[bytes]) -> Checkpoint:
    """Open a file of torch before 1.6: five pickles followed by the storages, without checksums."""
    file.seek(0)
    head = io.BytesIO(file.read(LARGEST_PICKLE))
    magic, _version, _system = (RestrictedUnpickler(head, {}).load() for _ in range(3))
    if magic != _LEGACY_MAGIC:
        raise pickle.UnpicklingError("no checkpoint")
    program = head.tell()
    storages: set[Storage] = set()
    CheckpointUnpickler(head, None, storages).load()
    keys = RestrictedUnpickler(head, {}).load()
    widths = {storage.key: storage.dtype.itemsize for storage in storages}
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or {*keys} != {*widths}:
        raise pickle.UnpicklingError("other storages than its tensors need")
    places, at = {}, head.tell()
    for key in keys:
        file.seek(at)
        nbytes = int.from_bytes(file.read(8), "little") * widths[key]
        places[key], at = (at + 8, nbytes), at + 8 + nbytes
    if at != path.stat().st_size:
        raise pickle.UnpicklingError("storages that are shorter or longer than the file")
    head.seek(program)
    content = CheckpointUnpickler(head, {key: nbytes for key, (_, nbytes) in places.items()}).load()

    def read(key: str) -> Iterator[bytes]:
        start, nbytes = places[key]
        file.seek(start)
        for done in range(0, nbytes, _BLOCK):
            yield file.read(min(_BLOCK, nbytes - done))

    return Checkpoint(path, content, read)
