"""``mamp report``: many evaluations in one table."""

from __future__ import annotations

import argparse
from pathlib import Path

from mamp.console import say
from mamp.errors import MAMPError
from mamp.evaluate.results_table import differences, make_report, report_csv, report_page
from mamp.outputs import dump_json, write_whole

DESCRIPTION = """\
Find the results of python -m mamp.evaluate and mamp ablate below some folders,
and put them into one table: rows are weights and protocols, columns are data
sets. Results on different test clips are marked as not comparable. --against
adds the differences to other weights, with intervals, paired by test clip."""
EXAMPLE = "mamp report results ablation -o table.md --against untrained"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("folders", nargs="+", metavar="DIR", help="folders with results, at any depth")
    add("-o", "--output", metavar="FILE", help="write to a file instead of standard output")
    add("--against", metavar="NAME", help="show differences to these weights, or to the row WEIGHTS/PROTOCOL")
    add("--metrics", default="", metavar="NAMES", help="show these metrics too, or all")
    add("--csv", action="store_true", help="write CSV, a line for each number")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.csv and (args.json or args.against):
        raise MAMPError("--csv: cannot be combined with --json or --against; --json includes the differences.")
    report = make_report(map(Path, args.folders), [name for name in args.metrics.split(",") if name])
    lines, notes = differences(report, args.against) if args.against else (None, [])
    report.notes += notes
    if args.json:
        found = report.to_dict()
        if lines is not None:
            found["differences"] = [{**row.names, "cells": cells} for row, cells in lines]
        text = dump_json(found)
    else:
        text = report_csv(report) if args.csv else report_page(report, lines, args.against or "")
    if args.output is None:
        say(text.rstrip("\n"))
        return 0
    write_whole(Path(args.output), text.rstrip("\n") + "\n")
    say(f"{args.output}: {len(report.rows)} rows, {len(report.columns)} data sets")
    return 0
