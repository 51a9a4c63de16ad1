"""``main``: arguments to a command, and mistakes to one clear line and an exit status."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import mamp
from mamp.console import USAGE_ERROR, entry, exit_status, messages

# Module and help of each command. A module has DESCRIPTION, EXAMPLE, add_arguments and run, or a main of its own, and
# is imported when its command is used: some need all of training.
COMMANDS = {
    "embed": ("embed", "embed recordings, and write the embeddings to one .npz file"),
    "index": ("index", "index recordings, to search in them"),
    "search": ("search", "find what in an index is most like a recording"),
    "view": ("view", "show recordings in a browser, in 3D"),
    "demo": ("demo", "make recordings, embed them, and show which are nearest to which"),
    "plot": ("plot", "draw recordings as a picture or a film"),
    "map": ("map", "draw embeddings in two dimensions"),
    "info": ("info", "describe a recording, weights, a run or a store of clips"),
    "list": ("list_weights", "list the names of pretrained weights"),
    "convert": ("convert", "convert a checkpoint of the published code"),
    "export": ("export", "write an encoder as ONNX, OpenVINO or a torch program"),
    "predict": ("predict", "name the actions in recordings with a classifier"),
    "label": ("label", "name what recordings show, by a few examples of each class"),
    "adapt": ("adapt", "make embeddings tell apart what labelled examples do"),
    "segment": ("segment", "say what untrimmed recordings show, and when"),
    "readout": ("readout", "fit the map from tokens to embeddings to unlabelled clips"),
    "report": ("report", "put the results of many evaluations into one table"),
    "ablate": ("ablation", "train and evaluate a grid of runs, and tabulate them"),
    "reproduce": ("reproduce", "run all stages behind the numbers of the paper on a data set"),
}


def load_command(name: str) -> Any:
    """The module of a command."""
    return import_module(f"mamp.cli.{COMMANDS[name][0]}")


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``mamp``, with the arguments of one command."""
    parser = argparse.ArgumentParser(
        prog="mamp",
        description="Action embeddings from 3D skeleton recordings.",
        epilog="'mamp COMMAND --help' explains a command and shows an example.",
    )
    parser.add_argument("--version", action="version", version=f"mamp {mamp.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, (_, text) in COMMANDS.items():
        sub = commands.add_parser(name, help=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == chosen:
            command = load_command(name)
            sub.description, sub.epilog = command.DESCRIPTION, f"example:\n  {command.EXAMPLE}"
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
    chosen = words[0] if words and words[0] in COMMANDS else None
    if chosen is not None and hasattr(load_command(chosen), "main"):
        status: int = load_command(chosen).main(words[1:])
        return status
    parser = build_parser(chosen)
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
            return int(args.run(args))

    return exit_status(f"mamp {args.command}", work, args.debug)
