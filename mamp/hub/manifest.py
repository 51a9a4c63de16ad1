"""The names of pretrained weights: typed entries of ``weights/manifest.json``."""

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


@dataclass(frozen=True)
class Release:
    """One revision of named weights.

    Attributes:
        folder: Where it lies inside ``weights/``; ``None`` when it is not bundled.
        commit: On the Hub, 40 hexadecimal digits. Without it and ``sha256`` nothing is fetched.
        sha256: Of ``model.safetensors``.
    """

    folder: str | None = None
    commit: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Entry:
    """What is known of a registered name.

    Attributes:
        name: The full name.
        description: One line for people.
        trained_on: Data set and split.
        licence: Terms of the weights or, where they are not ours to give, why.
        revision: The revision that is meant when none is named.
        revisions: Every revision that can be asked for.
        repository: Repository id on the Hub, when there is one.
        redistributable: Whether the project may hand the file out. Where it may not, errors say how else to get it.
        config: Architecture and preprocessing; ``None`` leaves it to the ``config.json`` of the bundled folder.
        decoder_depth: Blocks of the decoder that it was pre-trained with (not part of the weights); ``None`` where
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
        """Return the name and the facts of a revision.

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
    """Entries by full name, and short names: short -> full."""

    entries: Mapping[str, Entry]
    aliases: Mapping[str, str]

    def find(self, name: str) -> Entry | None:
        """Return the entry of a full or short name, if it is registered."""
        return self.entries.get(self.aliases.get(name, name))

    def aliases_of(self, name: str) -> tuple[str, ...]:
        """Short names of a full name."""
        return tuple(short for short, full in self.aliases.items() if full == name)


def weights_folder() -> Path:
    """Folder that holds ``manifest.json``: beside the modules in an installed package, in the root of a checkout.

    Raises:
        WeightsError: There is none; the installation is damaged.
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
    """Registered names in the order of the manifest, each followed by its short names."""
    manifest = load_manifest()
    return [name for full in manifest.entries for name in (full, *manifest.aliases_of(full))]


def find_entry(name: str) -> Entry | None:
    """Return the entry of a full or short name, if it is registered."""
    return load_manifest().find(name)


def check_name(name_or_path: str | PathLike[str]) -> str:
    """The name of weights as text.

    Raises:
        WeightsError: It is something else, or no folder can have that name.
    """
    text: object = os.fspath(name_or_path) if isinstance(name_or_path, str | PathLike) else None
    if not isinstance(text, str):
        raise WeightsError(f"expected the name of weights, or their folder, found {type(name_or_path).__name__}.")
    try:
        Path(text).expanduser().exists()
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise WeightsError(f"{text[:80]!r} is no name of weights, and no folder can have it ({reason}).") from None
    return text


def split_revision(name_or_path: str | PathLike[str], revision: str | None) -> tuple[str, str | None]:
    """Split ``"name@revision"``; a folder keeps its ``@``.

    Raises:
        WeightsError: Two different revisions are named, or it can be no name.
    """
    text = check_name(name_or_path)
    if not isinstance(name_or_path, str) or "@" not in text or Path(text).expanduser().exists():
        return text, revision
    name, _, named = text.rpartition("@")
    if revision is not None and revision != named:
        raise WeightsError(f"{text!r} and revision={revision!r} name two revisions; leave one out.")
    return name, named
