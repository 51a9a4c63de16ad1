"""``mamp ablate``: a grid of pre-training runs, evaluated and put into one table."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mamp.ablate import Plan, estimate_seconds, is_finished, make_plan, run_plan, tabulate, write_tables
from mamp.console import DONE, EXIT_STATUSES, FAILED, INTERRUPTED, Parser, exit_status, messages, say_result
from mamp.errors import ConfigError
from mamp.evaluate.comparison import comparison_table
from mamp.evaluate.registry import get_protocol
from mamp.options import add_setting, nearest, settings
from mamp.train.config import TrainConfig
from mamp.train.estimate import show_time
from mamp.train.grids import GRIDS
from mamp.train.readout import ReadoutSettings
from mamp.train.recipes import RECIPES
from mamp.train.report import describe_run, is_run
from mamp.train.start import check_device

PROG = "mamp ablate"
USAGE = "%(prog)s RECIPE --data STORE --output DIR (--grid NAME | --vary FIELD=a,b) [--section.field VALUE ...]"
DESCRIPTION = """\
Train a recipe with every combination of the values of some fields, with several
seeds, evaluate every run, and put the results into one table with intervals.
Runs are done one at a time, in DIR/ARM/seed=N, as python -m mamp.train and
python -m mamp.evaluate do them. The same command goes on after a stop or a
kill; what is there is not done again. A run that fails does not stop the others."""


def build_parser() -> Parser:
    """The parser; every field of a run is an option, set in all arms."""
    grids = "\n".join(
        f"  {grid.name:<14} {grid.description} ({', '.join(grid.values.values())})" for grid in GRIDS.values()
    )
    parser = Parser(
        prog=PROG,
        usage=USAGE,
        description=DESCRIPTION,
        epilog=f"""\
grids:
{grids}

examples:
  mamp ablate smoke --data store --output ablation --vary objective.target=motion,joints --seeds 0,1,2
  mamp ablate ntu60-xsub --data store --output ablation --grid mask-ratio --dry-run
  mamp ablate ntu60-xsub --data store --output ablation --vary "augment.window=30 150,60 150" --evaluate linear

