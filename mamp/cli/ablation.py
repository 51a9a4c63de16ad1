"""``mamp ablate``: a grid of pre-training runs, evaluated and put into one table."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mamp.ablate.plan import Arm, Plan, make_plan
from mamp.ablate.run import Outcome, evaluate_run, fit_readout, is_finished, run_plan, tabulate
from mamp.console import (
    DONE,
    EXIT_STATUSES,
    FAILED,
    INTERRUPTED,
    Parser,
    exit_status,
    messages,
    numbers,
    say_result,
    words,
)
from mamp.errors import ConfigError, MAMPError
from mamp.evaluate.comparison import comparison_table, write_ablation
from mamp.options import add_settings, override, refuse_unknown, settings
from mamp.train.config import TrainConfig
from mamp.train.engine import train
from mamp.train.estimate import estimate, show_time
from mamp.train.grids import GRIDS
from mamp.train.readout import ReadoutSettings
from mamp.train.recipes import RECIPES
from mamp.train.report import describe_run, is_run
from mamp.train.start import check_device, check_store, silence

PROG = "mamp ablate"
USAGE = "%(prog)s RECIPE --data STORE --output DIR (--grid NAME | --vary FIELD=a,b) [--section.field VALUE ...]"
DESCRIPTION = """\
Train a recipe with every combination of the values of some fields, with several
seeds, evaluate every run, and put the results into one table with intervals.
Runs are done one at a time, in DIR/ARM/seed=N, as python -m mamp.train and
python -m mamp.evaluate do them. The same command resumes after a stop or a kill;
finished runs are not repeated. A run that fails does not stop the others."""
EXAMPLE = "mamp ablate smoke --data store --output ablation --vary objective.target=motion,joints --seeds 0,1,2"
SMALL_RUN = 600.0  # seconds
FIRST_STEPS, MORE_STEPS = 2, 14


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
  {EXAMPLE}
  mamp ablate ntu60-xsub --data store --output ablation --grid mask-ratio --dry-run
  mamp ablate ntu60-xsub --data store --output ablation --vary "augment.window=30 150,60 150" --evaluate linear

{EXIT_STATUSES}
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--data", type=Path, metavar="STORE", help="store of the clips of pre-training")
    add("--output", type=Path, metavar="DIR", help="folder of the ablation; an unfinished one in it is resumed")
    add("--grid", action="append", default=[], metavar="NAME", help="vary a field by a grid (listed below)")
    add(
        "--vary",
        action="append",
        default=[],
        metavar="FIELD=a,b",
        help="vary a field; several --vary and --grid are combined, and all arms are compared with the first values",
    )
    add("--seeds", type=numbers, default=(0,), metavar="0,1,2", help="seeds of every arm [0]")
    add(
        "--evaluate",
        type=words,
        default=("logistic", "knn"),
        metavar="NAMES",
        help="protocols of python -m mamp.evaluate, or none [logistic,knn]",
    )
    add(
        "--eval-data",
        type=Path,
        action="append",
        default=[],
        metavar="STORE",
        help="store of labelled clips; may be repeated [that of --data]",
    )
    add("--split-protocol", metavar="NAME", help="split of the labelled clips, if they have several")
    add(
        "--readout", type=int, metavar="DIM", help="fit a readout to embeddings of DIM numbers before evaluating [none]"
    )
    add("--dry-run", action="store_true", help="print the commands and how long they would take")
    add("--json", action="store_true", help="print the result as JSON on standard output")
    add("--debug", action="store_true", help="show log messages, and the traceback of an error")
    add_settings(parser, settings(TrainConfig()), note="set in all arms", default="that of the recipe")
    return parser


def parse_arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, Plan]:
    """Parse the options and make the plan; exits with status 2 if they are wrong."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    known = settings(TrainConfig())
    refuse_unknown(parser, rest, known, "unknown option")
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
    """Run, tabulate and print the table."""
    outcomes, stopped = run_plan(plan)
    found = tabulate(plan, outcomes)
    write_ablation(found, plan.output)
    table = comparison_table(found["evaluations"], len(found["seeds"]))
    say_result(args.json, found, "\n".join([*table, "", *found["notes"], str(plan.output / "ablation.md")]))
    if stopped:
        return INTERRUPTED
    return DONE if found["complete"] else FAILED


def _dry_run(args: argparse.Namespace, plan: Plan) -> int:
    """Print the commands, and about how long the unfinished runs would take."""
    check_device(plan.arms[0].config.run.device)
    left = [(arm, seed) for arm, seed in plan.runs() if not is_finished(plan.folder(arm, seed))]
    tried = {arm.name: estimate_seconds(plan, arm) for arm in {arm.name: arm for arm, _ in left}.values()}
    seconds = {name: value for name, (value, _) in tried.items()}
    total = sum(seconds[arm.name] * (1 - _progress(plan.folder(arm, seed))) for arm, seed in left)
    whole = all(known for _, known in tried.values())
    uncounted = [column.protocol for column in plan.columns if column.trains or not whole]
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


def estimate_seconds(plan: Plan, arm: Arm) -> tuple[float, bool]:
    """Estimate how long a run of an arm takes, and say whether that includes its evaluations.

    Large runs are extrapolated from a few steps. In a run of minutes, start, checkpoints, readout and evaluation are a
    large part, so the first steps and everything after the last one are really run, in a temporary folder.
    """
    assert plan.data is not None
    rough = estimate(arm.config, check_store(arm.config, plan.data)).run_seconds or 0.0
    if rough > SMALL_RUN:
        return rough, False
    with tempfile.TemporaryDirectory(prefix="mamp-dry-run-") as place, silence():
        trial = dataclasses.replace(plan, output=Path(place), arms=(arm,))
        try:
            return _try_run(trial, arm, plan.data), True
        except MAMPError:
            return rough, False  # the run itself will report what is wrong


def _try_run(plan: Plan, arm: Arm, data: Path) -> float:
    """Seconds of a run: a first part, a second one to measure a step, and everything after the last step."""
    folder, seed = plan.folder(arm, plan.seeds[0]), plan.seeds[0]
    spent = []
    for stop in FIRST_STEPS, MORE_STEPS:
        began = time.perf_counter()
        train(override(plan.config(arm, seed), {"run.stop_after": str(stop)}), data, folder, recipe=arm.recipe)
        spent.append(time.perf_counter() - began)
    run = describe_run(folder)
    steps = run["step"] - FIRST_STEPS
    step = max(spent[1] - spent[0], 0.0) / (steps - FIRST_STEPS) if steps > FIRST_STEPS else 0.0
    seconds = spent[0] + max(run["total_steps"] - FIRST_STEPS, 0) * step
    began = time.perf_counter()
    if plan.readout is not None:
        fit_readout(plan, folder)
    for column in plan.columns:
        if not column.trains:
            evaluate_run(plan, Outcome(arm, seed, folder), column, arm.name)
    return seconds + time.perf_counter() - began


def _progress(folder: Path) -> float:
    """Share of a run that is finished."""
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
