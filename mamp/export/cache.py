"""Exports that ``encode(engine=...)`` makes of an encoder when it first needs them, kept for the next process."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args
from weakref import WeakKeyDictionary

from mamp.errors import MAMPError, RecordingError
from mamp.export import export
from mamp.export.folder import RECORD_NAME, Format
from mamp.export.runtime import ExportedEncoder
from mamp.hub import fingerprint

if TYPE_CHECKING:
    from mamp.transformer import Network

Engine = Literal["torch", "onnx", "openvino"]

logger = logging.getLogger(__name__)

_RUNTIMES: dict[Format, str] = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}
# Of each encoder: the state of its parameters, and what was made of them.
_opened: WeakKeyDictionary[Network, tuple[object, dict[Format, ExportedEncoder]]] = WeakKeyDictionary()


def exported(encoder: Network, engine: Engine) -> ExportedEncoder:
    """The encoder on another runtime, exported again only after its weights changed.

    Exports are kept in ``~/.cache/mamp/exports`` (``XDG_CACHE_HOME``), by the weights' fingerprint.

    Raises:
        RecordingError: The engine is unknown.
        MissingExtraError: The engine is not installed.
    """
    if engine not in get_args(Engine):
        raise RecordingError(f"engine: expected one of {', '.join(get_args(Engine))}; found {engine!r}.")
    state = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in encoder.parameters()]
    known = _opened.get(encoder)
    if known is None or known[0] != state:
        known = _opened[encoder] = (state, {})
    if engine not in known[1]:
        known[1][engine] = _open(encoder, engine)
    return known[1][engine]


def _open(encoder: Network, format: Format) -> ExportedEncoder:
    config = hashlib.sha256(json.dumps(encoder.config.to_dict(), sort_keys=True).encode()).hexdigest()[:8]
    runtime = _RUNTIMES[format]
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mamp" / "exports"
    folder = home / f"{fingerprint(encoder)}-{config}-{runtime}-{_version(runtime)}"
    if (folder / RECORD_NAME).is_file():
        try:
            return ExportedEncoder(folder)
        except MAMPError as error:
            logger.warning("exporting again: %s", error)
    logger.info("exporting the encoder to %s; this takes some seconds, once", folder)
    export(encoder, folder, format)
    return ExportedEncoder(folder)


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:  # export and load say which extra is missing
        return "none"
