"""``mamp export``: an encoder as a folder that runs without torch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from mamp.console import say_result
from mamp.encoder import MAMPEncoder
from mamp.export import Format, export
from mamp.export.folder import MODEL_NAMES, read_record

DESCRIPTION = """\
Export an encoder, with its pooling and readout, to a folder that
mamp.export.load(DIR).encode(recording) opens: with onnxruntime or openvino and
numpy, without torch. The embeddings are those of MAMPEncoder.encode, within 1e-4
of their size."""
EXAMPLE = "mamp export openmocap -o openmocap-onnx --format onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("weights", nargs="?", default="openmocap", metavar="NAME", help="name or folder [%(default)s]")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the folder to write")
    parser.add_argument("--format", choices=get_args(Format), default="onnx", help="[%(default)s]")
    parser.add_argument(
        "--bits",
        type=int,
        choices=(8, 32),
        default=32,
        help="8: a quarter of the size, approximate; onnx [%(default)s]",
    )
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    encoder = MAMPEncoder.from_pretrained(args.weights, revision=args.revision)
    export(encoder, args.output, args.format, bits=args.bits)
    folder = Path(args.output)
    _, record = read_record(folder)
    size = sum((folder / name).stat().st_size for name in MODEL_NAMES[record.format])
    facts = {"directory": str(folder), "bytes": size, **vars(record)}
    text = f"{folder}: {record.format}, {size / 1e6:.1f} MB, {record.bits} bits, fingerprint {record.fingerprint}"
    say_result(args.json, facts, text)
    return 0
