"""The command line of pre-training."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from mamp.console import DONE, EXIT_STATUSES, INTERRUPTED, Parser, entry, exit_status, messages, say_result
from mamp.errors import ConfigError
from mamp.options import add_settings, override, refuse_unknown, settings
from mamp.train.config import TrainConfig
from mamp.train.engine import train
from mamp.train.estimate import estimate
from mamp.train.grids import GRIDS
from mamp.train.recipes import ALIASES, RECIPES, Recipe, get_recipe
from mamp.train.report import describe_run
from mamp.train.start import TOLD_BY_MAIN, check_device, check_store, for_body, interrupt_saves, silence

PROG = "python -m mamp.train"
USAGE = "%(prog)s RECIPE --data DIR --output DIR [--section.field VALUE ...]"
EPILOG = f"""\
batch and devices:
  optim.batch_size is the effective batch size over all devices and accumulation, to which optim.lr belongs. More
  devices, or a smaller optim.per_device_batch, change neither: the rest of the batch is accumulated.

examples:
  python -m mamp.train --list
  python -m mamp.train smoke --data store --output runs/smoke
  python -m mamp.train ntu60-xsub --data store --dry-run
  python -m mamp.train ntu60-xsub --data store --output runs/a --objective.mask_ratio 0.8 --augment.window 30 150
  torchrun --nproc-per-node 4 -m mamp.train ntu60-xsub --data store --output runs/b --run.precision bfloat16
  python -m mamp.train ntu60-xsub/mask-ratio-0.8 --data store --output runs/c    (an arm of a grid; --list names them)

The same command resumes a run that was stopped or killed. SIGTERM and Ctrl-C save first.
{EXIT_STATUSES}
"""


def build_parser(recipe: Recipe | None = None) -> Parser:
    """Build the parser; its help shows the defaults of a recipe."""
    parser = Parser(
        prog=PROG,
        usage=USAGE,
        description="Pre-train an encoder by masked motion prediction from a store of clips (python -m mamp.prepare).\n"
        f"In brackets: {'the defaults' if recipe is None else 'the values of recipe ' + recipe.name}.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # RECIPE is a remaining argument: a positional one could not follow options in older versions of Python.
    parser.add_argument("--data", type=Path, metavar="DIR", help="store of clips, made by python -m mamp.prepare")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the run; resumes the run in it")
    parser.add_argument("--list", action="store_true", help="list the recipes")
    parser.add_argument("--dry-run", action="store_true", help="estimate size, memory and time from a few trial steps")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    parser.add_argument("--debug", action="store_true", help="show log messages, and the traceback of an error")
    add_settings(parser, settings(TrainConfig() if recipe is None else recipe.config))
    return parser


def parse_arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, Recipe | None, TrainConfig | None]:
    """Parse options, recipe and the resulting configuration; exits with status 2 on invalid usage."""
    recipe = _recipe_for_help(argv)
    parser = build_parser(recipe)
    args, rest = parser.parse_known_args(argv)
    known = settings(TrainConfig())
    refuse_unknown(parser, rest, known, "unknown option")
    if args.list:
        return args, None, None
    try:
        if not rest:
            parser.error(f"name a recipe: {', '.join(RECIPES)}")
        recipe = get_recipe(rest[0])
        if len(rest) > 1:
            parser.error(f"one recipe at a time; found {', '.join(rest)}.")
        names = {setting.name for setting in known}
        config = override(recipe.config, {name: value for name, value in vars(args).items() if name in names})
    except ConfigError as error:
        parser.error(str(error))
    wanted = ("data",) if args.dry_run and recipe.clips is None else () if args.dry_run else ("data", "output")
    missing = [f"--{name} DIR" for name in wanted if getattr(args, name) is None]
    if missing:
        parser.error(f"{recipe.name} needs {' and '.join(missing)}.")
    return args, recipe, config


def _recipe_for_help(argv: Sequence[str]) -> Recipe | None:
    """The recipe named on a command line, if any."""
    for word in argv:
        if word.partition("/")[0] in (*RECIPES, *ALIASES):
            with suppress(ConfigError):
                return get_recipe(word)
    return None


def list_recipes() -> list[dict[str, Any]]:
    """The recipes as JSON values."""
    return [
        {
            "name": recipe.name,
            "aliases": [alias for alias, name in ALIASES.items() if name == recipe.name],
            "description": recipe.description,
            "source": recipe.source,
        }
        for recipe in RECIPES.values()
    ]


def list_grids() -> list[dict[str, Any]]:
    """The grids as JSON values."""
    return [{"name": grid.name, "description": grid.description, "arms": list(grid.values)} for grid in GRIDS.values()]


def _recipes_text() -> str:
    recipes = [f"{', '.join([row['name'], *row['aliases']])}\n    {row['description']}" for row in list_recipes()]
    arms = [f"{row['name']}: {row['description']}\n    {', '.join(row['arms'])}" for row in list_grids()]
    return "\n".join([*recipes, "", "RECIPE/ARM is a recipe with one change, an arm of a grid (mamp ablate):", *arms])


def _train(args: argparse.Namespace, recipe: Recipe, config: TrainConfig, talk: bool) -> int:
    """Train, and print the result."""
    check_device(config.run.device)
    config = for_body(config, recipe.config, args.data)
    check_store(config, args.data, recipe)
    began = time.perf_counter()
    with interrupt_saves() as interrupted:
        train(config, args.data, args.output, recipe=recipe.name)
    if talk:
        run = describe_run(args.output)
        result = {
            "recipe": recipe.name,
            "output": str(args.output),
            "finished": run["finished"],
            "steps": run["step"],
            "total_steps": run["total_steps"],
            "final_loss": run["loss"],
            "seconds": round(time.perf_counter() - began, 1),
            "encoder": str(args.output / "encoder"),
        }
        state = "finished" if run["finished"] else f"stopped (of {run['total_steps']}); the same command resumes it"
        loss = "" if run["loss"] is None else f", loss {run['loss']:.4f}"
        say_result(
            args.json,
            result,
            f"{run['step']} steps{loss}, {state}. Encoder: {result['encoder']} "
            f"(MAMPEncoder.from_pretrained({str(args.output)!r}))",
        )
    return INTERRUPTED if interrupted else DONE


def _dry_run(args: argparse.Namespace, recipe: Recipe, config: TrainConfig, talk: bool) -> int:
    """Print an estimate of the run."""
    check_device(config.run.device)
    if not talk:
        return DONE
    config = config if args.data is None else for_body(config, recipe.config, args.data)
    store = None if args.data is None else check_store(config, args.data, recipe)
    found = estimate(config, store, clips=recipe.clips, devices=int(os.environ.get("WORLD_SIZE", 1)))
    say_result(args.json, {"recipe": recipe.name, **found.to_dict()}, found.text())
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
            args, recipe, config = parse_arguments(sys.argv[1:] if argv is None else argv)
        except SystemExit as done:
            return int(done.code or 0)
        if recipe is None or config is None:
            say_result(args.json, {"recipes": list_recipes(), "grids": list_grids()}, _recipes_text())
            return DONE
    work = _dry_run if args.dry_run else _train
    chosen, settled = recipe, config
    level = logging.DEBUG if args.debug else logging.INFO if talk else logging.CRITICAL
    prog = PROG if talk else f"{PROG} (process {os.environ['RANK']})"
    with messages(prog, level):
        return exit_status(prog, lambda: work(args, chosen, settled, talk), args.debug, () if talk else TOLD_BY_MAIN)
