"""Find the local files of a name, folder or repository id."""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from mamp.config import suggest
from mamp.errors import WeightsError
from mamp.fileset import settle
from mamp.hub.manifest import Entry, find_entry, known_names, load_manifest, split_revision, weights_folder
from mamp.hub.paths import check_hub_options
from mamp.hub.tensors import CONFIG_NAME, WEIGHTS_NAME, check_sha256

logger = logging.getLogger(__name__)

WEIGHTS_VARIABLE = "MAMP_WEIGHTS"
NAMESPACE_VARIABLE = "MAMP_HUB_NAMESPACE"
_NAMESPACE = re.compile(r"[A-Za-z0-9][\w.-]*")
_FOLDER = re.compile(r"\w[\w .+-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Files:
    """Paths of the two files of an encoder."""

    config: Path
    weights: Path


def resolve_files(
    name_or_path: str | PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Files:
    """Find the files of a set of weights, and download them if they are not on this machine.

    Raises:
        WeightsError: The name is unknown, an option is invalid, or the files cannot be obtained.
    """
    name, revision = split_revision(name_or_path, revision)
    check_hub_options(revision, cache_dir, token, local_files_only)
    files = local_files(name_or_path, revision=revision)
    if files is not None:
        return files
    entry = find_entry(name)
    if entry is None and not _REPO_ID.fullmatch(name):
        raise WeightsError(
            f"{name!r} is neither a folder nor the name of known weights.{suggest(name.lower(), known_names())} "
            f"Known names: {', '.join(known_names())}. Anything else is a folder written by save_pretrained or by "
            "python -m mamp.train, or a repository id owner/name on the Hugging Face Hub."
        )
    from mamp.hub.client import fetch

    repository, sha256 = name, None
    if entry is not None:
        repository, revision, sha256 = _repository(entry, revision)
    try:
        config, weights = fetch(
            repository,
            (CONFIG_NAME, WEIGHTS_NAME),
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            sha256=sha256,
        )
    except WeightsError as error:
        if entry is None:
            raise WeightsError(f"{error} There is no folder {name!r} here either.") from error
        if entry.redistributable:
            raise
        raise WeightsError(f"{error}\n{_other_ways(entry)}") from error
    return Files(config, weights)


def _repository(entry: Entry, revision: str | None) -> tuple[str, str | None, str | None]:
    """Return repository, commit and sha256 of a registered name.

    They are pinned in the manifest, unless the user sets a namespace.

    Raises:
        WeightsError: The name is not pinned; such names are never looked up on the Hub.
    """
    namespace = os.environ.get(NAMESPACE_VARIABLE)
    if namespace and not any(release.folder for release in entry.revisions.values()):
        if not _NAMESPACE.fullmatch(namespace):
            raise WeightsError(f"{NAMESPACE_VARIABLE}: expected a user of the Hub, found {namespace!r}.")
        return f"{namespace}/mamp-{entry.name}", revision, None
    revision, release = entry.release(revision)
    if release.source_only:
        name = f"{entry.name}@{revision}"
        raise WeightsError(
            f"{name!r} is an earlier release, which is not installed with the package. Copy the folder "
            f"weights/{release.folder} of the source of mamp (its repository, or the .tar.gz beside the wheel) to "
            f"{name} in a folder of your own, and name the latter: {WEIGHTS_VARIABLE}=..."
        )
    if release.folder:
        raise WeightsError(
            f"The files of {entry.name!r} belong in {weights_folder() / release.folder} and are not there; the "
            "installation is damaged: reinstall mamp."
        )
    if entry.repository and release.sha256 and release.commit and _COMMIT.fullmatch(release.commit):
        return entry.repository, release.commit, release.sha256
    raise WeightsError(
        f"{entry.name!r} is not on this machine, and is not fetched: no commit and sha256 of it are known to this "
        f"version of mamp.\n{_other_ways(entry)}"
    )


def local_files(name_or_path: str | PathLike[str], *, revision: str | None = None) -> Files | None:
    """Find the files of a set of weights on this machine; ``None`` if they can only be on the Hub.

    Raises:
        WeightsError: The name is a path without these files, or ``MAMP_WEIGHTS`` is not a folder.
    """
    text, revision = split_revision(name_or_path, revision)
    path = Path(text).expanduser()
    if path.is_dir():
        files = _in_folder(path)
        if files is not None:
            if revision is not None:
                raise WeightsError(f"{text!r} is a folder, which has no revision {revision!r}; leave revision out.")
            return files
    entry = None if isinstance(name_or_path, PathLike) else find_entry(text)
    if entry is not None:
        names = (text, entry.name, *load_manifest().aliases_of(entry.name))
        return _in_weights_variable(names, revision) or _converted(entry, revision) or _bundled(entry, revision)
    if isinstance(name_or_path, str) and _FOLDER.fullmatch(text):
        files = _in_weights_variable((text,), revision)
        if files is not None:
            return files
    if path.exists() or isinstance(name_or_path, PathLike) or _is_path(text):
        raise WeightsError(_no_weights(path))
    return None


def _in_folder(folder: Path) -> Files | None:
    """Find the files of a saved encoder, in the folder itself or in ``encoder/`` of a training run."""
    for place in (folder, folder / "encoder"):
        with suppress(OSError):  # cannot be written: what does not belong together is refused
            settle(place)
        files = Files(place / CONFIG_NAME, place / WEIGHTS_NAME)
        if files.config.is_file() and files.weights.is_file():
            return files
    return None


def _in_weights_variable(names: tuple[str, ...], revision: str | None) -> Files | None:
    """Find files in ``$MAMP_WEIGHTS/<name>``, or ``<name>@<revision>`` if a revision is given."""
    root = os.environ.get(WEIGHTS_VARIABLE)
    if not root:
        return None
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise WeightsError(f"{WEIGHTS_VARIABLE}={root}: expected a folder, found none there. Correct or unset it.")
    suffix = f"@{revision}" if revision else ""
    for name in dict.fromkeys(names):
        place = folder / f"{name}{suffix}"
        files = _in_folder(place)
        if files is not None:
            logger.info("%r: taken from %s", names[0], place)
            return files
        if (place / CONFIG_NAME).exists() or (place / WEIGHTS_NAME).exists():
            raise WeightsError(_no_weights(place))
    return None


def converted_folder(name: str) -> Path:
    """Return the folder for a conversion of registered weights, in which their name is looked up.

    Raises:
        WeightsError: The name is not registered.
    """
    entry = find_entry(name)
    if entry is None or entry.config is None:
        known = [full for full, entry in load_manifest().entries.items() if entry.config]
        raise WeightsError(f"expected one of {', '.join(known)}; found {name!r}.{suggest(name.lower(), known)}")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "mamp" / "converted" / entry.name


def _converted(entry: Entry, revision: str | None) -> Files | None:
    """Find files written by ``mamp convert --as``."""
    return None if revision or entry.config is None else _in_folder(converted_folder(entry.name))


def _bundled(entry: Entry, revision: str | None) -> Files | None:
    """Find files in the package."""
    _, release = entry.release(revision)
    files = _in_folder(weights_folder() / release.folder) if release.folder else None
    if files is not None and release.sha256:
        check_sha256(files.weights, release.sha256, "The installation is damaged: reinstall mamp.")
    return files


def _is_path(text: str) -> bool:
    """Whether a name can only be a path."""
    return Path(text).is_absolute() or text.startswith((".", "~")) or "\\" in text or text.count("/") > 1


def _no_weights(path: Path) -> str:
    """Return a message that explains why a path is not an encoder."""
    if path.is_file():
        if path.suffix in (".pth", ".pt", ".bin", ".ckpt"):
            return f"{path} is a file, expected a folder. Make one of it with: mamp convert {path} OUT_DIR"
        return f"{path} is a file, expected the folder that holds {CONFIG_NAME} and {WEIGHTS_NAME}."
    if not path.exists():
        return f"{path}: expected a folder with {CONFIG_NAME} and {WEIGHTS_NAME}, found nothing there."
    missing = [name for name in (CONFIG_NAME, WEIGHTS_NAME) if not (path / name).is_file()]
    return (
        f"{path}: expected {CONFIG_NAME} and {WEIGHTS_NAME}, there or in its subfolder encoder/; missing: "
        f"{', '.join(missing)}. Folders written by save_pretrained, mamp convert or python -m mamp.train hold both."
    )


def _other_ways(entry: Entry) -> str:
    """Return a message on how to get weights that cannot be redistributed."""
    name = entry.name
    return (
        f"{name!r} was trained on {entry.trained_on}, whose terms forbid redistribution. Other ways to get it:\n"
        "  - download the checkpoint (.pth) that the authors of MAMP publish, then:\n"
        f"    mamp convert CHECKPOINT.pth --as {name}\n"
        f"    and from_pretrained({name!r}) finds it; or mamp convert CHECKPOINT.pth OUT_DIR --preset {name}, with "
        f"OUT_DIR a folder of your own or $MAMP_WEIGHTS/{name};\n"
        f"  - name the user or organisation on the Hub that has it as mamp-{name}: {NAMESPACE_VARIABLE}=...;\n"
        f"  - train it: python -m mamp.train {name} --data DIR --output DIR\n"
        "Without any data, from_pretrained() gives weights that come with the package."
    )
