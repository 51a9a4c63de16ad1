"""What was learnt from embeddings, as a folder of JSON and safetensors that works only with the same encoder.

The encoder is not in it: its name and its fingerprint are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from mamp.encoder import MAMPEncoder
from mamp.errors import WeightsError
from mamp.hub import fingerprint
from mamp.hub.tensors import read_tensors
from mamp.outputs import dump_json, folder_beside, put_in_place

FORMAT = 1


def open_encoder(encoder: MAMPEncoder | str | PathLike[str], device: str) -> MAMPEncoder:
    """An encoder, or the one of a name."""
    return encoder if isinstance(encoder, MAMPEncoder) else MAMPEncoder.from_pretrained(encoder, device=device)


def write_learnt(
    directory: str | PathLike[str],
    name: str,
    what: str,
    encoder: MAMPEncoder,
    record: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> None:
    """Write ``NAME.json`` and ``NAME.safetensors`` into a folder, whole or not at all.

    Args:
        directory: The folder.
        name: Of the files.
        what: What it is, in messages: ``classifier``.
        encoder: The encoder; its fingerprint is added to the record.
        record: What goes into the JSON file, with the name of the weights as ``weights``.
        tensors: What goes into the safetensors file.

    Raises:
        WeightsError: The folder holds something else, or cannot be written.
    """
    folder = Path(directory).expanduser()
    if folder.exists() and not (folder / f"{name}.json").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise WeightsError(f"{folder}: expected a new folder or that of a {what}, found something else there.")
    record = {"format": FORMAT, **record, "fingerprint": fingerprint(encoder)}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder_beside(folder) as aside:
            content = safetensors.torch.save(dict(tensors), metadata={"format": "pt"})
            (aside / f"{name}.safetensors").write_bytes(content)
            (aside / f"{name}.json").write_text(dump_json(record) + "\n", encoding="utf-8")
            put_in_place(aside, folder)
    except OSError as error:
        raise WeightsError(f"{folder}: expected a folder that can be written, found: {error}.") from None


def read_learnt(folder: Path, name: str, what: str, written_by: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Record and tensors of what :func:`write_learnt` wrote.

    Args:
        folder: The folder.
        name: Of the files.
        what: What it is, in messages.
        written_by: What writes such folders.

    Raises:
        WeightsError: There is none, it is damaged, or of a newer version.
    """
    path = folder / f"{name}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = record["format"]
    except FileNotFoundError:
        raise WeightsError(f"{folder}: expected a folder that {written_by} wrote, found no {path.name}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: expected the record of a {what}, found it damaged ({error!r}).") from None
    if version != FORMAT:
        raise WeightsError(f"{path}: expected format {FORMAT}, found {version!r}; a newer mamp may be needed.")
    return record, read_tensors(folder / f"{name}.safetensors")


def encoder_of(
    folder: Path,
    what: str,
    record: Mapping[str, Any],
    encoder: MAMPEncoder | str | PathLike[str] | None,
    device: str,
) -> MAMPEncoder:
    """The encoder that a record belongs to: the given one, or by default the one that it names.

    Raises:
        WeightsError: It is another one, or it is not given and has no name.
    """
    if encoder is None and record["weights"] is None:
        raise WeightsError(
            f"{folder}: the {what} was fitted with an encoder that has no name; pass the encoder with the "
            f"fingerprint {record['fingerprint']}."
        )
    opened = open_encoder(record["weights"] if encoder is None else encoder, device)
    if (found := fingerprint(opened)) != record["fingerprint"]:
        raise WeightsError(
            f"{folder}: expected the weights it was fitted with ({record['weights'] or 'without a name'}, "
            f"fingerprint {record['fingerprint']}), found {found}. Pass those, or fit again."
        )
    return opened
