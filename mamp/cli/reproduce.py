"""``mamp reproduce``: the numbers of the paper, from raw files to a table."""

from __future__ import annotations

import argparse
import dataclasses
import os
from contextlib import nullcontext
from pathlib import Path

from mamp.console import DONE, INTERRUPTED, complain, positive, say_result, words
from mamp.reproduce.cost import costs, costs_text
from mamp.reproduce.plan import Plan
from mamp.reproduce.run import reproduce
from mamp.train.loop import StoppedError
from mamp.train.start import check_device, interrupt_saves, silence

DESCRIPTION = """\
Run every stage behind the numbers of the paper on a data set, in order: prepare
the raw files, pre-train, and evaluate (linear, fine-tuned, semi-supervised,
1-NN), on each split. The result is a page with the paper's numbers beside those of
this run. The same command resumes after a stop or a kill."""
EXAMPLE = "mamp reproduce ntu60 --raw nturgbd_skeletons --output reproduction --dry-run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("benchmark", help="ntu60, ntu120, pku1 or pku2")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--raw", type=Path, metavar="DIR", help="raw files, as for python -m mamp.prepare")
    source.add_argument("--store", type=Path, metavar="DIR", help="a prepared store of them")
    add("--output", type=Path, required=True, metavar="DIR", help="folder for all results")
    add("--splits", type=words, default=(), metavar="A,B", help="splits, such as xsub [all]")
    add(
        "--budget",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="share of the published schedules; below 0.1 with a small encoder, to check that everything runs [1]",
    )
    add("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda ... [auto]")
    add("--workers", type=positive, metavar="N", help="processes that read raw files [all cores]")
    add("--dry-run", action="store_true", help="print the stages and what they would cost")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    check_device(args.device, "--device")
    where = (args.benchmark, args.raw, args.output, args.splits, args.budget, args.device, args.workers, args.store)
    plan = Plan(*where, processes=int(os.environ.get("WORLD_SIZE", 1)))
    is_main = int(os.environ.get("RANK", 0)) == 0
    if args.dry_run and not is_main:
        return DONE
    if args.dry_run:
        found = costs(plan)
        say_result(
            args.json,
            {"benchmark": plan.name, "stages": [dataclasses.asdict(one) for one in found]},
            costs_text(plan, found),
        )
        return DONE
    with nullcontext() if is_main else silence(), interrupt_saves() as interrupted:
        try:
            done = reproduce(plan, lambda line: complain("mamp reproduce", line))
        except StoppedError as stopped:
            complain("mamp reproduce", str(stopped))
            return INTERRUPTED if interrupted else DONE
    if is_main:
        say_result(args.json, done, Path(done["page"]).read_text(encoding="utf-8") + f"\n{done['page']}")
    return DONE
