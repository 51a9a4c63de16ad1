"""Find, download, verify, load, save and convert weights.

``manifest`` lists the registered names. ``resolve`` finds the two files of a name, which ``client`` downloads from the
Hugging Face Hub if necessary (``transfer``). ``serialization`` reads and writes encoders, ``tensors`` safetensors
files, ``card`` the model card. ``convert`` converts checkpoints of the published code, which ``checkpoint`` and
``stored`` read. ``paths`` validates arguments.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import torch

from mamp.errors import WeightsError
from mamp.hub.convert import Conversion, convert_checkpoint
from mamp.hub.manifest import find_entry, known_names, load_manifest, split_revision
from mamp.hub.paths import check_hub_options, check_repo_id
from mamp.hub.resolve import converted_folder, local_files, resolve_files
from mamp.hub.serialization import read_config, read_encoder, resize_encoder, save_encoder
from mamp.hub.tensors import fingerprint, parameter_count
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
    """Return the names that ``MAMPEncoder.from_pretrained`` knows, including short names; the first is the default."""
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
    """Load an encoder of class ``cls`` in evaluation mode; the arguments are those of ``from_pretrained``.

    The weights are searched for in this order: the folder ``name_or_path``; the folder of that name in
    ``$MAMP_WEIGHTS``, which can also hold your own runs; the conversions of ``mamp convert --as``; the package; the
    Hugging Face Hub. Registered names are only downloaded if the manifest pins their commit and sha256, or from the
    namespace in ``$MAMP_HUB_NAMESPACE``. ``"name@revision"`` is short for ``revision=``.

    Raises:
        WeightsError: The weights cannot be found, downloaded, verified or loaded; the message says what to do.
        ConfigError: ``config.json`` has an unknown field or an invalid value.
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
    """Upload an encoder to the Hugging Face Hub, creating the repository and branch if needed.

    Returns:
        The URL of the commit.

    Raises:
        WeightsError: An argument is invalid, or the upload failed; the message says what to do.
    """
    from mamp.hub.client import upload

    check_repo_id(repo_id)
    check_hub_options(revision, token=token)
    if not isinstance(commit_message, str) or not commit_message.strip():
        raise WeightsError("commit_message: expected text, found none.")
    if not (private is None or isinstance(private, bool)):
        raise WeightsError(f"private: expected True, False or None, found {type(private).__name__}.")
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
    """Describe a set of weights, as plain values that can be written as JSON.

    Nothing is downloaded for registered names: their manifest entry is returned, and facts about the files that are on
    this machine. Anything else is resolved as by ``from_pretrained``.

    Returns:
        ``name``, ``available`` (true if loading needs no network), ``location``, ``config``; for a registered name
        also ``aliases description trained_on licence repository revision revisions decoder_depth``; if the files are
        available also ``parameters``, ``fingerprint``, ``bytes``.

    Raises:
        WeightsError: The name is unknown, or the files cannot be obtained or read.
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
