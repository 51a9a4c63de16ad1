"""``mamp view``: recordings as a page for a browser."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mamp.cli.browser import add_page_options, page_file, show_page
from mamp.cli.command import find_device
from mamp.console import complain, positive, say_result
from mamp.errors import MAMPError
from mamp.forecast import Forecaster
from mamp.readers.options import add_recording_options, reading_options
from mamp.skeleton import Skeleton
from mamp.sources import load_part
from mamp.view import page

DESCRIPTION = """\
Show recordings in a browser: bodies in 3D as they were read and the joints of
the model, side by side and in step; over time the motion, what was tracked,
and how the embedding changes; of the method the mask of one draw and attention.
The page is one file that needs no network and no server, to keep or to send.

With --index (mamp index), the nearest recordings play beside it. With
--forecast, what a run of the recipe forecast predicts plays beside what came.
With the folder of a training run as --weights, the page shows the motion that
its decoder predicts. FILE@START-END takes a part, in seconds. A file that
cannot be read is named on standard error and left out; the exit status is
then 1."""
EXAMPLE = "mamp view walk.bvh --index moves -o walk.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("files", nargs="+", metavar="FILE[@START-END]", help="recordings, to be shown in step")
    add_page_options(parser)
    parser.add_argument("--index", type=Path, metavar="INDEX", help="show the nearest recordings of this index")
    parser.add_argument(
        "-k", type=positive, default=6, metavar="N", help="nearest recordings of a window [%(default)s]"
    )
    parser.add_argument(
        "--weights",
        default="openmocap",
        metavar="NAME",
        help="name, folder, run, or none for no embedding [%(default)s]",
    )
    parser.add_argument("--forecast", metavar="RUN", help="show what a run of the recipe forecast predicts")
    parser.add_argument("--at", type=float, metavar="SECONDS", help="predict from here on [a second before the end]")
    parser.add_argument(
        "--max-fps", type=float, default=60, metavar="N", help="frames of a second to keep [%(default)s]"
    )
    parser.add_argument("--title", help="of the page [the names of the files]")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... [a GPU when there is one]")
    parser.add_argument("--strict", action="store_true", help="stop at the first file that fails")
    add_recording_options(parser)


def _with_forecasts(
    recordings: list[Skeleton], args: argparse.Namespace
) -> tuple[list[Skeleton], list[list[tuple[float, float, str]]]]:
    """Each recording followed by its forecast, and the segments of both."""
    forecaster = Forecaster.from_pretrained(args.forecast, device=find_device(args.device))
    shown: list[Skeleton] = []
    segments = []
    for recording in recordings:
        shown += [recording, forecaster.continued(recording, args.at)]
        end = recording.duration or 0.0
        at = end - 1.0 if args.at is None else args.at
        segments += [[(0.0, at, "past"), (at, end, what)] for what in ("truth", "prediction")]
    return shown, segments


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.at is not None and args.forecast is None:
        raise MAMPError("--at says from when to predict, which needs --forecast RUN.")
    output = page_file(args, args.files[0])
    recordings: list[Skeleton] = []
    failed: dict[str, str] = {}
    for file in args.files:
        try:
            recordings.append(load_part(file, reading_options(args)))
        except (MAMPError, OSError) as error:
            if args.strict or len(args.files) == 1:
                raise
            failed[file] = str(error)
            line = str(error).partition("\n")[0].rstrip(":")
            complain("mamp view", line if file in line else f"{file}: {line}")
    if not recordings:
        raise MAMPError("expected a recording to show; none of the files could be read.")
    segments = None
    if args.forecast is not None:
        recordings, segments = _with_forecasts(recordings, args)
    text = page(
        recordings,
        segments=segments,
        weights=None if args.weights == "none" else args.weights,
        index=args.index,
        k=args.k,
        max_fps=args.max_fps,
        title=args.title,
        device=find_device(args.device),
        reading=reading_options(args),
        progress=sys.stderr.isatty(),
    )
    line = show_page(text, output, not (args.no_browser or args.json))
    data = {
        "output": str(output),
        "bytes": len(text.encode()),
        "files": [one.name for one in recordings],
        "failed": failed,
    }
    say_result(args.json, data, line)
    return 1 if failed else 0
