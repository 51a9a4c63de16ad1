"""The command line of pre-training."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mamp.console import DONE, EXIT_STATUSES, INTERRUPTED, Parser, entry, exit_status, messages, say_result
from mamp.data import ClipStore
from mamp.errors import ConfigError
from mamp.options import add_settings, refuse_unknown, settings
from mamp.train.config import TrainConfig
from mamp.train.grids import GRIDS
from mamp.train.recipes import ALIASES, RECIPES, Recipe, get_recipe
from mamp.train.report import describe_run
from mamp.train.stages import Stage, estimate_stages, plan_stages, train_stages
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


def parse_arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, list[Stage]]:
    """Parse options, recipe and the resulting stages, none to list recipes; exits with status 2 on invalid usage."""
    recipe = _recipe_for_help(argv)
    parser = build_parser(recipe)
    args, rest = parser.parse_known_args(argv)
    known = settings(TrainConfig())
    refuse_unknown(parser, rest, known, "unknown option")
    if args.list:
        return args, []
    try:
        if not rest:
            parser.error(f"name a recipe: {', '.join(RECIPES)}")
        recipe = get_recipe(rest[0])
        if len(rest) > 1:
            parser.error(f"one recipe at a time; found {', '.join(rest)}.")
        names = {setting.name for setting in known}
        stages = plan_stages(recipe, {name: value for name, value in vars(args).items() if name in names})
    except ConfigError as error:
        parser.error(str(error))
    wanted = ("data",) if args.dry_run and recipe.clips is None else () if args.dry_run else ("data", "output")
    missing = [f"--{name} DIR" for name in wanted if getattr(args, name) is None]
    if missing:
        parser.error(f"{recipe.name} needs {' and '.join(missing)}.")
    return args, stages


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


def _train(args: argparse.Namespace, stages: list[Stage], talk: bool) -> int:
    """Train, and print the result."""
    check_device(stages[-1].config.run.device)
    stages = [_for_store(stage, args.data) for stage in stages]
    began = time.perf_counter()
    with interrupt_saves() as interrupted:
        reached = train_stages(stages, args.data, args.output)
    if talk:
        folder, recipe = args.output / reached.folder, reached.recipe
        run = describe_run(folder)
        weights = folder / (recipe.result if run["finished"] else "encoder")
        result = {
            "recipe": recipe.name,
            "output": str(folder),
            "finished": run["finished"],
            "steps": run["step"],
            "total_steps": run["total_steps"],
            "final_loss": run["loss"],
            "seconds": round(time.perf_counter() - began, 1),
            "encoder": str(weights),
        }
        state = "finished" if run["finished"] else f"stopped (of {run['total_steps']}); the same command resumes it"
        loss = "" if run["loss"] is None else f", loss {run['loss']:.4f}"
        where = "" if len(stages) == 1 else f"Stage {stages.index(reached) + 1} of {len(stages)}, {recipe.name}: "
        say_result(
            args.json,
            result,
            f"{where}{run['step']} steps{loss}, {state}. Encoder: {result['encoder']} "
            f"(MAMPEncoder.from_pretrained({str(folder if weights.name == 'encoder' else weights)!r}))",
        )
    return INTERRUPTED if interrupted else DONE


def _for_store(stage: Stage, data: Path) -> Stage:
    """The stage for the body of the clips, which are checked."""
    config = for_body(stage.config, stage.recipe.config, data)
    check_store(config, data, stage.recipe)
    return replace(stage, config=config)


def _dry_run(args: argparse.Namespace, stages: list[Stage], talk: bool) -> int:
    """Print an estimate of each stage."""
    check_device(stages[-1].config.run.device)
    if not talk:
        return DONE
    if args.data is not None:
        stages = [_for_store(stage, args.data) for stage in stages]
    store, devices = None if args.data is None else ClipStore(args.data), int(os.environ.get("WORLD_SIZE", 1))
    found = estimate_stages(stages, store, devices)
    *before, last = [{"recipe": one.recipe.name, **e.to_dict()} for one, e in zip(stages, found, strict=True)]
    heads = ["" if not before else f"{one.recipe.name}\n" for one in stages]
    text = "\n\n".join(head + each.text() for head, each in zip(heads, found, strict=True))
    say_result(args.json, {**last, "stages": [*before, last]} if before else last, text)
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
            args, stages = parse_arguments(sys.argv[1:] if argv is None else argv)
        except SystemExit as done:
            return int(done.code or 0)
        if not stages:
            say_result(args.json, {"recipes": list_recipes(), "grids": list_grids()}, _recipes_text())
            return DONE
    work = _dry_run if args.dry_run else _train
    level = logging.DEBUG if args.debug else logging.INFO if talk else logging.CRITICAL
    prog = PROG if talk else f"{PROG} (process {os.environ['RANK']})"
    with messages(prog, level):
        return exit_status(prog, lambda: work(args, stages, talk), args.debug, () if talk else TOLD_BY_MAIN)
