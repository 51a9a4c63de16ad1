"""``main``: arguments to a command, and mistakes to one clear line and an exit status."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

import mamp
from mamp.cli import (
    ablate,
    convert,
    demo,
    embed,
    export,
    index,
    info,
    label,
    list_weights,
    predict,
    readout,
    report,
    reproduce,
    search,
)
from mamp.cli.command import Command
from mamp.console import USAGE_ERROR, entry, exit_status, messages

COMMANDS: tuple[Command, ...] = (
    embed.COMMAND,
    index.COMMAND,
    search.COMMAND,
    demo.COMMAND,
    info.COMMAND,
    list_weights.COMMAND,
    convert.COMMAND,
    export.COMMAND,
    predict.COMMAND,
    label.COMMAND,
    readout.COMMAND,
    report.COMMAND,
    ablate.COMMAND,
    reproduce.COMMAND,
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``mamp`` and of every command."""
    parser = argparse.ArgumentParser(
        prog="mamp",
        description="Action embeddings from 3D skeleton recordings.",
        epilog="'mamp COMMAND --help' explains a command and shows an example.",
    )
    parser.add_argument("--version", action="version", version=f"mamp {mamp.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.help,
            description=command.description or command.help,
            epilog=f"example:\n  {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command.add_arguments is not None:
            command.add_arguments(sub)
        sub.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
        sub.add_argument("--debug", action="store_true", help="show log messages, and the traceback of an error")
        sub.set_defaults(run=command.run)
    return parser


@entry
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after ``mamp``; those of the process by default.

    Returns:
        Exit status: 0 done; 1 not done, or not wholly; 2 wrong usage; 130 interrupted; 141 nobody reads the output.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    own = next((command.main for command in COMMANDS if words[:1] == [command.name] and command.main), None)
    if own is not None:
        return own(words[1:])
    parser = build_parser()
    try:
        args = parser.parse_args(words)
    except SystemExit as done:
        return int(done.code or 0)
    if args.command is None:
        parser.print_help(sys.stderr)
        return USAGE_ERROR

    def work() -> int:
        level = logging.DEBUG if args.debug else logging.WARNING
        with messages("mamp", level, once=() if args.debug else ("mamp",)):
            status: int = args.run(args)
        return status

    return exit_status(f"mamp {args.command}", work, args.debug)
