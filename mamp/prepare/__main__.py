"""``python -m mamp.prepare``: convert raw data sets, as distributed by their owners, to stores for training.

Each kind of raw data is a sub-command: a :class:`~mamp.prepare.dataset.Source` in :data:`SOURCES`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mamp.console import DONE, Parser, entry, exit_status, messages, positive, say_result, terminable
from mamp.prepare import corpora, ctrgcn, folder, ntu, pku, pyskl, recordings
from mamp.prepare.build import Settings, dry_run, dry_run_text, prepare
from mamp.prepare.dataset import Source
from mamp.prepare.outcome import report_text

PROG = "python -m mamp.prepare"
SOURCES: tuple[Source, ...] = (
    *ntu.SOURCES,
    *pku.SOURCES,
    ctrgcn.SOURCE,
    pyskl.SOURCE,
    *recordings.SOURCES,
    folder.SOURCE,
    corpora.SOURCE,
)
EXIT_STATUSES = """\
exit status: 0 done; 1 failed, or incomplete (folder: some files could not be used; other sources only with --strict,
because broken files of a public set are broken for everybody); 2 wrong usage; 130 interrupted; 143 terminated"""


def build_parser() -> Parser:
    """Build the parser of the command and of every source."""
    parser = Parser(
        prog=PROG,
        description="Make the store of clips that training and evaluation read.",
        epilog=f"'{PROG} SOURCE --help' explains a source.\n"
        f"The same command resumes a run that was stopped or killed.\n\n{EXIT_STATUSES}",
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
        if source.open is not None:
            sub.add_argument("raw", type=Path, metavar="RAW_DIR", help="folder (or zip file) of the raw data")
            sub.add_argument("output", type=Path, metavar="OUT_DIR", help="folder of the store")
        if source.add_arguments is not None:
            source.add_arguments(sub)
        if source.open is not None:
            _add_engine_options(sub)
        sub.add_argument("--overwrite", action="store_true", help="replace a store that is already there")
        sub.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
        sub.add_argument("--debug", action="store_true", help="show log messages, and the traceback of an error")
        sub.set_defaults(source=source)
    return parser


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("work", "nothing here changes the store")
    group.add_argument("--workers", type=positive, metavar="N", help="processes that read files [all cores]")
    group.add_argument("--strict", action="store_true", help="write nothing when a file cannot be used")
    group.add_argument("--dry-run", action="store_true", help="read a sample, and estimate the store and the time")
    group.add_argument("--restart", action="store_true", help="discard what an unfinished run did")


def run(args: argparse.Namespace) -> int:
    """Run a parsed command line; returns the exit status."""
    source: Source = args.source
    if source.open is None:
        assert source.run is not None
        return source.run(args)
    settings = Settings(args.workers, args.strict, args.overwrite, args.restart)
    dataset = source.open(args)
    if args.dry_run:
        found = dry_run(dataset, args.output, settings)
        say_result(args.json, found, dry_run_text(found))
        return DONE
    began = time.perf_counter()
    report = {"output": str(args.output), **prepare(dataset, args.output, settings)}
    report["seconds"] = round(time.perf_counter() - began, 1)
    say_result(args.json, report, report_text(str(args.output), report))
    return source.failed_status if report["failed"] else DONE


@entry
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        Exit status: 0 done; 1 not done, or some files left out; 2 wrong usage; 130 interrupted; 143 terminated.
    """
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as done:
        return int(done.code or 0)
    once = () if args.debug else ("mamp.readers", "mamp.preprocessing", "mamp.layouts")
    with messages(PROG, logging.DEBUG if args.debug else logging.WARNING, once), terminable():
        return exit_status(PROG, lambda: run(args), args.debug)


if __name__ == "__main__":
    sys.exit(main())
