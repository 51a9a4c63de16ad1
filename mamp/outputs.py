"""Atomic output files and folders, strict JSON, and folders that belong to one run.

Everything the package writes goes through here. Files are written under a temporary name and renamed, so that a kill at
any time leaves the old or the new one. The folder of a run belongs to the facts in its record file; other facts are
rejected, naming the differences.
"""

from __future__ import annotations

import ctypes
import json
import logging
import math
import os
import platform
import re
import secrets
import shutil
import stat
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from mamp.errors import MAMPError

logger = logging.getLogger(__name__)

DAY = 24 * 60 * 60


def output_file(path: Path) -> Path:
    """The file to write for a name: where a symbolic link leads, which need not exist yet.

    Raises:
        MAMPError: It is a folder, a device, a pipe or a socket, lies in a folder that is not there, or leads nowhere.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    except OSError as reason:
        raise MAMPError(f"{path}: expected a file to write, found: {reason.strerror}. Name another file.") from None
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        found = kinds.get(stat.S_IFMT(mode), "a device")
        raise MAMPError(f"{path}: expected a file to write, found {found}. Name another file.")
    path = through_links(path)
    if not path.parent.is_dir():
        raise MAMPError(f"{path}: the folder {path.parent} does not exist; make it first.")
    return path


def through_links(path: Path) -> Path:
    """Where a symbolic link leads; any other path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextmanager
def written_whole(path: Path, tidy: bool = True) -> Iterator[IO[bytes]]:
    """Open a binary file that appears under its name only once it is complete; a symbolic link stays one.

    Args:
        path: The file.
        tidy: Delete what killed processes left beside it, which takes a look at all files of the folder.

    Raises:
        MAMPError: As :func:`output_file`.
    """
    path = output_file(path)
    if tidy:
        remove_leftovers(path)
    beside = path.with_name(f".{path.name}.{_maker()}.tmp")
    try:
        with beside.open("wb") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file atomically; text is encoded as UTF-8."""
    with written_whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def put_in_place(folder: Path, path: Path) -> None:
    """Rename a finished folder to ``path``, replacing what was there.

    The two are exchanged atomically if the system supports it. Otherwise the old one is renamed first, and restored by
    :func:`recover` after a kill in between.
    """
    remove_leftovers(path)
    if path.exists():
        if _exchange(folder, path):
            shutil.rmtree(folder, ignore_errors=True)
            return
        old = path.with_name(f".{path.name}-old-{_maker()}")
        path.rename(old)
        folder.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    else:
        folder.rename(path)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path``, removed at the end, or by the next run if this process is killed."""
    remove_leftovers(path)
    beside = path.with_name(f".{path.name}-{_maker()}-{secrets.token_hex(4)}")
    beside.mkdir(parents=True)
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def recover(path: Path) -> None:
    """Restore a folder that a killed process had renamed to replace it, if ``path`` does not exist."""
    if not path.exists():
        for left in _leftovers(path):
            if "-old-" in left.name and not path.exists():
                with suppress(OSError):
                    left.rename(path)


def remove_leftovers(path: Path) -> None:
    """Recover ``path``, and delete temporary files of killed processes beside it."""
    recover(path)
    for left in _leftovers(path):
        shutil.rmtree(left, ignore_errors=True)
        with suppress(OSError):
            left.unlink()


def _maker() -> str:
    """Identifier of this process and machine in temporary names."""
    return f"{os.getpid()}@{zlib.crc32(platform.node().encode()):08x}"


def _leftovers(path: Path) -> list[Path]:
    """Temporary files of dead processes beside ``path``; of other machines, if not modified for a day."""
    name = re.escape(f".{path.name}")
    left = re.compile(name + r"(-old-|\.|-)(\d+)(?:@([0-9a-f]{8}))?(\.tmp|-[0-9a-f]{8})?")
    here, found = _maker().partition("@")[2], []
    with suppress(OSError):
        for entry in path.parent.iterdir():
            match = left.fullmatch(entry.name)
            if match is None or (match[1], (match[4] or "")[:1]) not in (("-old-", ""), (".", "."), ("-", "-")):
                continue
            elsewhere = match[3] is not None and match[3] != here
            if time.time() - entry.lstat().st_mtime > DAY if elsewhere else not _is_alive(int(match[2])):
                found.append(entry)
    return found


def _is_alive(pid: int) -> bool:
    """Whether the process exists; always true on Windows, where the test would kill it."""
    if os.name == "nt" or pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names atomically (Linux); false if unsupported."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    rename.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return bool(rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0)


def dump_json(value: Any) -> str:
    """Format as JSON, with plain numbers for NumPy's, and ``null`` for NaN and infinity."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """Convert nested values to JSON types: dicts with text keys, lists, finite numbers, text, ``None``."""
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
    """Flatten nested fields to dotted names: ``{"optim": {"lr": 1}}`` becomes ``{"optim.lr": 1}``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def changed_fields(found: Mapping[str, Any], wanted: Mapping[str, Any], free: Collection[str] = ()) -> list[str]:
    """Dotted names of the fields in which two nested mappings differ, except fields or sections in ``free``."""
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
    """Claim the folder of ``record`` for ``facts``: write the record, unless the folder already belongs to them.

    Args:
        record: Record file, such as ``run.json``.
        facts: Content of the record.
        found: Existing record to continue with, if any.
        different: Names of the fields in which the two differ; see :func:`changed_fields`.
        what: Kind of the folder in messages, such as ``"run"``.
        error: Raised if the folder belongs to something else, or cannot be written.
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
    """Hold a lock, or raise ``busy``, completed by the process that holds it.

    The kernel releases the lock of a killed process. No effect on Windows, and on file systems without locks.
    """
    while True:
        file = path.open("a+b", buffering=0)
        _take(file, busy)
        if _is_named(file, path):
            break
        file.close()  # its previous holder has just removed the file
    try:
        with suppress(OSError):  # if the disk is full, the lock only lacks a name
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        file.close()


def _take(file: IO[bytes], busy: MAMPError) -> None:
    """Lock an open file, or raise ``busy``."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read(300).decode(errors="replace")
        file.close()
        raise type(busy)(f"{busy} It is {holder}." if holder else str(busy)) from None
    except OSError as error:
        logger.debug("%s: no lock (%s)", file.name, error)


def _is_named(file: IO[bytes], path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def one_writer(folder: Path, what: str, error: type[MAMPError]) -> Iterator[None]:
    """Create and lock the folder of a run; raises ``error`` if another process holds it, or it is not writable."""
    busy = error(
        f"{folder}: another process works on this {what}. Wait until it has ended, or choose another output folder."
    )
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock(folder / ".lock", busy))
        except OSError as reason:
            raise error(f"{folder}: cannot write here ({reason}). Choose another output folder.") from None
        yield
