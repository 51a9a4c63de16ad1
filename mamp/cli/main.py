"""``main``: arguments to a command, and mistakes to one clear line and an exit status."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import mamp
from mamp.cli import convert, demo, embed, info, list_weights
from mamp.cli.command import Command
from mamp.errors import MAMPError

COMMANDS: tuple[Command, ...] = (
    embed.COMMAND,
    demo.COMMAND,
    info.COMMAND,
    list_weights.COMMAND,
    convert.COMMAND,
)

USAGE_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after ``mamp``; those of the process by default.

    Returns:
        Exit status: 0 done; 1 not done, or not wholly; 2 wrong usage; 130 interrupted; 141 nobody reads the output.
    """
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as done:
        return int(done.code or 0)
    if args.command is None:
        parser.print_help(sys.stderr)
        return USAGE_ERROR
    try:
        with _messages(args.debug):
            status: int = args.run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Nothing more can be written; give the interpreter's last flush somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        _complain(args, "interrupted")
        return INTERRUPTED
    except (MAMPError, OSError) as error:
        _complain(args, f"error: {error}")
        return 1


class _FirstOfAKind(logging.Filter):
    """Let the first message of each kind through and count the others, so that many files do not flood the screen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message is the first of its kind."""
        self.seen[str(record.msg)] += 1
        return self.seen[str(record.msg)] == 1


@contextmanager
def _messages(everything: bool) -> Iterator[None]:
    """Show what the package logs on standard error: the first warning of each kind, or everything."""
    handler, kinds = logging.StreamHandler(), _FirstOfAKind()
    handler.setFormatter(logging.Formatter("mamp: %(message)s"))
    if not everything:
        handler.addFilter(kinds)
    logger = logging.getLogger("mamp")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if everything else logging.WARNING)
    try:
        yield
    finally:
        more = kinds.seen.total() - len(kinds.seen)
        if more:
            print(f"mamp: {more} more warnings like these; --debug shows them all.", file=sys.stderr)
        logger.removeHandler(handler)
        logger.setLevel(level)


def _complain(args: argparse.Namespace, message: str) -> None:
    if args.debug:
        traceback.print_exc()
    print(f"mamp {args.command}: {message}", file=sys.stderr)
