"""Examples of classes in a CSV file, for commands that learn from them."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.cli.command import read_recording
from mamp.console import complain
from mamp.encoder import MAMPEncoder
from mamp.errors import DataError
from mamp.rows import Part, cut_seconds, embed_each
from mamp.skeleton import Skeleton

Embedded = tuple[str, tuple[list[Part], NDArray[np.float32]] | Exception]


@dataclass(frozen=True)
class Example:
    """A row of the examples."""

    file: str
    label: str
    start: float | None
    end: float | None

    def __str__(self) -> str:
        return self.file


def embed_examples(
    encoder: MAMPEncoder, args: argparse.Namespace, failed: list[dict[str, str]], people: bool = False
) -> tuple[list[NDArray[np.float32]], list[str]]:
    """Embeddings [n, D] of each of ``args.examples`` that can be read, and their labels; others join ``failed``.

    Raises:
        DataError: The file is malformed, or no example of a class can be read.
    """
    examples = read_examples(args.examples)

    def read(example: Example) -> Skeleton:
        path = Path(example.file)
        beside = args.examples.parent / path
        chosen = beside if not path.exists() and beside.exists() else path
        return cut_seconds(read_recording(str(chosen), args), example.start, example.end)

    labels = [example.label for example in examples]
    found = embed_each(encoder, examples, reader=read, batch_size=args.batch_size, people=people)
    rows, names = labelled_rows(found, labels, args, failed)
    if lost := set(labels) - set(names):
        raise DataError(f"{args.examples}: no example of {', '.join(sorted(lost))} can be read.")
    return rows, names


def labelled_rows(
    found: Iterable[Embedded], labels: Sequence[str], args: argparse.Namespace, failed: list[dict[str, str]]
) -> tuple[list[NDArray[np.float32]], list[str]]:
    """Of what :func:`mamp.rows.embed_each` found, the embeddings [n, D] of each, and their labels."""
    rows, names = [], []
    for label, (file, result) in zip(labels, found, strict=True):
        if isinstance(result, Exception):
            report_failure(args, file, result, failed)
        else:
            rows.append(result[1])
            names.append(label)
    return rows, names


def report_failure(args: argparse.Namespace, file: str, error: Exception, failed: list[dict[str, str]]) -> None:
    """Name a file that cannot be read on standard error, and keep it for the result."""
    line = str(error).partition("\n")[0].rstrip(":")
    complain(f"mamp {args.command}", line if file in line else f"{file}: {line}")
    failed.append({"file": file, "error": str(error)})


def read_examples(path: Path) -> list[Example]:
    """Rows of a CSV file of examples.

    Raises:
        DataError: It cannot be read, has no columns ``file`` and ``label``, a cell is empty, or no number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = reader.fieldnames or []
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a CSV file of examples, found: {error}.") from None
    if not {"file", "label"} <= set(columns):
        raise DataError(
            f"{path}: expected the columns file and label (and start, end), found "
            f"{', '.join(map(str, columns)) or 'none'}."
        )
    if not rows:
        raise DataError(f"{path}: expected examples, found no row below the names of the columns.")
    return [_example(row, f"{path}, row {number}") for number, row in enumerate(rows, 2)]


def _example(row: dict[str, Any], where: str) -> Example:
    file, label = ((row.get(name) or "").strip() for name in ("file", "label"))
    if not file or not label:
        raise DataError(f"{where}: expected a file and a label, found {file!r} and {label!r}.")
    ends: list[float | None] = []
    for name in ("start", "end"):
        text = (row.get(name) or "").strip()
        try:
            ends.append(float(text) if text else None)
        except ValueError:
            raise DataError(f"{where}: {name}: expected seconds, found {text!r}.") from None
    return Example(file, label, *ends)
