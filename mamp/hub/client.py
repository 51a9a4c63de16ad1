"""The Hugging Face Hub: download, upload.

Endpoint, cache layout, tokens and offline mode are those of ``huggingface_hub``, its client. The client's own
``hf_hub_download`` and ``snapshot_download(allow_patterns=...)`` are not used: they name cache files after the
ETag and commit of a second, unchecked request, store files without comparing them with their hash, and wait as long as
a server asks them to.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from urllib.parse import urlsplit

from mamp.errors import WeightsError
from mamp.hub.explain import explain
from mamp.hub.tensors import LARGEST_WEIGHTS, check_sha256
from mamp.hub.transfer import GIT_HASH, REMOVED, SHA256, Progress, damage, download, with_progress
from mamp.outputs import write_whole

_COMMIT = re.compile(r"[0-9a-f]{40}")


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
    """Download two files of one commit, or find them in the cache.

    Both files are compared with the hashes stated by the Hub. If one does not match, it is removed and downloaded once
    more. A transfer that makes no progress is aborted after two minutes; the environment variable ``MAMP_HUB_TIMEOUT``
    changes the number of seconds.

    Args:
        repo_id: ``owner/name``.
        filenames: Configuration and weights.
        revision: Branch, tag or commit; the default branch when ``None``.
        cache_dir: Cache folder; the default of ``huggingface_hub`` if ``None``.
        token: Access token; ``True`` for the one saved on this machine.
        local_files_only: Only look into the cache.
        sha256: Expected hash of the second file, if known.

    Raises:
        WeightsError: The files cannot be found, fetched or verified.
    """
    from huggingface_hub import constants

    root = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    source = _Source(repo_id, revision, root, token)
    try:
        small, large = source.find(filenames, local_files_only)
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(explain(error, repo_id, revision, local_files_only)) from error
    if sha256 is not None:
        try:
            check_sha256(large, sha256, REMOVED)
        except WeightsError:
            _remove(large)
            raise
    return small, large


@dataclass(frozen=True)
class _File:
    """Metadata of a file, as stated by the Hub."""

    name: str
    url: str
    location: str
    commit: str
    etag: str
    size: int


@dataclass(frozen=True)
class _Source:
    """A revision of a repository, and the cache; see :func:`fetch`."""

    repo_id: str
    revision: str | None
    root: Path
    token: str | bool | None

    @property
    def folder(self) -> Path:
        """Folder of the repository in the cache."""
        return self.root / f"models--{self.repo_id.replace('/', '--')}"

    def find(self, filenames: tuple[str, str], only_local: bool) -> tuple[Path, Path]:
        """Return two files of one commit; from the cache if the Hub need not, or cannot, be asked."""
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RevisionNotFoundError

        cached, damaged = self.cached(filenames)
        if damaged and only_local:
            raise WeightsError(damaged)
        if cached is not None and (only_local or _COMMIT.fullmatch(self.revision or "")):
            return cached
        if only_local:
            raise LocalEntryNotFoundError("not in the cache")
        try:
            return with_progress(lambda progress: self.fetch(filenames, progress), self.repo_id)
        except (EntryNotFoundError, RevisionNotFoundError):
            raise
        except _Unreachable as error:
            if cached is not None:
                return cached
            raise error.__cause__ or error from None
        except WeightsError as error:
            if damaged:
                raise WeightsError(f"{damaged} Fetching it again failed: {error}") from error
            raise

    def cached(self, filenames: tuple[str, str]) -> tuple[tuple[Path, Path] | None, str]:
        """Look for both files in the cache.

        Returns:
            The files, or ``None`` if they are not both there, intact and of one commit; and a description of damaged
            files, which are removed.
        """
        from huggingface_hub import try_to_load_from_cache

        found = [
            try_to_load_from_cache(self.repo_id, name, cache_dir=self.root, revision=self.revision)
            for name in filenames
        ]
        paths = [Path(path) for path in found if isinstance(path, str)]
        wrong = []
        for path in paths:
            name = path.resolve().name  # the cache names contents by the hash that the Hub gave for them
            if len(name) in (GIT_HASH, SHA256) and (reason := damage(path, name)):
                _remove(path)
                wrong.append(f"{path}: {reason} {REMOVED}")
        whole = len(paths) == 2 and not wrong and paths[0].parent == paths[1].parent
        return ((paths[0], paths[1]) if whole else None), " ".join(wrong)

    def fetch(self, filenames: tuple[str, str], progress: Progress) -> tuple[Path, Path]:
        """Download what is missing in the cache."""
        small, large = (self.ask(name) for name in filenames)
        if small.commit != large.commit:  # the branch moved in between
            small = self.ask(filenames[0])
        if small.commit != large.commit:
            raise WeightsError(f"{self.repo_id}: the revision changed while it was downloaded; try again.")
        places = self.put(small, progress), self.put(large, progress)
        if self.revision != small.commit:
            reference = self.folder / "refs" / (self.revision or "main")
            reference.parent.mkdir(parents=True, exist_ok=True)
            write_whole(reference, small.commit)
        return places

    def ask(self, filename: str) -> _File:
        """Request the metadata of a file. ETag and commit become file names, so they must be hashes.

        Raises:
            WeightsError: ETag or commit is not a hash, the commit is not the requested one, or the size is impossible.
            _Unreachable: The server does not answer or refuses the request.
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError

        url = hf_hub_url(self.repo_id, filename, revision=self.revision)
        try:
            found = get_hf_file_metadata(url, token=self.token)
        except (EntryNotFoundError, RevisionNotFoundError):
            raise
        except Exception as error:
            raise _Unreachable from error
        where = f"{self.repo_id!r}: {filename}"
        advice = "Nothing was written; this is not the Hugging Face Hub, or it was tampered with."
        for what, value, lengths in (
            ("ETag", found.etag, (GIT_HASH, SHA256)),
            ("X-Repo-Commit", found.commit_hash, (GIT_HASH,)),
        ):
            if not value or len(value) not in lengths or not re.fullmatch(r"[0-9a-f]+", value):
                shown = "none" if value is None else repr(value[:100])
                raise WeightsError(f"{where}: expected a hexadecimal {what} from the Hub, found {shown}. {advice}")
        assert found.etag and found.commit_hash
        if _COMMIT.fullmatch(self.revision or "") and found.commit_hash != self.revision:
            raise WeightsError(f"{where}: expected commit {self.revision}, found {found.commit_hash}. {advice}")
        if found.size is None or not 0 < found.size <= LARGEST_WEIGHTS:
            raise WeightsError(f"{where}: expected 1 to {LARGEST_WEIGHTS:,} bytes, found {found.size}. {advice}")
        return _File(filename, url, found.location, found.commit_hash, found.etag, found.size)

    def put(self, file: _File, progress: Progress) -> Path:
        """Return the path of a file in the cache, after downloading it if it is missing or damaged.

        Raises:
            WeightsError: The download did not match its hash, twice.
        """
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        blob = self.folder / "blobs" / file.etag
        pointer = self.folder / "snapshots" / file.commit / file.name
        for folder in (blob.parent, pointer.parent):
            folder.mkdir(parents=True, exist_ok=True)
        if not blob.is_file() or damage(blob, file.etag):
            same = urlsplit(file.url)[:2] == urlsplit(file.location)[:2]  # scheme and host: others get no token
            headers = build_hf_headers(token=self.token if same else False, library_name="mamp")
            wrong = download(file.location, headers, file.size, blob, progress)
            if wrong and (wrong := download(file.location, headers, file.size, blob, progress)):
                raise WeightsError(wrong)
        if not (pointer.is_file() and pointer.resolve().name == file.etag):
            beside = pointer.with_name(f".{file.name}.{os.getpid()}")
            beside.unlink(missing_ok=True)
            try:
                beside.symlink_to(Path("../..") / "blobs" / file.etag)
            except OSError:  # no links here
                shutil.copyfile(blob, beside)
            beside.replace(pointer)
        return pointer


class _Unreachable(Exception):
    """The Hub could not be asked; see ``__cause__``."""


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
    """Upload a folder as one commit, creating the repository and branch if needed, and return the URL of the commit.

    Raises:
        WeightsError: The upload failed.
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
        raise WeightsError(explain(error, repo_id, revision, local_files_only=False)) from error
    return str(commit.commit_url)
