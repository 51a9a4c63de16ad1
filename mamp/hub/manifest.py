"""Registered names of pretrained weights, from ``weights/manifest.json``."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from mamp.config import MAMPConfig, from_dict
from mamp.errors import WeightsError
from mamp.hub.paths import local_path


@dataclass(frozen=True)
class Release:
    """One revision of named weights.

    Attributes:
        folder: Folder in ``weights/``; ``None`` if the weights are not bundled.
        commit: Commit on the Hub, 40 hexadecimal digits. Weights without commit and ``sha256`` are not downloaded.
        sha256: Hash of ``model.safetensors``.
        source_only: Whether the folder is in the source of the project only, not in the installed package.
    """

    folder: str | None = None
    commit: str | None = None
    sha256: str | None = None
    source_only: bool = False


@dataclass(frozen=True)
class Entry:
    """Facts about registered weights.

    Attributes:
        name: Full name.
        description: One line.
        trained_on: Data set and split.
        licence: Terms of the weights, or the reason why they cannot be redistributed.
        revision: Default revision.
        revisions: All revisions.
        repository: Repository id on the Hub, if there is one.
        redistributable: Whether the project can distribute the weights. If not, errors say how to get them.
        config: Architecture and preprocessing; ``None`` if they are in the ``config.json`` of the bundled folder.
        decoder_depth: Number of decoder blocks used in pre-training, which are not part of the weights; ``None`` if
            revisions differ.
    """

    name: str
    description: str
    trained_on: str
    licence: str
    revision: str
    revisions: Mapping[str, Release]
    repository: str | None = None
    redistributable: bool = True
    config: MAMPConfig | None = None
    decoder_depth: int | None = None

    def release(self, revision: str | None) -> tuple[str, Release]:
        """Return a revision and its name.

        Raises:
            WeightsError: There is no such revision.
        """
        revision = revision or self.revision
        if revision in self.revisions:
            return revision, self.revisions[revision]
        known = ", ".join(self.revisions)
        raise WeightsError(f"{self.name!r}: expected one of the revisions {known}; found {revision!r}.")


@dataclass(frozen=True)
class Manifest:
    """Entries by full name, and full names by short name."""

    entries: Mapping[str, Entry]
    aliases: Mapping[str, str]

    def find(self, name: str) -> Entry | None:
        """Return the entry of a full or short name, or ``None``."""
        return self.entries.get(self.aliases.get(name, name))

    def aliases_of(self, name: str) -> tuple[str, ...]:
        """Return the short names of a full name."""
        return tuple(short for short, full in self.aliases.items() if full == name)


def weights_folder() -> Path:
    """Return the folder of ``manifest.json``, which is in the package or, in a checkout, beside it.

    Raises:
        WeightsError: It does not exist; the installation is damaged.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "weights", package.parent / "weights"):
        if (folder / "manifest.json").is_file():
            return folder
    raise WeightsError(f"weights/manifest.json is missing beside {package}; the installation is damaged: reinstall.")


@functools.cache
def load_manifest() -> Manifest:
    """Read ``weights/manifest.json``, once."""
    return parse_manifest(json.loads((weights_folder() / "manifest.json").read_text(encoding="utf-8")))


def parse_manifest(values: Mapping[str, Any]) -> Manifest:
    """Build a :class:`Manifest` from plain values; an unknown field is a ``ConfigError``."""
    entries = {}
    for name, fields in values["weights"].items():
        where = f"manifest.json: {name}"
        fields = {"name": name, **fields}
        fields["revisions"] = {
            revision: from_dict(Release, facts, f"{where}: {revision}")
            for revision, facts in fields["revisions"].items()
        }
        if fields.get("config") is not None:
            fields["config"] = MAMPConfig.from_dict(fields["config"], where)
        entries[name] = from_dict(Entry, fields, where)
    return Manifest(entries, values["aliases"])


def known_names() -> list[str]:
    """Return registered names in the order of the manifest, each followed by its short names."""
    manifest = load_manifest()
    return [name for full in manifest.entries for name in (full, *manifest.aliases_of(full))]


def find_entry(name: str) -> Entry | None:
    """Return the entry of a full or short name, or ``None``."""
    return load_manifest().find(name)


def split_revision(name_or_path: str | PathLike[str], revision: str | None) -> tuple[str, str | None]:
    """Split ``"name@revision"``; a folder keeps its ``@``.

    Raises:
        WeightsError: Two different revisions are given, or ``name_or_path`` is neither a name nor a path.
    """
    local_path(name_or_path, "name_or_path")
    text = os.fspath(name_or_path)
    if not isinstance(name_or_path, str) or "@" not in text or Path(text).expanduser().exists():
        return text, revision
    name, _, named = text.rpartition("@")
    if revision is not None and revision != named:
        raise WeightsError(f"{text!r} and revision={revision!r} name two revisions; leave one out.")
    return name, named
