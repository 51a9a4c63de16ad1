"""``index.json``: what an index holds vectors of, and of which weights."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mamp.encoder import MAMPEncoder
from mamp.errors import SearchError, WeightsError
from mamp.hub import fingerprint
from mamp.hub.manifest import find_entry, split_revision
from mamp.hub.resolve import local_files

NAME = "index.json"
FORMAT = 1
Weights = str | os.PathLike[str] | MAMPEncoder


@dataclass(frozen=True)
class Settings:
    """What does not change in an index.

    Attributes:
        encoder: Name or folder of the weights; empty if an encoder was given.
        fingerprint: Of the weights.
        width: Numbers in a vector, D.
        window: Seconds, or ``None`` for whole recordings.
        stride: Seconds from one window to the next.
        format: Version of the folder.
    """

    encoder: str
    fingerprint: str
    width: int
    window: float | None
    stride: float | None
    format: int = FORMAT

    def __post_init__(self) -> None:
        default_stride(self.window, self.stride)

    @property
    def overlap(self) -> int:
        """Windows that cover a moment."""
        return 1 if self.window is None else -int(-self.window // (self.stride or self.window))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def check_weights(self, found: str, name: str, where: Path) -> None:
        """Refuse weights of another fingerprint.

        Raises:
            SearchError: They are others; names both.
        """
        if found != self.fingerprint:
            own = self.encoder or "an encoder that was given"
            raise SearchError(
                f"{where}: expected the weights of its vectors, {own} with fingerprint {self.fingerprint}; found "
                f"{name} with fingerprint {found}. Vectors of different weights cannot be compared: open it with "
                "its own weights (encoder=...), or make a new index."
            )


def default_stride(window: float | None, stride: float | None) -> float | None:
    """The stride, half a window where none is given; ``None`` for whole recordings.

    Raises:
        SearchError: One of them is not a number of seconds above zero, or windows would not meet.
    """
    for name, value in (("window", window), ("stride", stride)):
        if value is not None and (not _is_number(value) or not 0 < value < 1e6):
            raise SearchError(f"{name}: expected seconds above zero, found {value!r}.")
    if window is None and stride is not None:
        raise SearchError(f"stride: expected none for whole recordings (window=None), found {stride!r}.")
    if window is not None and stride is not None and stride > window:
        raise SearchError(
            f"stride: expected at most the window ({window:g} s), found {stride:g}: what lies between windows would "
            "not be found."
        )
    return window / 2 if window is not None and stride is None else stride


def read_settings(folder: Path) -> Settings:
    """Read ``index.json``.

    Raises:
        SearchError: The folder is no index, is damaged, or of a newer version.
    """
    path = folder / NAME
    if not path.is_file():
        what = "nothing" if not folder.exists() else "a file" if folder.is_file() else f"a folder without {NAME}"
        raise SearchError(f"{folder}: expected an index of mamp, found {what}. Make one with mamp index.")
    advice = "Copy the whole folder again, or index the recordings anew."
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SearchError(f"{path}: damaged or half-copied ({error}). {advice}") from None
    if not isinstance(version, int) or version > FORMAT:
        raise SearchError(
            f"{folder}: expected an index of format {FORMAT} or older, found format {version!r}: it was made by a "
            "newer version of mamp. Update mamp, or index the recordings anew."
        )
    try:
        found = Settings(**values)
        sound = isinstance(found.width, int) and all(isinstance(v, str) for v in (found.encoder, found.fingerprint))
    except (TypeError, SearchError) as error:
        raise SearchError(f"{path}: damaged ({error}). {advice}") from None
    if not sound:
        raise SearchError(f"{path}: damaged: width is no number, or a name is no text. {advice}")
    return found


def stable_name(weights: Weights) -> str:
    """A name that finds the same weights later and from elsewhere: with its revision, or an absolute path."""
    if isinstance(weights, MAMPEncoder):
        return ""
    text, revision = split_revision(weights, None)
    if Path(text).expanduser().is_dir():
        return str(Path(text).expanduser().absolute())
    entry = find_entry(text)
    return os.fspath(weights) if entry is None or revision else f"{text}@{entry.revision}"


def known_fingerprint(weights: Weights) -> str | None:
    """The fingerprint of weights that are on this machine, else ``None``."""
    if isinstance(weights, MAMPEncoder):
        return fingerprint(weights)
    try:
        files = local_files(weights)
    except WeightsError:
        return None
    return None if files is None else fingerprint(files.weights)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
