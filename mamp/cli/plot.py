"""``mamp plot``: recordings as a picture or a film."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from mamp.console import complain, say_result
from mamp.errors import MAMPError
from mamp.figures import THEMES
from mamp.outputs import output_file
from mamp.readers.options import add_recording_options, reading_options
from mamp.skeleton import Skeleton
from mamp.sources import load_part
from mamp.stick import VIEWS
from mamp.view.films import FILMS, PICTURES, FilmOptions, draw_film

DESCRIPTION = """\
Draw recordings. The name of the output says as what: a picture with a row of
poses for each recording (.png, .svg, .pdf), or a film in which they play side
by side (.gif; .mp4 with the extra film). FILE@START-END takes a part, in
seconds. Left limbs are blue, right ones red; further people are paler. A file
that cannot be read or drawn is named on standard error and left out; the exit
status is then 1."""
EXAMPLE = "mamp plot walk.bvh wave.bvh@1-3 -o both.gif"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE[@START-END]", help="recordings, or parts of them")
    add("-o", "--output", required=True, type=Path, metavar="OUT", help=f"what to write: {' '.join(PICTURES + FILMS)}")
    add("--view", choices=VIEWS, default="corner", help="from where: ahead, a little left and above [%(default)s]")
    add("--theme", choices=THEMES, default="light", help="colours [%(default)s]")
    add("--poses", type=int, default=8, metavar="N", help="of each recording in a picture [%(default)s]")
    add("--width", type=int, metavar="PIXELS", help="of the whole [1000; of a film 320, or 200 for each in a row]")
    add("--columns", type=int, metavar="N", help="recordings beside each other in a film [as many as look well]")
    add("--rate", type=float, metavar="N", help="frames per second of a film, at most [20 for .gif, 30 for .mp4]")
    add("--no-names", dest="names", action="store_false", help="write no names and times")
    add("--model", action="store_true", help="draw the 25 joints of the model in place of those that were read")
    add("--strict", action="store_true", help="stop at the first file that fails, and write nothing")
    add_recording_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    options = FilmOptions(**{field.name: getattr(args, field.name) for field in fields(FilmOptions)})
    output_file(args.output)  # a name that cannot be written is told of before anything is read
    recordings: list[Skeleton] = []
    failed: dict[str, str] = {}
    for file in args.files:
        try:
            recordings.append(load_part(file, reading_options(args)))
        except (MAMPError, OSError) as error:
            if args.strict:
                raise
            failed[file] = str(error)
    written = draw_film(recordings, args.output, options, None if args.strict else failed) if recordings else None
    for file, reason in failed.items():
        line = reason.partition("\n")[0].rstrip(":")
        complain("mamp plot", line if file in line else f"{file}: {line}")
    if not written:
        raise MAMPError(f"none of the {len(args.files)} files could be drawn; nothing was written.")
    data = {"output": str(args.output), "recordings": written, "failed": failed}
    say_result(args.json, data, f"{args.output}: {len(written)} recordings, {args.output.stat().st_size:,} bytes")
    return 1 if failed else 0
