"""The Hugging Face Hub, through its own client: download, upload, and errors in words.

Cache, resuming, ``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` are the client's business.
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

from mamp.errors import WeightsError
from mamp.hub.serialization import check_sha256

_SHA256 = re.compile(r"[0-9a-f]{64}")


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
    """Download two files of one commit, or find them in the cache; the second is verified.

    Args:
        repo_id: ``owner/name``.
        filenames: The small file, and the one with the weights.
        revision: Branch, tag or commit; the default branch when ``None``.
        cache_dir: As the client understands it.
        token: As the client understands it.
        local_files_only: Only look into the cache.
        sha256: What the second file must be; what the Hub says of it, where that is known, when ``None``.

    Raises:
        WeightsError: With what went wrong in words.
    """
    import huggingface_hub as hub

    cache = None if cache_dir is None else str(cache_dir)

    def download(filename: str) -> Path:
        return Path(
            hub.hf_hub_download(
                repo_id,
                filename,
                revision=revision,
                cache_dir=cache,
                token=token,
                local_files_only=local_files_only,
                library_name="mamp",
            )
        )

    small, large = filenames
    try:
        cached = hub.try_to_load_from_cache(repo_id, large, cache_dir=cache, revision=revision)
        if not local_files_only and not isinstance(cached, str):
            said = _ask(repo_id, large, revision, token)
            sha256 = sha256 or said
        first, second = download(small), download(large)
        if first.parent != second.parent:  # the branch moved in between
            first = download(small)
    except Exception as error:
        raise WeightsError(_explain(error, repo_id, revision, local_files_only)) from error
    if first.parent != second.parent:
        raise WeightsError(f"{repo_id}: the revision changed while it was downloaded; try again.")
    if sha256 is not None:
        try:
            check_sha256(second, sha256, "The download was removed; try again, and report it when it happens again.")
        except WeightsError:
            second.resolve().unlink(missing_ok=True)
            second.unlink(missing_ok=True)
            raise
    return first, second


def _ask(repo_id: str, filename: str, revision: str | None, token: str | bool | None) -> str | None:
    """Ask the Hub about a file once; return its sha256 where the Hub knows it.

    With nobody at the other end this fails at once, where a download would be tried for some 23 seconds. What the Hub
    itself has to say against the request is left to the download, which treats each answer as it should.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        etag = get_hf_file_metadata(hf_hub_url(repo_id, filename, revision=revision), token=token).etag
    except (HfHubHTTPError, OfflineModeIsEnabled):
        return None
    return etag if etag and _SHA256.fullmatch(etag) else None


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
        return f"{place}: the server answered with HTTP {status}; try again later ({_first_line(error)})."
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
