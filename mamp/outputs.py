"""Output files and folders: whole or absent, JSON that every reader takes, and folders that belong to one thing.

Everything the package writes goes through here. A file is written beside its name and renamed, so that a kill at any
moment leaves the old one or the new one. A folder of a run belongs to the facts in its record file; other facts are
refused by the names of what differs.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from mamp.errors import MAMPError


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that appears under its name only once it is complete."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all; text is encoded as UTF-8."""
    with written_whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def put_in_place(folder: Path, path: Path) -> None:
    """Rename a finished folder to ``path``, replacing what was there."""
    old = path.with_name(f".{path.name}-old-{os.getpid()}")
    if path.exists():
        path.rename(old)
    folder.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def dump_json(value: Any) -> str:
    """JSON text with plain numbers for numpy's, and ``null`` for what is not finite."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """Nested values as JSON holds them: dicts with text keys, lists, plain finite numbers, text, ``None``."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names: ``{"optim": {"lr": 1}}`` becomes ``{"optim.lr": 1}``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def changed_fields(found: Mapping[str, Any], wanted: Mapping[str, Any], free: Collection[str] = ()) -> list[str]:
    """Dotted names of the fields in which two nested mappings differ.

    Args:
        found: What a folder says.
        wanted: What is asked of it.
        free: Dotted names, of fields or of whole parts, that may differ.
    """
    here, there = flatten(wanted), flatten(found)
    missing = object()
    names = [name for name in {**here, **there} if here.get(name, missing) != there.get(name, missing)]
    return [name for name in names if not any(name == one or name.startswith(f"{one}.") for one in free)]


def claim(
    record: Path,
    facts: Mapping[str, Any],
    found: Mapping[str, Any] | None,
    different: Collection[str],
    what: str,
    error: type[MAMPError],
) -> None:
    """Make the folder of ``record`` that of ``facts``: write the record, unless the folder holds the same thing.

    Args:
        record: The file that says what the folder holds, such as ``run.json``.
        facts: What it is to hold.
        found: What it holds already and goes on with; ``None`` when it holds nothing yet.
        different: Names of what differs between the two; see :func:`changed_fields`.
        what: What the folder is, for the message: ``"run"``.
        error: Raised when it holds something else, or cannot be written.
    """
    folder = record.parent
    if found is not None:
        if different:
            raise error(
                f"{folder}: holds another {what} (different: {', '.join(different)}). Choose another output folder, or "
                "remove this one to start over."
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(record, dump_json(facts) + "\n")
    except OSError as reason:
        raise error(f"{folder}: cannot write here ({reason}). Choose another output folder.") from None


@contextmanager
def lock(path: Path, busy: MAMPError) -> Iterator[None]:
    """Hold a lock for as long as this process lives, or raise ``busy`` if another process holds it.

    The file stays; the kernel frees the lock of a process that was killed. Without effect on Windows.
    """
    with path.open("ab") as file:
        try:
            import fcntl
        except ImportError:
            pass
        else:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise busy from None
        yield
