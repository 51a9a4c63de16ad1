"""Names to weights: find, fetch, verify, load, save, convert.

``manifest`` knows the names, ``resolve`` turns one into two local files (``client`` fetches them from the Hugging Face
Hub), ``serialization`` reads and writes these strictly, ``card`` words the model card, ``convert`` takes checkpoints of
the published code.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import torch

from mamp.hub.convert import Conversion, convert_checkpoint
from mamp.hub.manifest import find_entry, known_names, load_manifest, split_revision
from mamp.hub.resolve import converted_folder, local_files, resolve_files
from mamp.hub.serialization import fingerprint, parameter_count, read_config, read_encoder, resize_encoder, save_encoder
from mamp.transformer import Network

__all__ = [
    "Conversion",
    "convert_checkpoint",
    "converted_folder",
    "describe",
    "fingerprint",
    "list_pretrained",
    "load_encoder",
    "push_encoder",
    "resize_encoder",
    "resolve_files",
    "save_encoder",
]

_Network = TypeVar("_Network", bound=Network)


def list_pretrained() -> list[str]:
    """Names that ``MAMPEncoder.from_pretrained`` knows, short names included; the first is the default."""
    return known_names()


def load_encoder(
    cls: Callable[..., _Network],
    name_or_path: str | PathLike[str] = "openmocap",
    *,
    revision: str | None = None,
    cache_dir: str | PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> _Network:
    """Load an encoder of class ``cls``, in evaluation mode; the arguments are those of ``from_pretrained``.

    ``name_or_path`` is looked for as a folder, in the folder that the environment variable ``MAMP_WEIGHTS`` names (by
    ``<name>/config.json``; your own runs too), among the conversions of ``mamp convert --as``, inside the package,
    and on the Hugging Face Hub, in that order. Registered names are fetched only if the manifest pins
    their commit and sha256, or from the namespace that ``MAMP_HUB_NAMESPACE`` names. ``"name@revision"`` is short for
    ``revision=``.

    Raises:
        WeightsError: The weights cannot be found, fetched, verified or loaded; the message says what to do.
        ConfigError: Their ``config.json`` holds an unknown field or an impossible value.
    """
    files = resolve_files(
        name_or_path, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only
    )
    return read_encoder(cls, files.config, files.weights, device=device, dtype=dtype)


def push_encoder(
    encoder: Network,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload MAMP encoder",
) -> str:
    """Upload what :func:`save_encoder` writes to the Hugging Face Hub, creating repository and branch when needed.

    Returns:
        The address of the commit.

    Raises:
        WeightsError: The Hub cannot be reached or refuses; the message says what to do.
    """
    from mamp.hub.client import upload

    with tempfile.TemporaryDirectory(prefix="mamp-push-") as folder:
        save_encoder(encoder, folder, name=repo_id)
        return upload(
            Path(folder), repo_id, private=private, token=token, revision=revision, commit_message=commit_message
        )


def describe(
    name_or_path: str | PathLike[str] = "openmocap",
    *,
    revision: str | None = None,
    cache_dir: str | PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> dict[str, Any]:
    """Say what is known of a set of weights, as plain values fit for JSON.

    For a registered name nothing is downloaded: its manifest entry is told, and of its files what lies on this machine.
    For anything else the files are resolved as ``from_pretrained`` does.

    Returns:
        ``name``, ``available`` (true when loading needs no network), ``location``, ``config``; for a registered name
        also ``aliases description trained_on licence repository revision revisions decoder_depth``; when the files are
        here also ``parameters``, ``fingerprint``, ``bytes``.

    Raises:
        WeightsError: The name is unknown, or the files cannot be had or read.
    """
    text, revision = split_revision(name_or_path, revision)
    entry = find_entry(text)
    files = local_files(name_or_path, revision=revision)
    if files is None and entry is None:
        files = resolve_files(
            name_or_path, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only
        )
    facts: dict[str, Any] = {"name": text, "available": files is not None, "location": None, "config": None}
    if entry is not None:
        facts |= {
            "name": entry.name,
            "aliases": list(load_manifest().aliases_of(entry.name)),
            "description": entry.description,
            "trained_on": entry.trained_on,
            "licence": entry.licence,
            "repository": entry.repository,
            "revision": revision or entry.revision,
            "revisions": list(entry.revisions),
            "decoder_depth": entry.decoder_depth,
            "config": entry.config.to_dict() if entry.config else None,
        }
    if files is not None:
        facts |= {
            "location": str(files.config.parent),
            "config": read_config(files.config).to_dict(),
            "parameters": parameter_count(files.weights),
            "fingerprint": fingerprint(files.weights),
            "bytes": files.weights.stat().st_size,
        }
    return facts
