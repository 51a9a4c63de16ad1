"""Error messages for failed requests to the Hub."""

from __future__ import annotations


def explain(error: BaseException, repo_id: str, revision: str | None, local_files_only: bool = False) -> str:
    """Return a message for an exception of ``huggingface_hub``, whose HTTP library depends on its version."""
    from huggingface_hub import constants, errors

    place = f"{repo_id!r} at {constants.ENDPOINT}"
    at = f"revision {revision!r}" if revision else "the default branch"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"{repo_id!r}, {at}, is not in the cache, and local_files_only=True forbids to fetch it."
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{place}: not in the cache, and HF_HUB_OFFLINE forbids every request; unset it."
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
    """Return the name of the requested file."""
    request = getattr(getattr(error, "response", None), "request", None)
    return str(request.url).rpartition("/")[2] if request is not None else "a file"


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
