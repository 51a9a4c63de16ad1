"""The Hugging Face Hub, through its own client: download, upload, and errors in words.

Cache, resuming, ``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` are the client's business.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from mamp.errors import WeightsError
from mamp.hub.serialization import check_sha256, sha256_of

TIMEOUT_VARIABLE, TIMEOUT = "MAMP_HUB_TIMEOUT", 120.0
SLOWEST = 1000  # bytes a second; less is no progress
REMOVED = "The download was removed; try again, and report it when it happens again."

_HEX = re.compile(r"[0-9a-f]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_T = TypeVar("_T")


def fetch(
    repo_id: str,
    filenames: tuple[str, str],
    *,
    revision: str | None,
    cache_dir: str | PathLike[str] | None,
    token: str | bool | None,
    local_files_only: bool,
    sha256: str | None = None,
) -> tuple[Path, Path]:
    """Download two files of one commit, or find them in the cache; both are compared with the hashes of the Hub.

    A file that differs from its hash is removed and fetched once more. A transfer without progress ends after two
    minutes, or the seconds that the environment variable ``MAMP_HUB_TIMEOUT`` states.

    Args:
        repo_id: ``owner/name``.
        filenames: The small file, and the one with the weights.
        revision: Branch, tag or commit; the default branch when ``None``.
        cache_dir: As the client understands it.
        token: As the client understands it.
        local_files_only: Only look into the cache.
        sha256: What the second file must be, where it is known beforehand.

    Raises:
        WeightsError: With what went wrong in words.
    """
    from huggingface_hub import constants

    source = _Source(repo_id, revision, None if cache_dir is None else str(cache_dir), token, local_files_only)
    folder = Path(source.cache_dir or constants.HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}"
    paths = _with_progress(lambda: source.download(filenames), folder, repo_id)
    if damage := _damage(paths):
        if not local_files_only:
            try:
                paths = _with_progress(lambda: source.download(filenames), folder, repo_id)
            except WeightsError as error:
                raise WeightsError(f"{damage} Fetching it again failed: {error}") from error
            damage = _damage(paths)
        if damage:
            raise WeightsError(damage)
    small, large = paths
    if sha256 is not None:
        try:
            check_sha256(large, sha256, REMOVED)
        except WeightsError:
            _remove(large)
            raise
    return small, large


@dataclass(frozen=True)
class _Source:
    """Where files come from; see :func:`fetch`."""

    repo_id: str
    revision: str | None
    cache_dir: str | None
    token: str | bool | None
    local_files_only: bool

    def download(self, filenames: tuple[str, str]) -> tuple[Path, Path]:
        """Download two files of one commit, or find them in the cache."""
        small, large = filenames
        try:
            first, second = self._get(small), self._get(large)
            if first.parent != second.parent:  # the branch moved in between
                first = self._get(small)
        except WeightsError:
            raise
        except Exception as error:
            raise WeightsError(_explain(error, self.repo_id, self.revision, self.local_files_only)) from error
        if first.parent != second.parent:
            raise WeightsError(f"{self.repo_id}: the revision changed while it was downloaded; try again.")
        return first, second

    def _get(self, filename: str) -> Path:
        import huggingface_hub as hub

        cached = hub.try_to_load_from_cache(self.repo_id, filename, cache_dir=self.cache_dir, revision=self.revision)
        is_cached = isinstance(cached, str)
        only_local = self.local_files_only
        if not only_local and not (is_cached and self.revision and _COMMIT.fullmatch(self.revision)):
            only_local = not self._ask(filename, is_cached)
        return Path(
            hub.hf_hub_download(
                self.repo_id,
                filename,
                revision=self.revision,
                cache_dir=self.cache_dir,
                token=self.token,
                local_files_only=only_local,
                library_name="mamp",
            )
        )

    def _ask(self, filename: str, cached: bool) -> bool:
        """Ask the Hub about a file once; return whether to go on asking, or to take what is cached.

        With nobody at the other end this fails at once, where a download would be tried for some 23 seconds. What the
        Hub itself has to say against the request is left to the download, which treats each answer as it should. The
        client names files in its cache by hash and commit, which therefore must be no more than that.
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        try:
            found = get_hf_file_metadata(hf_hub_url(self.repo_id, filename, revision=self.revision), token=self.token)
        except (HfHubHTTPError, OfflineModeIsEnabled):
            return True
        except Exception:
            if cached:
                return False
            raise
        for what, value, form in (("ETag", found.etag, _HEX), ("X-Repo-Commit", found.commit_hash, _COMMIT)):
            if value is not None and not form.fullmatch(value):
                raise WeightsError(
                    f"{self.repo_id!r}: {filename}: expected a hexadecimal {what} from the Hub, found {value[:100]!r}. "
                    "Nothing was written; this is not the Hugging Face Hub, or it was tampered with."
                )
        return True


