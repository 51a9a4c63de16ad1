"""``mamp segment``: what untrimmed recordings show, and when."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mamp.cli.browser import show_page
from mamp.cli.command import add_weights_options, find_device, open_encoder, read_recording
from mamp.console import complain, say, say_result
from mamp.errors import MAMPError
from mamp.outputs import output_file, write_whole
from mamp.readers.options import add_recording_options
from mamp.segment import Segmenter, Segments, segment
from mamp.segment.changes import PENALTY, need_ruptures
from mamp.segment.segments import to_csv
from mamp.skeleton import Skeleton

DESCRIPTION = """\
Say what untrimmed recordings show, and when. With --labels, the folder of a
head that python -m mamp.evaluate segment trained, it looks for the classes of
that head; the score is the mean probability of the label. Without, it looks for
changes (needs ruptures: pip install 'mamp[segment]') and gives segments that
show the same movement the same letter; the score is how alike they are.
-o writes the columns file, start, end (seconds), label and score. --view writes
a page for a browser, with the segments on a timeline. A file that cannot be
read is named on standard error and left out; the exit status is then 1."""
EXAMPLE = "mamp segment session.bvh --labels results/segment -o segments.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="recordings to divide: .bvh .skeleton .npz .csv ...")
    parser.add_argument("--labels", type=Path, metavar="DIR", help="results of evaluate segment, or a saved Segmenter")
    parser.add_argument("-o", "--output", type=Path, metavar="CSV", help="write the segments to this file")
    parser.add_argument("--view", type=Path, metavar="PAGE.html", help="write a page with the recordings and segments")
    parser.add_argument(
        "--penalty",
        type=float,
        metavar="P",
        help=f"without --labels: what a segment costs; higher gives fewer [{PENALTY:g}]",
    )
    add_weights_options(parser)
    add_recording_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    for path in filter(None, (args.output, args.view)):
        output_file(path)
    if args.labels is None:
        need_ruptures()
    elif args.penalty is not None:
        raise MAMPError("--penalty is for finding changes without --labels; leave one of the two out.")
    # Weights that were not named are those of the segmenter.
    named = args.labels is None or args.weights != "openmocap" or args.revision
    encoder = open_encoder(args) if named else None
    labels = None if args.labels is None else Segmenter.load(args.labels, encoder, device=find_device(args.device))
    penalty = PENALTY if args.penalty is None else args.penalty
    found: list[tuple[str, Skeleton, Segments]] = []
    failed: list[dict[str, str]] = []
    for file in args.files:
        try:
            recording = read_recording(file, args)
            segments = segment(recording, labels, encoder, penalty=penalty, progress=sys.stderr.isatty())
        except (MAMPError, OSError) as error:
            line = str(error).partition("\n")[0].rstrip(":")
            complain("mamp segment", line if file in line else f"{file}: {line}")
            failed.append({"file": file, "error": str(error)})
            continue
        found.append((file, recording, segments))
        if not args.json and args.output is None:
            for one in segments:
                say(f"{file}, {one.start:.2f}-{one.end:.2f} s: {one.label} {100 * (one.score or 0):.0f} %")
    if not found:
        raise MAMPError(f"none of the {len(args.files)} files could be divided; nothing was written.")
    lines = []
    if args.output is not None:
        write_whole(args.output, to_csv((file, segments) for file, _, segments in found))
        lines.append(f"{args.output}: {sum(len(segments) for *_, segments in found)} segments")
    if args.view is not None:
        lines.append(_view(args, found))
    data: dict[str, Any] = {
        "segments": [{"file": file, **asdict(one)} for file, _, segments in found for one in segments],
        "failed": failed,
        "labels": None if labels is None else labels.classes_,
        "output": None if args.output is None else str(args.output),
        "view": None if args.view is None else str(args.view),
    }
    say_result(args.json, data, "\n".join(lines) or f"{len(data['segments'])} segments")
    return 1 if failed else 0


def _view(args: argparse.Namespace, found: list[tuple[str, Skeleton, Segments]]) -> str:
    """Write the page; returns a line about it."""
    from mamp.view import page

    text = page([recording for _, recording, _ in found], weights=None, segments=[mine for *_, mine in found])
    return show_page(text, args.view, browse=False)
