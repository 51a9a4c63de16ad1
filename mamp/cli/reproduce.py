"""``mamp reproduce``: the numbers of the paper, from raw files to a table."""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from pathlib import Path

from mamp.cli.command import Command
from mamp.console import DONE, INTERRUPTED, complain, positive, say_result

DESCRIPTION = """\
Run every stage behind the numbers of the paper on a data set, in order: prepare
the raw files, pre-train, and evaluate (linear, fine-tuned, semi-supervised,
1-NN), on each split. Ends in a page with the paper's column beside that of this
run. The same command resumes where it was stopped or killed."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("benchmark", help="ntu60, ntu120, pku1 or pku2")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--raw", type=Path, metavar="DIR", help="raw files, as for python -m mamp.prepare")
    source.add_argument("--store", type=Path, metavar="DIR", help="a store of them that is prepared already")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of everything that is made")
    parser.add_argument("--splits", type=_words, default=(), metavar="A,B", help="splits, such as xsub [all]")
    parser.add_argument(
        "--budget",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="share of the published schedules; below 0.1 with a small encoder, to see that everything runs [1]",
    )
    parser.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda ... [auto]")
    parser.add_argument("--workers", type=positive, metavar="N", help="processes that read raw files [all cores]")
    parser.add_argument("--dry-run", action="store_true", help="print the stages and what they would take")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _run(args: argparse.Namespace) -> int:
    # Needs all of training and evaluation, so imported when used.
    from mamp.reproduce.cost import costs, costs_text, to_dict
    from mamp.reproduce.plan import Plan
    from mamp.reproduce.run import reproduce
    from mamp.train.loop import StoppedError
    from mamp.train.start import check_device, interrupt_saves, silence

    check_device(args.device, "--device")
    processes = int(os.environ.get("WORLD_SIZE", 1))
    plan = Plan(
        args.benchmark,
        args.raw,
        args.output,
        args.splits,
        args.budget,
        args.device,
        args.workers,
        args.store,
        processes,
    )
    is_main = int(os.environ.get("RANK", 0)) == 0
    if args.dry_run and not is_main:
        return DONE
    if args.dry_run:
        found = costs(plan)
        say_result(args.json, {"benchmark": plan.name, "stages": to_dict(found)}, costs_text(plan, found))
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


COMMAND = Command(
    name="reproduce",
    help="run all stages behind the numbers of the paper on a data set",
    description=DESCRIPTION,
    example="mamp reproduce ntu60 --raw nturgbd_skeletons --output reproduction --dry-run",
    add_arguments=_add_arguments,
    run=_run,
)
