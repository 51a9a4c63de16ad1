"""``mamp map``: embeddings in two dimensions."""

from __future__ import annotations

import argparse
from pathlib import Path

from mamp.console import complain, positive, say_result
from mamp.errors import MAMPError
from mamp.figures import THEMES
from mamp.outputs import output_file
from mamp.readers.options import add_recording_options, reading_options
from mamp.view.maps import CLIPS, draw_map
from mamp.view.points import read_labels, read_points
from mamp.view.project import METHODS

DESCRIPTION = """\
Draw the embeddings of mamp embed, or those of an index, in two dimensions: near
points are alike. A name that ends in .html gives a page that needs no network:
hovering a point plays its movement as a small stick figure, where the recording
is still where it was; a click keeps it. A name that ends in .png, .svg or .pdf
gives a picture. Recordings that are there and cannot be read are named on
standard error; the exit status is then 1."""
EXAMPLE = "mamp map moves -o map.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("source", metavar="EMBEDDINGS|INDEX", help="a file of mamp embed, or the folder of mamp index")
    add("-o", "--output", required=True, type=Path, metavar="OUT", help="map.html, map.png, map.svg or map.pdf")
    add("--method", choices=METHODS, default="auto", help="umap or tsne if installed, else pca [%(default)s]")
    add(
        "--by",
        metavar="COLUMN|REGEX",
        help="groups: a column of the index, file, folder, none, or what matches [guess]",
    )
    add("--labels", type=Path, metavar="CSV", help="groups: the columns file and label, as of mamp label")
    add("--most", type=positive, default=20_000, metavar="N", help="points at most, spread over all [%(default)s]")
    add("--clips", type=int, default=CLIPS, metavar="N", help="movements in a page at most; 0 for none [%(default)s]")
    add("--theme", choices=THEMES, default="light", help="colours of a picture [%(default)s]")
    add_recording_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    output_file(args.output)
    if args.by is not None and args.labels is not None:
        raise MAMPError("--labels gives the groups; leave --by out.")
    labels = None if args.labels is None else read_labels(args.labels)
    points = read_points(args.source, args.most).grouped(args.by, labels)
    reading = reading_options(args)
    found = draw_map(points, args.output, args.method, theme=args.theme, clips=args.clips, reading=reading)
    for name, error in found["failed"].items():
        line = error.partition("\n")[0].rstrip(":")
        complain("mamp map", line if name in line else f"{name}: {line}")
    data = {"output": str(args.output), "bytes": args.output.stat().st_size, "total": points.total, **found}
    text = f"{args.output}: {found['points']:,} points in {found['groups']} groups, {found['method']}"
    say_result(args.json, data, f"{text}, {found['clips']:,} with their movement, {data['bytes']:,} bytes")
    return 1 if found["failed"] else 0
