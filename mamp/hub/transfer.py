"""Download files from the Hub with limits on time and size, and verify them before they are stored."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from mamp.errors import WeightsError
from mamp.outputs import folder_beside

TIMEOUT_VARIABLE, TIMEOUT = "MAMP_HUB_TIMEOUT", 120.0
SLOWEST = 1000  # bytes a second; less is no progress
REMOVED = "The download was removed; try again, and report it when it happens again."
GIT_HASH, SHA256 = 40, 64  # hexadecimal digits by which the Hub names small files and large ones

_T = TypeVar("_T")


class Progress:
    """State of a transfer: bytes received, and whether the caller has given up."""

    def __init__(self) -> None:
        self.bytes, self.given_up = 0, False


class _Download(io.FileIO):
    """File that accepts at most ``size`` bytes, and none after the caller has given up."""

    def __init__(self, path: Path, size: int, progress: Progress) -> None:
        super().__init__(path, "xb+")
        self.size, self.progress = size, progress

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write a block."""
        if self.progress.given_up or self.tell() + len(data) > self.size:
            raise OSError(f"more than the {self.size:,} bytes that were stated")
        self.progress.bytes += len(data)
        return super().write(data)


def with_progress(work: Callable[[Progress], _T], repo_id: str) -> _T:
    """Run ``work`` in a thread and give up if it makes no progress.

    Raises:
        WeightsError: There was no progress for ``MAMP_HUB_TIMEOUT`` seconds.
    """
    said = os.environ.get(TIMEOUT_VARIABLE, TIMEOUT)
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise WeightsError(f"{TIMEOUT_VARIABLE}: expected seconds above zero, found {said!r}.")
    progress, results, errors = Progress(), list[_T](), list[BaseException]()

    def run() -> None:
        try:
            results.append(work(progress))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="mamp-fetch", daemon=True)
    thread.start()
    count, since = progress.bytes, time.monotonic()
    try:
        while True:
            thread.join(min(1.0, seconds / 10))
            if not thread.is_alive():
                break
            if progress.bytes - count >= SLOWEST * seconds:
                count, since = progress.bytes, time.monotonic()
            elif time.monotonic() - since > seconds:
                raise WeightsError(_stuck(repo_id, seconds))
    finally:
        progress.given_up = True
    if errors:
        raise errors[0]
    return results[0]


def _stuck(repo_id: str, seconds: float) -> str:
    from huggingface_hub import constants

    place, parts = f"{repo_id!r} at {constants.ENDPOINT}", urlsplit(constants.ENDPOINT)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=3).close()
    except OSError as error:
        return f"{place}: cannot be reached ({error}), for {seconds:g} seconds. Check the connection and the proxy."
    return (
        f"{place}: reached, but for {seconds:g} seconds it sent nothing or next to nothing. Try again later, or set "
        f"{TIMEOUT_VARIABLE} to more seconds."
    )


def download(url: str, headers: dict[str, str], size: int, blob: Path, progress: Progress) -> str:
    """Download a file to ``blob``, whose name is its expected hash; return what is wrong with it, or ``""``."""
    from huggingface_hub.file_download import http_get

    with folder_beside(blob) as folder:
        with _Download(folder / blob.name, size, progress) as file:
            http_get(url, file, headers=headers, expected_size=size, displayed_filename=blob.name[:12])
        if found := damage(folder / blob.name, blob.name):
            return f"{url}: {found} {REMOVED}"
        (folder / blob.name).replace(blob)
        return ""


def damage(path: Path, expected: str) -> str:
    """Compare a file with the hash stated by the Hub; return what is wrong, or ``""``."""
    size = path.stat().st_size
    if len(expected) == SHA256:
        kind, digests = "sha256", [hashlib.sha256()]
    else:  # git's own hash, and what mirrors of the Hub give
        kind, digests = "git's hash", [hashlib.sha1(b"blob %d\0" % size), hashlib.sha1()]
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            for digest in digests:
                digest.update(block)
    found = [digest.hexdigest() for digest in digests]
    return "" if expected in found else f"expected {kind} {expected}, found {found[0]}."
