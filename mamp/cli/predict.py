"""``mamp predict``: classify the actions in recordings."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path

import numpy as np

from mamp.classifier import MAMPClassifier
from mamp.cli.command import find_device, read_recording
from mamp.console import complain, say, say_result
from mamp.errors import MAMPError
from mamp.outputs import write_whole
from mamp.readers.options import add_recording_options

DESCRIPTION = """\
Classify the actions in recordings. The classifier is a folder written by
python -m mamp.evaluate finetune or linear (seed=N/classifier), or by mamp convert
from a published linear or fine-tuned checkpoint. Prints the most probable
classes of each file; -o writes a CSV file with a column for every class. A file
that cannot be read is reported on standard error and left out; the exit status
is then 1."""
EXAMPLE = "mamp predict walk.bvh wave.bvh --weights results/finetune/seed=0/classifier --top 3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="recordings: .bvh .skeleton .npz .npy .csv .amc ...")
    parser.add_argument("--weights", required=True, metavar="DIR", help="folder of a classifier")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT.csv", help="write file, label and all probabilities")
    parser.add_argument("--top", type=int, default=1, metavar="N", help="classes to show for each file [%(default)s]")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... [a GPU when there is one]")
    add_recording_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    classifier = MAMPClassifier.from_pretrained(args.weights, device=find_device(args.device))
    top = min(max(args.top, 1), len(classifier.classes))
    rows, failed = [], []
    for file in args.files:
        try:
            rows.append((file, classifier.predict(read_recording(file, args)).probabilities))
        except (MAMPError, OSError) as error:
            line = str(error).partition("\n")[0].rstrip(":")
            complain("mamp predict", line if file in line else f"{file}: {line}")
            failed.append({"file": file, "error": str(error)})
    if not rows:
        raise MAMPError(f"none of the {len(failed)} files could be classified.")
    found = []
    for file, probabilities in rows:
        best = [(classifier.classes[k], float(probabilities[k])) for k in np.argsort(-probabilities)[:top]]
        found.append({"file": file, "label": best[0][0], "classes": [{"label": n, "probability": p} for n, p in best]})
        if not args.json:
            say(f"{file}: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in best))
    if args.output is not None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", "label", *classifier.classes])
        for (file, probabilities), one in zip(rows, found, strict=True):
            writer.writerow([file, one["label"], *(f"{share:.6g}" for share in probabilities)])
        write_whole(args.output, text.getvalue())
    if args.json:
        say_result(True, {"weights": args.weights, "predictions": found, "failed": failed}, "")
    sys.stdout.flush()
    return 1 if failed else 0
