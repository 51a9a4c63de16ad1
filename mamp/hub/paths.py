"""Validate names, paths and options passed by users."""

from __future__ import annotations

import os
import re
from os import PathLike
from pathlib import Path

from mamp.errors import WeightsError

_REPO_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)
_REVISION = re.compile(r"\w[\w.+-]*(?:/\w[\w.+-]*)*")
_LONGEST = 250


def local_path(value: str | PathLike[str], what: str = "path") -> Path:
    """Return a path with ``~`` expanded.

    Raises:
        WeightsError: ``value`` is not a path, or not a valid file name.
    """
    text = os.fspath(value) if isinstance(value, (str, PathLike)) else None
    if not isinstance(text, str) or not text:
        found = "empty text" if text == "" else type(value).__name__
        raise WeightsError(f"{what}: expected a path as text or pathlib.Path, found {found}.")
    try:
        path = Path(text).expanduser()
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError, RuntimeError) as error:  # too long, NUL, half a character, no such user, a circle
        reason = error.strerror if isinstance(error, OSError) else error
        raise WeightsError(f"{what}: expected a path, found {text[:100]!r}, which cannot be one ({reason}).") from error
    return path


def check_hub_options(
    revision: object = None,
    cache_dir: str | PathLike[str] | None = None,
    token: object = None,
    local_files_only: object = False,
) -> None:
    """Validate the options of ``from_pretrained``.

    Raises:
        WeightsError: An option has the wrong type or an invalid value.
    """
    if revision is not None and not (
        isinstance(revision, str) and len(revision) <= _LONGEST and _REVISION.fullmatch(revision)
    ):
        raise WeightsError(f"revision: expected a branch, tag or commit, found {_short(revision)}.")
    if cache_dir is not None and (path := local_path(cache_dir, "cache_dir")).exists() and not path.is_dir():
        raise WeightsError(f"cache_dir: expected a folder, found the file {path}.")
    printable = isinstance(token, str) and token.isascii() and token.isprintable() and bool(token.strip())
    if not (token is None or isinstance(token, bool) or printable):
        raise WeightsError(f"token: expected a token as text, True, False or None, found {type(token).__name__}.")
    if not isinstance(local_files_only, bool):
        raise WeightsError(f"local_files_only: expected True or False, found {_short(local_files_only)}.")


def check_repo_id(repo_id: object) -> None:
    """Raise :class:`WeightsError` unless ``repo_id`` is ``name`` or ``owner/name``."""
    if not isinstance(repo_id, str) or len(repo_id) > _LONGEST or not _REPO_ID.fullmatch(repo_id):
        raise WeightsError(f"repo_id: expected a repository id owner/name, found {_short(repo_id)}.")


def _short(value: object) -> str:
    return repr(value[:100]) if isinstance(value, str) else type(value).__name__
