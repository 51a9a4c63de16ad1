"""The errors of the package: one root, and under it one class for each kind of mistake.

Every message says what was expected, what was found, and what to do next.
"""


class MAMPError(Exception):
    """Root of every error that ``mamp`` raises on purpose."""


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


class TrainingError(MAMPError, RuntimeError):
    """A training run cannot start or go on."""


class MissingExtraError(MAMPError, ImportError):
    """An optional dependency is needed; the message names the extra to install."""