{EXIT_STATUSES}
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data", type=Path, metavar="STORE", help="store of the clips of pre-training")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the ablation, or of one to go on with")
    parser.add_argument("--grid", action="append", default=[], metavar="NAME", help="vary a field as a grid below does")
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="FIELD=a,b",
        help="vary a field; several --vary and --grid are combined, and the first values are what the others are "
        "compared with",
    )
    parser.add_argument("--seeds", type=_numbers, default=(0,), metavar="0,1,2", help="seeds of every arm [0]")
    parser.add_argument(
        "--evaluate",
        type=_names,
        default=("logistic", "knn"),
        metavar="NAMES",
        help="protocols of python -m mamp.evaluate, or none [logistic,knn]",
    )
    parser.add_argument(
        "--eval-data",
        type=Path,
        action="append",
        default=[],
        metavar="STORE",
        help="store of labelled clips, several times for several [that of --data]",
    )
    parser.add_argument("--split-protocol", metavar="NAME", help="split of the labelled clips where they have several")
    parser.add_argument(
        "--readout", type=int, metavar="DIM", help="fit a readout to embeddings of DIM numbers before evaluating [none]"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands and about how long they would take")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    parser.add_argument("--debug", action="store_true", help="show log messages, and the traceback of an error")
    groups: dict[str, Any] = {}
    for setting in settings(TrainConfig()):
        if setting.group not in groups:
            groups[setting.group] = parser.add_argument_group(setting.group, "set in all arms")
        add_setting(groups[setting.group], setting, "that of the recipe")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    """Argument type: whole numbers, separated by commas."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = (-1,)
    if min(numbers) < 0:
        raise argparse.ArgumentTypeError(f"expected whole numbers separated by commas, found {text!r}")
    return numbers


def _names(text: str) -> tuple[str, ...]:
    """Argument type: names, separated by commas, or none."""
    return () if text == "none" else tuple(part.strip() for part in text.split(","))


def parse_arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, Plan]:
    """Options, and the plan that they make; leaves with status 2 at what cannot be."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    known = settings(TrainConfig())
    for word in rest:
        if word.startswith("-"):
            name = word.lstrip("-").partition("=")[0]
            parser.error(f"unknown option --{name}.{nearest(name, known)}")
    if len(rest) != 1:
        parser.error(f"name one recipe: {', '.join(RECIPES)}; found {', '.join(rest) or 'none'}.")
    missing = [f"--{name}" for name in ("data", "output") if getattr(args, name) is None]
    if missing:
        parser.error(f"needs {' and '.join(missing)}.")
    names = {setting.name for setting in known}
    try:
        plan = make_plan(
            rest[0],
            args.data,
            args.output,
            grids=args.grid,
            vary=args.vary,
            seeds=args.seeds,
            protocols=args.evaluate,
            eval_data=args.eval_data,
            changes={name: value for name, value in vars(args).items() if name in names},
            split_protocol=args.split_protocol,
            readout=None if args.readout is None else ReadoutSettings(args.readout),
        )
    except ConfigError as error:
        parser.error(str(error))
    return args, plan


def _run(args: argparse.Namespace, plan: Plan) -> int:
    """Run, tabulate, and say what came of it."""
    outcomes, stopped = run_plan(plan)
    found = tabulate(plan, outcomes)
    write_tables(plan, found)
    text = [
        *comparison_table(found["evaluations"], len(found["seeds"])),
        "",
        *found["notes"],
        f"{plan.output / 'ablation.md'}",
    ]
    say_result(args.json, found, "\n".join(text))
    if stopped:
        return INTERRUPTED
    return DONE if found["complete"] else FAILED


def _dry_run(args: argparse.Namespace, plan: Plan) -> int:
    """Print the commands of what is not done, and about how long it would take."""
    check_device(plan.arms[0].config.run.device)
    left = [(arm, seed) for arm, seed in plan.runs() if not is_finished(plan.folder(arm, seed))]
    tried = {arm.name: estimate_seconds(plan, arm) for arm in {arm.name: arm for arm, _ in left}.values()}
    seconds = {name: value for name, (value, _) in tried.items()}
    total = sum(seconds[arm.name] * (1 - _progress(plan.folder(arm, seed))) for arm, seed in left)
    training = [column.protocol for column in plan.columns if hasattr(get_protocol(column.protocol).config, "epochs")]
    whole = all(known for _, known in tried.values())
    uncounted = training if whole else [column.protocol for column in plan.columns]
    commands = [line for arm, seed in plan.runs() for line in plan.commands(arm, seed)]
    found = {
        "runs": len(plan.runs()),
        "finished": len(plan.runs()) - len(left),
        "seconds_of_a_run": seconds,
        "seconds": total,
        "not_counted": uncounted,
        "commands": commands,
    }
    lines = [*commands, ""]
    lines += [f"{name}: about {show_time(value)} a run" for name, value in seconds.items()]
    without = f", without {', '.join(dict.fromkeys(uncounted))}" if uncounted else ", evaluation included"
    lines.append(
        f"{found['runs']} runs, {found['finished']} of them trained already; the others: about {show_time(total)} on "
        f"this device{without}."
    )
    say_result(args.json, found, "\n".join(lines))
    return DONE


def _progress(folder: Path) -> float:
    """Share of a run that is done."""
    return float(describe_run(folder)["progress"] or 0.0) if is_run(folder) else 0.0


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: Arguments after ``mamp ablate``.

    Returns:
        Exit status: 0 done; 1 not done, or not wholly; 2 wrong usage; 130 stopped.
    """
    try:
        args, plan = parse_arguments(argv)
    except SystemExit as done:
        return int(done.code or 0)
    work = _dry_run if args.dry_run else _run
    with messages(PROG, logging.DEBUG if args.debug else logging.INFO):
        return exit_status(PROG, lambda: work(args, plan), args.debug)
