"""An encoder as a folder that runs without torch: on ONNX Runtime or OpenVINO, with numpy for everything around it.

>>> from mamp import MAMPEncoder
>>> from mamp.export import load, to_onnx
>>> to_onnx(MAMPEncoder.from_pretrained(), "openmocap-onnx")

and where only numpy and onnxruntime are installed:

>>> load("openmocap-onnx").encode(recording)
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from mamp.export.folder import Format
from mamp.export.runtime import ExportedEncoder, load

if TYPE_CHECKING:
    from mamp.transformer import Network

__all__ = ["ExportedEncoder", "Format", "export", "load", "to_onnx", "to_openvino", "to_torch"]


def export(encoder: Network, directory: str | PathLike[str], format: Format, *, bits: int = 32) -> None:
    """Write an encoder, with its pooling and readout, to a folder that :func:`load` opens.

    Args:
        encoder: The encoder.
        directory: Created, or replaced where it holds an earlier export.
        format: ``"onnx"``, ``"openvino"`` or ``"torch"`` (an exported program of ``torch.export``).
        bits: 8 stores the weights of ONNX as 8-bit numbers and multiplies in them: a quarter of the size, and
            embeddings that are approximate.

    Raises:
        MissingExtraError: A package is not installed; the message says which extra brings it.
        WeightsError: The format or number of bits is unknown, or the folder holds something else.
    """
    from mamp.export.graph import write_export  # with torch

    write_export(encoder, directory, format, bits)


def to_onnx(encoder: Network, directory: str | PathLike[str], *, bits: int = 32) -> None:
    """Export to ONNX; see :func:`export`."""
    export(encoder, directory, "onnx", bits=bits)


def to_openvino(encoder: Network, directory: str | PathLike[str]) -> None:
    """Export to OpenVINO's intermediate representation; see :func:`export`."""
    export(encoder, directory, "openvino")


def to_torch(encoder: Network, directory: str | PathLike[str]) -> None:
    """Export to a program of ``torch.export``; see :func:`export`."""
    export(encoder, directory, "torch")
