"""``python -m mamp.evaluate``: a protocol with some settings changed, and its results."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mamp.config import MAMPConfig
from mamp.console import (
    DONE,
    EXIT_STATUSES,
    INTERRUPTED,
    Parser,
    complain,
    entry,
    exit_status,
    messages,
    numbers,
    say_result,
)
from mamp.errors import ConfigError
from mamp.evaluate.page import markdown_table, show_headline
from mamp.evaluate.protocol import Protocol
from mamp.evaluate.recipes import RECIPES, get_evaluation_recipe
from mamp.evaluate.registry import PROTOCOLS, get_protocol
from mamp.evaluate.runner import evaluate
from mamp.options import Setting, add_settings, override, parse, refuse_unknown, settings
from mamp.train.loop import StoppedError
from mamp.train.start import TOLD_BY_MAIN, check_device, interrupt_saves, silence

PROG = "python -m mamp.evaluate"
ENCODER = "encoder."
USAGE = "%(prog)s PROTOCOL --weights NAME --data DIR --output DIR [--field VALUE ...]"
EPILOG = f"""\
weights:
  openmocap, another name of "mamp list", a folder, a run of mamp.train, or a repository on the Hugging Face Hub
  untrained or untrained:NAME   the architecture and preprocessing of NAME [openmocap] with randomly initialised weights
  poses, poses:NAME             no encoder: normalised poses (protocols on frozen features only)

examples:
  python -m mamp.evaluate --list
  python -m mamp.evaluate knn --help
  python -m mamp.evaluate knn --weights openmocap --data store --output results/knn
  python -m mamp.evaluate linear --recipe ntu60-xsub --weights ntu60 --data ntu60 --output results/linear
  python -m mamp.evaluate fewshot --weights runs/a --data store --output results/fewshot --shots 1 --novel 50-59
  torchrun --nproc-per-node 4 -m mamp.evaluate logistic --weights runs/a --data store --output results/logistic

The same command resumes an evaluation that was stopped or killed. Features are extracted once and kept in the folder
"features" beside the output. All numbers are in per cent, except where a unit is stated.
{EXIT_STATUSES}
"""


def build_parser(protocol: Protocol | None = None, whole: bool = True) -> Parser:
    """The parser, with the fields of a protocol; ``whole`` adds the help."""
    parser = Parser(
        prog=PROG,
        usage=USAGE,
        description="Evaluate weights on a store of labelled clips (python -m mamp.prepare).\n"
        + ("protocols:\n" + _list_text("  ") if protocol is None else f"{protocol.name}: {protocol.description}"),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=whole,
    )
    add = parser.add_argument
    add("--weights", metavar="NAME", help="what to evaluate; see below")
    add("--data", type=Path, metavar="DIR", help="store of labelled clips, made by python -m mamp.prepare")
    add("--output", type=Path, metavar="DIR", help="folder of the results; an unfinished evaluation in it is resumed")
    add("--split-protocol", metavar="NAME", help="the split to use, if the set has several: xsub, xview, ...")
    add("--recipe", metavar="NAME", help=f"the published settings for a data set: {', '.join(RECIPES)}")
    add("--seeds", type=numbers, metavar="N,N", help="seeds, one trial for each [0, or those of the recipe]")
    add("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1, ... [auto]")
    add("--cache", type=Path, metavar="DIR", help="folder for features [features beside the output]")
    add("--list", action="store_true", help="list the protocols")
    add("--json", action="store_true", help="print the result as JSON on standard output")
    add("--debug", action="store_true", help="show log messages, and the traceback of an error")
    if protocol is not None:
        add_settings(parser, settings(protocol.config), f"settings of {protocol.name}")
        note = "only for randomly initialised weights: untrained, and the protocol scratch"
        add_settings(parser, encoder_settings(), note=note, default="that of the weights")
    return parser


def encoder_settings() -> list[Setting]:
    """Fields of the encoder's configuration, as options."""
    return settings(MAMPConfig(), ENCODER)


def find_protocol(argv: Sequence[str]) -> str | None:
    """The first argument that is no option and names a protocol, or the first that is no option."""
    _, rest = build_parser(whole=False).parse_known_args([word for word in argv if word not in ("-h", "--help")])
    words = [word for word in rest if not word.startswith("-")]
    return next((word for word in words if word in PROTOCOLS), words[0] if words else None)


