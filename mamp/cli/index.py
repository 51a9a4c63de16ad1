"""``mamp index``: an archive of recordings to search in."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from mamp import distributed
from mamp.cli.command import find_device
from mamp.console import complain, positive, say_result
from mamp.errors import MAMPError, SearchError
from mamp.readers.options import add_recording_options, reading_options
from mamp.search import Index
from mamp.search.settings import NAME
from mamp.search.writer import Engine
from mamp.workers import FEW, in_order

DESCRIPTION = """\
Index recordings for mamp search: cut them into windows, embed each person in
each window, and keep the vectors in a folder (needs mamp[search]). Give files,
folders, zip files of recordings, or stores of python -m mamp.prepare. What is
in the index already, by its content, is skipped; a file that changed is
replaced. A command that was stopped or killed goes on where it was when it is
given again. A file that cannot be read is named on standard error and left
out; the exit status is then 1.

--metadata adds columns of your own from a CSV file with a column file (path
below the folder, or name), which mamp search shows and --where can ask for.
--update also looks at all files that are in the index, and takes out those
that are gone."""
EXAMPLE = "mamp index recordings -o moves --metadata labels.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("paths", nargs="*", metavar="DIR|FILE|STORE", help="recordings; none with --update alone")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="INDEX", help="the index, a folder")
    parser.add_argument("--window", type=_window, metavar="S", help="seconds, or none for whole recordings [4]")
    parser.add_argument("--stride", type=float, metavar="S", help="seconds from one window to the next [half of one]")
    parser.add_argument("--metadata", type=Path, metavar="CSV", help="columns of your own: file and any others")
    parser.add_argument(
        "--update", action="store_true", help="take out files that are gone, replace those that changed"
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="the cores of this machine, or the machines of a Ray cluster (needs mamp[ray]) [%(default)s]",
    )
    parser.add_argument("--workers", type=positive, metavar="N", help="processes, or actors of Ray [all cores]")
    parser.add_argument("--strict", action="store_true", help="stop at the first file that fails")
    parser.add_argument("--weights", metavar="NAME", help="name, folder or Hub repository [openmocap]")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... [a GPU when there is one]")
    add_recording_options(parser)


def _window(text: str) -> float | str:
    return text if text == "none" else float(text)


def _open(args: argparse.Namespace) -> Index:
    """Open the index, or make it."""
    device = find_device(args.device)
    window = None if args.window == "none" else args.window
    if not (args.output / NAME).exists():
        window = 4.0 if args.window is None else window
        return Index.create(args.output, args.weights or "openmocap", window, args.stride, device=device)
    index = Index.open(args.output, args.weights, device=device)
    found = index.settings
    if (args.window is not None and window != found.window) or (args.stride or found.stride) != found.stride:
        own = "whole recordings" if found.window is None else f"windows of {found.window:g} s every {found.stride:g} s"
        raise SearchError(f"{args.output}: holds {own}; leave --window and --stride out, or choose another -o.")
    return index


def _engine(args: argparse.Namespace) -> Engine:
    on_gpu = find_device(args.device) != "cpu"
    if args.engine == "ray":
        return partial(distributed.in_order, actors=args.workers, gpus=1 if on_gpu else 0)
    return map if on_gpu else partial(in_order, processes=args.workers, few=FEW)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if not args.paths and not args.update:
        raise MAMPError("expected recordings to index, or --update, found neither.")
    index = _open(args)
    work = index.update if args.update else index.add
    report = work(
        args.paths, args.metadata, strict=args.strict, progress=True, engine=_engine(args), **reading_options(args)
    )
    for file, error in report.failed.items():
        line = error.partition("\n")[0].rstrip(":")
        complain("mamp index", line if file in line else f"{file}: {line}")
    data = {"index": str(args.output), "rows": len(index), **index.settings.to_dict(), **report.to_dict()}
    say_result(args.json, data, f"{args.output}: {report}; {len(index):,} windows in all")
    return 1 if report.failed else 0