def _with_progress(work: Callable[[], _T], folder: Path, repo_id: str) -> _T:
    """Do work that puts files into ``folder``, and give it up when that makes no progress.

    Raises:
        WeightsError: There was none for as long as ``MAMP_HUB_TIMEOUT`` says.
    """
    said = os.environ.get(TIMEOUT_VARIABLE, TIMEOUT)
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise WeightsError(f"{TIMEOUT_VARIABLE}: expected seconds above zero, found {said!r}.")
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="mamp-fetch", daemon=True)
    thread.start()
    size, since = _bytes_in(folder), time.monotonic()
    while True:
        thread.join(min(1.0, seconds / 10))
        if not thread.is_alive():
            break
        now = _bytes_in(folder)
        if now - size >= SLOWEST * seconds:
            size, since = now, time.monotonic()
        elif time.monotonic() - since > seconds:
            raise WeightsError(_stuck(repo_id, seconds))
    if errors:
        raise errors[0]
    return results[0]


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.glob("blobs/*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


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


def _damage(paths: tuple[Path, Path]) -> str:
    """Remove files of the cache that are not what their hash says; return what was found, or ``""``."""
    damage = []
    for path in paths:
        expected = path.resolve().name  # the client's cache names contents by the hash that the Hub gave for them
        if len(expected) == 64 and _HEX.fullmatch(expected):
            kind, found = "sha256", [sha256_of(path)]
        elif _COMMIT.fullmatch(expected):
            content = path.read_bytes()
            kind = "git's hash"
            found = [hashlib.sha1(b"blob %d\0%s" % (len(content), content)).hexdigest()]
            found += [hashlib.sha1(content).hexdigest()]
        else:
            continue  # a cache without links, or a server with other names
        if expected not in found:
            _remove(path)
            damage.append(f"{path}: expected {kind} {expected}, found {found[0]}. {REMOVED}")
    return " ".join(damage)


def _remove(path: Path) -> None:
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def upload(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None,
    token: str | bool | None,
    revision: str | None,
    commit_message: str,
) -> str:
    """Upload the files of a folder as one commit, creating repository and branch when needed; return its address.

    Raises:
        WeightsError: With what went wrong in words.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token, library_name="mamp")
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None and not revision.startswith("refs/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=folder, revision=revision, commit_message=commit_message
        )
    except Exception as error:
        raise WeightsError(_explain(error, repo_id, revision, local_files_only=False)) from error
    return str(commit.commit_url)


def _explain(error: BaseException, repo_id: str, revision: str | None, local_files_only: bool) -> str:
    """Word an error of the client. The client's transport, and so its exceptions, differ between its versions."""
    from huggingface_hub import constants, errors

    place = f"{repo_id!r} at {constants.ENDPOINT}"
    at = f"revision {revision!r}" if revision else "the default branch"
    if isinstance(error, errors.LocalEntryNotFoundError):
        if local_files_only:
            return f"{repo_id!r}, {at}, is not in the cache, and local_files_only=True forbids to fetch it."
        if isinstance(error.__cause__, errors.OfflineModeIsEnabled):
            return f"{repo_id!r}, {at}, is not in the cache, and HF_HUB_OFFLINE forbids to fetch it."
        if error.__cause__ is None:
            return f"{place}: cannot be fetched ({error})."
        return _explain(error.__cause__, repo_id, revision, local_files_only)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{place}: HF_HUB_OFFLINE forbids every request; unset it."
    log_in = "Log in with `hf auth login`, set HF_TOKEN, or pass token=."
    if isinstance(error, errors.GatedRepoError):
        return f"{place}: access must be asked for on the repository's page first. {log_in}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{place}: no such repository, or a private one that this token does not open. {log_in}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{place}: there is no {at}; expected a branch, tag or commit of that repository."
    if isinstance(error, errors.EntryNotFoundError):
        return f"{place}, {at}: not the weights of a mamp encoder: {_missing_file(error)} is missing."
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"{place}: token=True, and no token is saved on this machine. {log_in}"
    if isinstance(error, errors.HFValidationError):
        return f"{repo_id!r}: expected a repository id owner/name ({error})."
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"{place}: access was refused (HTTP {status}). {log_in}"
    if status is not None:
        return f"{place}: reached, but the server answered with HTTP {status}; try again later ({_first_line(error)})."
    if type(error).__name__ in ("ConnectError", "ConnectTimeout", "ConnectionError", "ProxyError", "ReadTimeout"):
        return (
            f"{place}: cannot be reached ({_first_line(error)}), and it is not in the cache. Check the connection, the "
            "proxy, and HF_ENDPOINT if it is set."
        )
    if isinstance(error, PermissionError):
        return f"{repo_id!r}: the cache folder cannot be written ({error}); pass cache_dir= or set HF_HOME."
    return f"{place}: the transfer broke off or was incomplete ({_first_line(error)}). Try again."


def _missing_file(error: BaseException) -> str:
    """Name of the file that a request was for."""
    request = getattr(getattr(error, "response", None), "request", None)
    return str(request.url).rpartition("/")[2] if request is not None else "a file"


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
