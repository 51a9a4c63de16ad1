"""``mamp label``: what recordings show, by a few examples of each class."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mamp.cli.command import add_weights_options, find_device, open_encoder, read_recording
from mamp.console import complain, positive, say, say_result
from mamp.errors import DataError, MAMPError
from mamp.label import FewShotClassifier, Label
from mamp.outputs import write_whole
from mamp.readers.options import add_recording_options
from mamp.rows import cut_seconds, embed_each
from mamp.skeleton import Skeleton

DESCRIPTION = """\
Name what recordings show, by a few examples of each class. Examples are a CSV
file with the columns file and label, and, for parts of recordings, start and
end in seconds; paths are looked for from here, then from the folder of the CSV
file. One example of a class is enough. What is like none of the classes is
called unknown. -o writes the columns file, label, confidence; with --people
and --window also person, start and end. Confidence is the probability of the
label: of a class, given that it is one of them. --save keeps what was learnt
for --model. A file that cannot be read is named on standard error and left
out; the exit status is then 1."""
EXAMPLE = "mamp label --examples examples.csv takes/*.bvh -o labels.csv"


@dataclass(frozen=True)
class Example:
    """A row of the examples."""

    file: str
    label: str
    start: float | None
    end: float | None

    def __str__(self) -> str:
        return self.file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="recordings to label: .bvh .skeleton .npz .csv ...")
    learnt = parser.add_mutually_exclusive_group(required=True)
    learnt.add_argument("--examples", type=Path, metavar="CSV", help="file, label[, start, end] of each example")
    learnt.add_argument("--model", type=Path, metavar="DIR", help="what --save wrote, in place of examples")
    parser.add_argument("-o", "--output", type=Path, metavar="CSV", help="write the labels to this file")
    parser.add_argument("--save", type=Path, metavar="DIR", help="keep what was learnt in this folder")
    parser.add_argument("--window", type=_seconds, metavar="S", help="a label for each window of so many seconds")
    parser.add_argument("--stride", type=_seconds, metavar="S", help="seconds from one window to the next [the window]")
    parser.add_argument("--people", action="store_true", help="a label for each person")
    parser.add_argument("--unknown", type=float, metavar="P", help="call it unknown below this probability [0.5]")
    parser.add_argument("--head", choices=("auto", "means", "logistic"), default="auto", help="[%(default)s]")
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="recordings at a time [32]")
    add_weights_options(parser)
    add_recording_options(parser)


def _seconds(text: str) -> float:
    """Argument type: seconds above zero."""
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds above zero, found {text}")
    return seconds


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    _check(args)
    failed: list[dict[str, str]] = []
    if args.model is None:
        classifier = FewShotClassifier(
            open_encoder(args), head=args.head, unknown=0.5 if args.unknown is None else args.unknown
        )
        classifier.weights = args.weights
        _learn(classifier, args, failed)
    else:
        # Weights that were not named are those of the classifier.
        named = args.weights if args.weights != "openmocap" or args.revision else None
        encoder = None if named is None else open_encoder(args)
        classifier = FewShotClassifier.load(args.model, encoder, device=find_device(args.device))
        if args.unknown is not None:
            classifier.unknown = args.unknown
    if args.save is not None:
        classifier.save(args.save)
    labels = _label(classifier, args, failed)
    if args.files and not labels:
        raise MAMPError(f"none of the {len(args.files)} files could be labelled; no labels were written.")
    if args.output is not None and args.files:
        write_whole(args.output, _table(labels, args))
    model = classifier.model_
    data = {
        "labels": [asdict(one) for one in labels],
        "failed": failed,
        "classes": dict(zip(classifier.classes_, classifier.counts_, strict=True)),
        "head": model.head,
        "left_out": model.left_out,
        "saved": None if args.save is None else str(args.save),
        "output": str(args.output) if args.output is not None and args.files else None,
    }
    say_result(args.json, data, _summary(data))
    return 1 if failed else 0


def _check(args: argparse.Namespace) -> None:
    """Find mistakes before weights are loaded and files are read."""
    if not args.files and args.save is None:
        raise MAMPError("expected files to label, or a folder to --save what is learnt; found neither.")
    if args.model is not None and args.save is not None:
        raise MAMPError("--save keeps what is learnt from --examples; --model is kept already.")
    if args.stride is not None and args.window is None:
        raise MAMPError("--stride: expected a --window too, found none.")
    if args.unknown is not None and not 0 <= args.unknown <= 1:
        raise MAMPError(f"--unknown: expected a probability from 0 to 1, found {args.unknown:g}.")
    for path in filter(None, (args.output, args.save)):
        if not path.parent.is_dir():
            raise MAMPError(f"{path}: the folder {path.parent} does not exist; make it first.")
    if args.output is not None and args.output.is_dir():
        raise MAMPError(f"{args.output}: expected a file to write, found a folder.")


def _learn(classifier: FewShotClassifier, args: argparse.Namespace, failed: list[dict[str, str]]) -> None:
    """Fit to the examples that can be read."""
    examples = read_examples(args.examples)

    def read(example: Example) -> Skeleton:
        path = Path(example.file)
        beside = args.examples.parent / path
        chosen = beside if not path.exists() and beside.exists() else path
        return cut_seconds(read_recording(str(chosen), args), example.start, example.end)

    rows, names = [], []
    found = embed_each(classifier.encoder, examples, reader=read, batch_size=args.batch_size)
    for example, (file, result) in zip(examples, found, strict=True):
        if isinstance(result, Exception):
            _fail(file, result, failed)
        else:
            rows.append(result[1])
            names.append(example.label)
    if lost := {example.label for example in examples} - set(names):
        raise DataError(f"{args.examples}: no example of {', '.join(sorted(lost))} can be read.")
    classifier.fit_embeddings(np.concatenate(rows), names)


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


def _label(classifier: FewShotClassifier, args: argparse.Namespace, failed: list[dict[str, str]]) -> list[Label]:
    labels: list[Label] = []
    options = {"window": args.window, "stride": args.stride, "people": args.people, "batch_size": args.batch_size}
    reader = partial(read_recording, args=args)
    for file, found in embed_each(classifier.encoder, args.files, reader=reader, **options):
        if isinstance(found, Exception):
            _fail(file, found, failed)
            continue
        labels += classifier.label_embeddings(*found)
        if not args.json and args.output is None:
            for one in classifier.label_embeddings(*found):
                say(_line(one, timed=args.window is not None))
    return labels


def _line(one: Label, timed: bool) -> str:
    person = "" if one.person is None else f", person {one.person}"
    time = f", {one.start:.2f}-{one.end:.2f} s" if timed else ""
    return f"{one.file}{person}{time}: {one.label} {100 * one.confidence:.0f} %"


def _fail(file: str, error: Exception, failed: list[dict[str, str]]) -> None:
    line = str(error).partition("\n")[0].rstrip(":")
    complain("mamp label", line if file in line else f"{file}: {line}")
    failed.append({"file": file, "error": str(error)})


def _table(labels: Sequence[Label], args: argparse.Namespace) -> str:
    columns = ["file", *(["person"] if args.people else []), *(["start", "end"] if args.window else [])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, "label", "confidence"])
    for one in labels:
        cells = [getattr(one, name) for name in columns]
        cells = [f"{cell:.6g}" if isinstance(cell, float) else cell for cell in cells]
        writer.writerow([*cells, one.label, f"{one.confidence:.6g}"])
    return text.getvalue()


def _summary(data: dict[str, Any]) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in data["classes"].items())
    left_out = data["left_out"].get(data["head"])
    sure = "" if left_out is None else f"; right about {100 * left_out:.0f} % of examples left out"
    lines = [f"learnt from examples: {counts} ({data['head']}{sure})"]
    if data["saved"]:
        lines.append(f"{data['saved']}: classifier")
    if data["output"]:
        unknown = sum(one["label"] == "unknown" for one in data["labels"])
        lines.append(f"{data['output']}: {len(data['labels'])} labels, {unknown} of them unknown")
    return "\n".join(lines)
