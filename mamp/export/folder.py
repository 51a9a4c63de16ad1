"""The folder of an exported encoder: ``config.json``, ``export.json``, and the files of the model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from mamp.config import MAMPConfig, from_dict
from mamp.errors import ConfigError, LayoutError, WeightsError
from mamp.layouts import adopt_body, stored_body
from mamp.outputs import dump_json

Format = Literal["onnx", "openvino", "torch"]

CONFIG_NAME, RECORD_NAME = "config.json", "export.json"
MODEL_NAMES: dict[Format, tuple[str, ...]] = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "torch": ("model.pt2",),
}
# Outputs of the model, one for each way to pool; "clip" is the mean of the output "person" over people.
OUTPUTS = ("person", "frame", "joint", "tokens")
_VERSION = 1


@dataclass(frozen=True)
class Record:
    """What ``export.json`` says.

    Attributes:
        format: Of the model.
        fingerprint: Of the weights, see :func:`mamp.hub.fingerprint`.
        files: sha256 of each file of the model.
        bits: 32, or 8 for weights stored as 8-bit numbers.
        opset: Of ONNX.
        made_with: Versions of the packages that wrote the model.
        version: Of this record.
    """

    format: Format
    fingerprint: str
    files: dict[str, str]
    bits: int = 32
    opset: int | None = None
    made_with: str = ""
    version: int = _VERSION


def check_torch(version: str) -> None:
    """Raise :class:`WeightsError` if programs of this version of torch are pickles, which can run code when read."""
    if tuple(int(part) for part in version.split(".")[:2]) < (2, 6):
        raise WeightsError(f"format 'torch': expected torch 2.6 or newer, found {version}; upgrade, or export to onnx.")


def write_record(folder: Path, config: MAMPConfig, record: Record) -> None:
    """Write both JSON files beside the model."""
    values = {**stored_body(config.preprocessing.layout), **config.to_dict()}
    (folder / CONFIG_NAME).write_text(dump_json(values), encoding="utf-8")
    (folder / RECORD_NAME).write_text(dump_json(asdict(record)), encoding="utf-8")


def read_record(folder: Path) -> tuple[MAMPConfig, Record]:
    """Read both JSON files, and check that the files of the model are those that they speak of.

    Raises:
        WeightsError: The folder is not an export, of a newer version, or its files are damaged.
        ConfigError: A file holds an unknown field or an impossible value.
    """
    if not (folder / RECORD_NAME).is_file():
        raise WeightsError(
            f"{folder}: expected a folder of an exported encoder, found no {RECORD_NAME}; make one with "
            "'mamp export NAME -o DIR'."
        )
    values = _read_json(folder / RECORD_NAME)
    if isinstance(values, dict) and values.get("version", _VERSION) != _VERSION:
        raise WeightsError(
            f"{folder / RECORD_NAME}: expected version {_VERSION}, found {values['version']!r}; a newer mamp may be "
            "needed."
        )
    record = _record(values, str(folder / RECORD_NAME))
    for name in MODEL_NAMES[record.format]:
        try:
            found = sha256(folder / name)
        except OSError as error:
            raise WeightsError(f"{folder / name}: cannot be read ({error.strerror}); export again.") from error
        if found != record.files.get(name):
            raise WeightsError(
                f"{folder / name}: expected sha256 {record.files.get(name)!r} as {RECORD_NAME} says, found {found}. "
                "The file was replaced or damaged: export again."
            )
    return _config(folder / CONFIG_NAME), record


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _record(values: Any, where: str) -> Record:
    try:
        record = from_dict(Record, values, where)
    except TypeError as error:
        raise ConfigError(f"{where}: a field is missing ({error}); export again.") from None
    if record.format not in get_args(Format) or not isinstance(record.files, dict):
        raise ConfigError(f"{where}: expected a format of {', '.join(get_args(Format))}, found {record.format!r}.")
    return record


def _config(path: Path) -> MAMPConfig:
    values = _read_json(path)
    if isinstance(values, dict):
        try:
            adopt_body(values, str(path))
        except LayoutError as error:
            raise ConfigError(str(error)) from None
        values.pop("body", None)
    return MAMPConfig.from_dict(values, str(path))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); export again.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: expected JSON, found something else or a cut file ({error}).") from error
