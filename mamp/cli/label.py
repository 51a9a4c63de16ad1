"""``mamp label``: what recordings show, by a few examples of each class."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mamp.classes import HEADS
from mamp.cli.command import add_weights_options, find_device, open_encoder, read_recording
from mamp.cli.examples import embed_examples, report_failure
from mamp.console import positive, say, say_result
from mamp.errors import MAMPError
from mamp.label import FewShotClassifier, Label
from mamp.outputs import write_whole
from mamp.readers.options import add_recording_options
from mamp.rows import embed_each

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
    parser.add_argument("--head", choices=("auto", *HEADS), default="auto", help="[%(default)s]")
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
    rows, names = embed_examples(classifier.encoder, args, failed)
    classifier.fit_embeddings(np.concatenate(rows), names)


def _label(classifier: FewShotClassifier, args: argparse.Namespace, failed: list[dict[str, str]]) -> list[Label]:
    labels: list[Label] = []
    options = {"window": args.window, "stride": args.stride, "people": args.people, "batch_size": args.batch_size}
    reader = partial(read_recording, args=args)
    for file, found in embed_each(classifier.encoder, args.files, reader=reader, **options):
        if isinstance(found, Exception):
            report_failure(args, file, found, failed)
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
