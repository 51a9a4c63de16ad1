"""Files inside zip files, by paths that lead into them: ``data.zip/folder/file.txt``. Nothing is unpacked to disk."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath

from mamp.errors import MissingFileError, ReadError

CHUNK = 1 << 20
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, IndexError, RuntimeError, NotImplementedError)


def is_archive(path: Path) -> bool:
    """Whether a file goes by the name of a zip file."""
    return path.suffix.lower() == ".zip"


def list_members(archive: Path) -> list[Path]:
    """Paths of the files in a zip file, as they stand in it; hidden ones and those of macOS are left out.

    Raises:
        ReadError: It is damaged, or a member's path climbs out of it.
    """
    hidden = (".", "__MACOSX/")
    _, names = _open(archive, _stamp(archive))
    return [archive / name for name in names if not name.startswith(hidden) and "/." not in name]


def split_archive(path: Path) -> tuple[Path, str] | None:
    """The zip file and the member that a path leads to, or ``None`` where it leads into no zip file."""
    for parent in path.parents:
        if is_archive(parent) and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return None


def read_member(archive: Path, member: str, limit: Callable[[int], int]) -> bytes:
    """Unpacked bytes of a member.

    Args:
        archive: The zip file.
        member: Path in it.
        limit: The most bytes that so many packed ones may become.

    Raises:
        MissingFileError: There is no such member.
        ReadError: The zip file or the member is damaged, too large, or locked by a password.
    """
    info = _find(archive, member)
    packed = min(info.compress_size, _stamp(archive)[0])
    data = bytearray()
    try:
        with _open(archive, _stamp(archive))[0].open(info) as file:
            while len(data) <= limit(packed) and (chunk := file.read(CHUNK)):
                data += chunk
    except _DAMAGE as error:
        raise ReadError(f"{archive / member}: damaged or locked in its zip file ({error}); get it again.") from None
    if len(data) > limit(packed):
        raise ReadError(f"{archive / member}: {packed:,} bytes unpack to more than {limit(packed):,}; unpack it first.")
    return bytes(data)


def member_stamp(archive: Path, member: str) -> tuple[int, int]:
    """Size and check sum of a member, as the zip file states them.

    Raises:
        MissingFileError: There is no such member.
    """
    info = _find(archive, member)
    return info.file_size, info.CRC


def _find(archive: Path, member: str) -> zipfile.ZipInfo:
    info = _open(archive, _stamp(archive))[1].get(member)
    if info is None:
        raise MissingFileError(f"{archive} holds no {member}. Check the path.")
    return info


def _stamp(archive: Path) -> tuple[int, int]:
    try:
        stat = archive.stat()
    except OSError as error:
        raise ReadError(f"{archive} cannot be read: {error}.") from None
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=2)
def _open(archive: Path, stamp: tuple[int, int]) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """An open zip file and its members; a large directory takes long to read, so it stays open for the next member."""
    try:
        file = zipfile.ZipFile(archive)
    except _DAMAGE as error:
        raise ReadError(f"{archive}: damaged or cut zip file ({error}); download it again.") from None
    members: dict[str, zipfile.ZipInfo] = {}
    for info in file.infolist():
        if not info.filename or info.is_dir():
            continue
        path, windows = PurePosixPath(info.filename), PureWindowsPath(info.filename)
        if path.is_absolute() or windows.drive or ".." in windows.parts:
            raise ReadError(
                f"{archive}: the path of a member climbs out of the zip file ({info.filename[:80]!r}); refused. "
                "Get the archive from where its owners distribute it."
            )
        members[path.as_posix()] = info
    return file, members
