"""The errors of the package: one root, and under it one class for each kind of mistake.

Every message says what was expected, what was found, and what to do next.
"""

from __future__ import annotations

_LONGEST = 2000


class MAMPError(Exception):
    """Root of every error that ``mamp`` raises on purpose.

    Messages quote what files hold: they are cut at 2,000 characters, and control characters are spelled out.
    """

    def __str__(self) -> str:
        text = super().__str__()[: _LONGEST + 1]
        clean = "".join(map(_spell_out, text))
        return clean if len(clean) <= _LONGEST else f"{clean[: _LONGEST - 4]} ..."


def _spell_out(character: str) -> str:
    return character if character.isprintable() or character == "\n" else repr(character)[1:-1]


class RecordingError(MAMPError, ValueError):
    """A recording cannot be used: wrong shape, no people, no finite value."""


class ReadError(RecordingError):
    """A file cannot be read as a recording: empty, cut, or not what its format says."""


class MissingFileError(ReadError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class LayoutError(MAMPError, ValueError):
    """A skeleton layout is unknown, malformed, or lacks joints that are needed."""


class ConfigError(MAMPError, ValueError):
    """A configuration holds an unknown field or a value that makes no sense."""


class WeightsError(MAMPError, OSError):
    """Weights cannot be found, fetched, verified or loaded."""


class DataError(MAMPError, ValueError):
    """A prepared data set is missing, damaged, or lacks what is asked of it."""


class SearchError(MAMPError, ValueError):
    """An index of recordings is missing, damaged, of other weights, in use, or asked for what it cannot give."""


class TrainingError(MAMPError, RuntimeError):
    """A training run cannot start or go on."""


class WorkerError(MAMPError, RuntimeError):
    """A process that worked for this one is gone."""


class MissingExtraError(MAMPError, ImportError):
    """An optional dependency is needed; the message names the extra to install."""