def parse_arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, Protocol | None]:
    """Parse options and protocol; exits with status 2 if they are wrong."""
    plain = build_parser()
    name = find_protocol(argv)
    try:
        protocol = None if name is None else get_protocol(name)
    except ConfigError as error:
        plain.error(str(error))
    parser = build_parser(protocol)
    args, rest = parser.parse_known_args(argv)
    if args.list:
        return args, None
    if protocol is None:
        parser.error(f"name a protocol: {', '.join(PROTOCOLS)}")
    fields = settings(protocol.config)
    refuse_unknown(parser, rest, fields + encoder_settings(), f"{protocol.name} has no option")
    more = [word for word in rest if word != protocol.name]
    if more:
        parser.error(f"one protocol at a time; found {protocol.name}, {', '.join(more)}.")
    given = vars(args)
    args.overrides = {one.name: given[one.name] for one in fields if one.name in given}
    known = {one.name: one for one in encoder_settings() if one.name in given}
    try:
        known_recipe = {} if args.recipe is None else get_evaluation_recipe(args.recipe, protocol.name).settings
        override(protocol.config, {**known_recipe.get(protocol.name, {}), **args.overrides})
        words = {name: [given[name]] if isinstance(given[name], str) else given[name] for name in known}
        args.encoder = {name.removeprefix(ENCODER): parse(known[name], words[name]) for name in known}
    except ConfigError as error:
        parser.error(str(error))
    if protocol.fresh and args.weights is None:
        args.weights = "untrained"
    needed = {"weights": "--weights NAME", "data": "--data DIR", "output": "--output DIR"}
    if missing := [option for name, option in needed.items() if given[name] is None]:
        parser.error(f"{protocol.name} needs {' and '.join(missing)}.")
    return args, protocol


def list_protocols() -> list[dict[str, Any]]:
    """The protocols as plain values."""
    fields = ("name", "description", "source", "poses")
    return [{field: getattr(one, field) for field in fields} for one in PROTOCOLS.values()]


def _list_text(margin: str = "") -> str:
    return "\n".join(f"{margin}{row['name']}\n{margin}    {row['description']}" for row in list_protocols())


def describe_result(found: dict[str, Any], output: Path) -> str:
    """The result in a few lines."""
    head, data = found["headline"], found["data"]
    means = {name: value["mean"] for name, value in found["metrics"].items() if name != head["metric"]}
    where = data["name"] + (f" {data['protocol']}" if data.get("protocol") else "")
    lines = [f"{found['protocol']}, {found['weights']['name']} on {where}: {head['metric']} {show_headline(head)}"]
    lines += [", ".join(f"{name} {mean:.1f}" for name, mean in means.items())] if means else []
    if found.get("best"):
        lines.append(f"{found['best']['chosen']}: {found['best']['metric']} {found['best']['mean']:.1f}")
    for title, rows in found.get("tables", {}).items():
        lines += ["", title, *markdown_table(rows[0], rows[1:]), ""]
    return "\n".join([*lines, f"results: {output}"])


def _evaluate(args: argparse.Namespace, protocol: Protocol, talk: bool) -> int:
    """Evaluate, and print the result."""
    check_device(args.device, "--device")
    with interrupt_saves() as interrupted:
        try:
            found = evaluate(
                protocol.name,
                args.weights,
                args.data,
                args.output,
                args.seeds,
                recipe=args.recipe,
                split_protocol=args.split_protocol,
                overrides=args.overrides,
                encoder_overrides=args.encoder,
                device=args.device,
                cache=args.cache,
                progress=talk,
            )
        except StoppedError as stopped:
            if talk:
                complain(PROG, str(stopped))
            return INTERRUPTED if interrupted else DONE
    if talk:
        say_result(args.json, found, describe_result(found, args.output))
    return DONE


@entry
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        Exit status: 0 done, or saved on SIGTERM; 1 could not; 2 wrong usage; 130 interrupted.
    """
    talk = int(os.environ.get("RANK", 0)) == 0
    with nullcontext() if talk else silence():
        try:
            args, protocol = parse_arguments(sys.argv[1:] if argv is None else argv)
        except SystemExit as done:
            return int(done.code or 0)
        if protocol is None:
            say_result(args.json, {"protocols": list_protocols()}, _list_text())
            return DONE
    chosen = protocol
    level = logging.DEBUG if args.debug else logging.WARNING if talk else logging.CRITICAL
    prog = PROG if talk else f"{PROG} (process {os.environ['RANK']})"
    with messages(prog, level, once=("mamp.preprocessing",)):
        return exit_status(prog, lambda: _evaluate(args, chosen, talk), args.debug, () if talk else TOLD_BY_MAIN)
