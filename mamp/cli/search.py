"""``mamp search``: what in an index is most like a recording."""

from __future__ import annotations

import argparse
from pathlib import Path

from mamp.cli.browser import add_page_options, page_file, show_page
from mamp.cli.command import find_device
from mamp.console import say_result
from mamp.readers.options import add_recording_options, reading_options
from mamp.search import Hit, Index
from mamp.sources import load_part

DESCRIPTION = """\
Find what in an index of mamp index is most like a recording, whatever its
layout and frame rate. FILE@START-END takes a part of it, in seconds; of several
queries the mean is searched. Prints the cosine, file, seconds and person of
each hit, best first, and the columns of --metadata. Windows of one file and
person that overlap are one hit. --view plays them in a browser."""
EXAMPLE = "mamp search walk.bvh@3.2-5.0 --index moves -k 5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("query", nargs="+", metavar="FILE[@START-END]", help="a recording, or a part of one")
    parser.add_argument("--index", required=True, type=Path, metavar="INDEX", help="the folder of mamp index")
    parser.add_argument("-k", type=int, default=10, metavar="N", help="hits, at most [%(default)s]")
    parser.add_argument("--where", metavar="SQL", help="""only rows such as "file LIKE 'walk%%' AND start < 10" """)
    parser.add_argument("--person", type=int, metavar="N", help="take this person of the query only [all]")
    parser.add_argument("--exact", action="store_true", help="compare with every window, also where there are many")
    parser.add_argument("--weights", metavar="NAME", help="where the weights of the index are now [as it says]")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... [a GPU when there is one]")
    parser.add_argument("--view", action="store_true", help="show the hits beside the query, as a page for a browser")
    add_page_options(parser)
    add_recording_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    index = Index.open(args.index, args.weights, device=find_device(args.device))
    options = {"person": args.person, "exact": args.exact, **reading_options(args)}
    hits = index.search(args.query, args.k, args.where, **options)
    data = {"index": str(args.index), "query": args.query, "hits": [hit.to_dict() for hit in hits]}
    lines = [*map(_line, hits)] or ["no hits"]
    if args.view:
        lines.append(_show(args, hits))
    say_result(args.json, data, "\n".join(lines))
    return 0


def _show(args: argparse.Namespace, hits: list[Hit]) -> str:
    """Write the page of the queries and hits, and open it; returns a line about it."""
    from mamp.view import page

    reading = reading_options(args)
    output = page_file(args, args.query[0])
    text = page(
        [load_part(one, reading) for one in args.query], hits=hits, reading=reading, device=find_device(args.device)
    )
    return show_page(text, output, not (args.no_browser or args.json))


def _line(hit: Hit) -> str:
    columns = "".join(f"  {name}={value}" for name, value in hit.columns.items() if value is not None)
    return f"{hit.score:+.3f}  {hit.file}  {hit.start:.2f}-{hit.end:.2f} s  person {hit.person}{columns}"
