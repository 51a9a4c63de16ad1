"""Files below a folder and in the zip files there, as paths that every reader takes (``data.zip/folder/file.txt``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mamp.errors import MissingFileError, ReadError
from mamp.readers.archive import is_archive, list_members


def find_files(
    raw: Path, suffixes: Sequence[str], failed: dict[str, str] | None = None, inside_archives: bool = True
) -> list[Path]:
    """Files with one of these suffixes (also with ``.gz``) anywhere below a folder and in the zip files there.

    Hidden files and folders are left out. ``raw`` may be a zip file itself.

    Args:
        raw: Folder or zip file.
        suffixes: Ends of the names, any case.
        failed: Takes the zip files that are damaged; without it, the first of them is an error.
        inside_archives: Look into zip files.

    Returns:
        Paths in the order of their path below ``raw``, written with slashes.

    Raises:
        MissingFileError: There is no such folder.
        ReadError: A zip file is damaged, or the path of a member climbs out of it.
    """
    wanted = tuple(suffix.lower() for suffix in suffixes)

    def fits(name: str) -> bool:
        return name.lower().removesuffix(".gz").endswith(wanted)

    if raw.is_file() and is_archive(raw):
        return sorted((path for path in list_members(raw) if fits(path.name)), key=Path.as_posix)
    if not raw.is_dir():
        raise MissingFileError(f"{raw}: expected a folder of recordings (or a zip file of them), found none.")
    found: list[Path] = []
    seen = set()
    for folder, folders, files in os.walk(raw, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(folder, name)
            if name.startswith("."):
                continue
            if fits(name):
                found.append(path)
            elif inside_archives and is_archive(path):
                try:
                    found += [member for member in list_members(path) if fits(member.name)]
                except ReadError as error:
                    if failed is None:
                        raise
                    failed[key_of(raw, path)] = str(error)
    return sorted(found, key=lambda path: key_of(raw, path))


def key_of(raw: Path, path: Path) -> str:
    """Path below the folder that was given, written with slashes."""
    return path.relative_to(raw).as_posix()
