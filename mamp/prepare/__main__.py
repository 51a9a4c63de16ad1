"""``python -m mamp.prepare``: recordings as their owners distribute them to the store that training reads.

One class of source, one sub-command: a :class:`Source` in :data:`SOURCES`.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mamp.cli.command import add_recording_options, read_recording
from mamp.config import Preprocessing
from mamp.console import DONE, EXIT_STATUSES, FAILED, Parser, exit_status, messages, say_result
from mamp.errors import DataError
from mamp.prepare.folder import build_folder_store
from mamp.prepare.pretraining import build_pretraining_store

PROG = "python -m mamp.prepare"


@dataclass(frozen=True)
class Source:
    """A kind of raw data.

    Attributes:
        name: What the user types.
        help: One line.
        example: A command line that works.
        add_arguments: Adds its arguments to its parser.
        run: Makes the store; returns the exit status.
    """

    name: str
    help: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def check_output(output: Path, overwrite: bool) -> None:
    """Raise unless the store may be written there; never let anything but a store be replaced."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not all((output / name).is_file() for name in ("meta.json", "clips.npz", "positions.bin")):
        raise DataError(f"{output}: exists and is not a store of clips; name a folder that does not exist.")
    if not overwrite:
        raise DataError(f"{output}: there is a store already; --overwrite replaces it.")


def _packed_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.npz", help="packed corpora, each a group")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder of the store")
    parser.add_argument(
        "--max-speed", type=float, default=12.0, metavar="M/S", help="cut where a joint is faster [%(default)g]"
    )
    parser.add_argument(
        "--min-frames", type=int, default=30, metavar="N", help="leave out shorter pieces [%(default)s]"
    )


def _packed(args: argparse.Namespace) -> int:
    check_output(args.output, args.overwrite)
    counts = build_pretraining_store(args.files, args.output, args.max_speed, args.min_frames)
    lines = [f"{name}: {count} clips" for name, count in counts.items()]
    say_result(args.json, {"output": str(args.output), "clips": counts}, "\n".join([*lines, f"store: {args.output}"]))
    return DONE


def _folder_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("raw", type=Path, metavar="RAW_DIR", help="folder of recordings, looked through to the bottom")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder of the store")
    parser.add_argument(
        "--labels", type=Path, metavar="CSV", help="columns file (path below RAW_DIR) and label; fills the column label"
    )
    parser.add_argument("--strict", action="store_true", help="write nothing when a file cannot be used")
    group = parser.add_argument_group("clips", "how they are placed; the recipe must expect the same")
    group.add_argument(
        "--center",
        choices=("clip", "none"),
        default="clip",
        help="spine of the first frame at the origin [%(default)s]",
    )
    group.add_argument("--facing", action="store_true", help="turn each clip towards the camera")
    group.add_argument("--max-people", type=int, metavar="N", help="keep those who move most [all; 2 with --absent]")
    group.add_argument(
        "--absent",
        choices=("zeros", "copy", "none"),
        default="none",
        help="a person who is missing in some frames is zeros there (zeros, copy: as published for two people), or "
        "holds the nearest pose (none) [%(default)s]",
    )
    add_recording_options(parser)


def _folder(args: argparse.Namespace) -> int:
    check_output(args.output, args.overwrite)
    max_people = args.max_people
    if max_people is None and args.absent != "none":
        max_people = 2
    expected = Preprocessing(center=args.center, facing=args.facing, max_people=max_people, absent_person=args.absent)
    report = build_folder_store(
        args.raw, args.output, expected, args.labels, args.strict, lambda path: read_recording(path, args)
    )
    result = {
        "output": str(args.output),
        "clips": len(report.written),
        "frames": report.frames,
        "people": report.people,
        "failed": report.failed,
    }
    left_out = f", {len(report.failed)} left out" if report.failed else ""
    text = f"{args.output}: {len(report.written)} clips, {report.frames} frames, up to {report.people} people{left_out}"
    say_result(args.json, result, text)
    return FAILED if report.failed else DONE


SOURCES: tuple[Source, ...] = (
    Source(
        "folder",
        "every recording under a folder, in any format that mamp reads",
        f"{PROG} folder recordings store --labels labels.csv",
        _folder_arguments,
        _folder,
    ),
    Source(
        "packed",
        "corpora of one person each, many recordings in one .npz, for pre-training",
        f"{PROG} packed cmu.npz ui-prmd.npz store",
        _packed_arguments,
        _packed,
    ),
)


def build_parser() -> Parser:
    """The parser of the command and of every source."""
    parser = Parser(
        prog=PROG,
        description="Make the store of clips that training and evaluation read.",
        epilog=f"'{PROG} SOURCE --help' explains a source.\n{EXIT_STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sources = parser.add_subparsers(title="sources", metavar="SOURCE", dest="source", required=True)
    for source in SOURCES:
        sub = sources.add_parser(
            source.name,
            help=source.help,
            description=source.help,
            epilog=f"example:\n  {source.example}\n\n{EXIT_STATUSES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        source.add_arguments(sub)
        sub.add_argument("--overwrite", action="store_true", help="replace a store that is already there")
        sub.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
        sub.add_argument("--debug", action="store_true", help="show log messages, and the traceback of an error")
        sub.set_defaults(run=source.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        Exit status: 0 done; 1 not done, or some files left out; 2 wrong usage; 130 interrupted.
    """
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as done:
        return int(done.code or 0)
    once = () if args.debug else ("mamp.readers", "mamp.preprocessing", "mamp.layouts")
    with messages(PROG, logging.DEBUG if args.debug else logging.WARNING, once):
        return exit_status(PROG, lambda: int(args.run(args)), args.debug)


if __name__ == "__main__":
    sys.exit(main())
