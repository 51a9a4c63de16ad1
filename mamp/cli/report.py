"""``mamp report``: the results of many evaluations in one table."""

from __future__ import annotations

import argparse
from pathlib import Path

from mamp.cli.command import Command
from mamp.console import say
from mamp.errors import MAMPError
from mamp.outputs import dump_json, write_whole

DESCRIPTION = """\
Find the results of python -m mamp.evaluate and mamp ablate below some folders,
and put them into one table: rows are weights and protocols, columns are data
sets. What is not of the same test clips is said not to be comparable. With
--against the differences to other weights follow, with intervals, paired by
test clip."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="+", metavar="DIR", help="folders with results, at any depth")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there, and not to standard output")
    parser.add_argument(
        "--against", metavar="NAME", help="show differences to these weights, or to the row WEIGHTS/PROTOCOL"
    )
    parser.add_argument(
        "--metrics", default="", metavar="NAMES", help="show these too where a protocol has them, or all"
    )
    parser.add_argument("--csv", action="store_true", help="a line for each number, as CSV")


def _run(args: argparse.Namespace) -> int:
    from mamp.evaluate.results_table import differences, make_report, report_csv, report_page

    if args.csv and (args.json or args.against):
        raise MAMPError("--csv: expected it alone; --json has the differences too.")
    report = make_report(map(Path, args.folders), [name for name in args.metrics.split(",") if name])
    lines, notes = differences(report, args.against) if args.against else (None, [])
    report.notes += notes
    if args.json:
        found = report.to_dict()
        if lines is not None:
            found["differences"] = [
                {"weights": row.weights, "protocol": row.protocol, "metric": row.metric, "cells": cells}
                for row, cells in lines
            ]
        text = dump_json(found)
    else:
        text = report_csv(report) if args.csv else report_page(report, lines, args.against or "")
    if args.output is None:
        say(text.rstrip("\n"))
        return 0
    write_whole(Path(args.output), text.rstrip("\n") + "\n")
    say(f"{args.output}: {len(report.rows)} rows, {len(report.columns)} data sets")
    return 0


COMMAND = Command(
    name="report",
    help="put the results of many evaluations into one table",
    description=DESCRIPTION,
    example="mamp report results ablation -o table.md --against untrained",
    add_arguments=_add_arguments,
    run=_run,
)
