"""``packed``: several corpora in one store, for pre-training."""

from __future__ import annotations

import argparse
from pathlib import Path

from mamp.console import DONE, say_result
from mamp.prepare.build import check_output
from mamp.prepare.dataset import Source
from mamp.prepare.pretraining import build_pretraining_store


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.npz", help="packed corpora, each a group")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder of the store")
    parser.add_argument(
        "--max-speed", type=_speed, default=12.0, metavar="M/S|none", help="cut where a joint is faster [%(default)g]"
    )
    parser.add_argument(
        "--min-frames", type=int, default=30, metavar="N", help="leave out shorter pieces [%(default)s]"
    )
    parser.add_argument(
        "--test",
        type=_test,
        metavar="COLUMN=VALUE,VALUE",
        help="clips of the split test, as in view=3; the others are train. To evaluate, keep clips whole: "
        "--max-speed none --min-frames 1",
    )


def _speed(text: str) -> float | None:
    return None if text.lower() == "none" else float(text)


def _test(text: str) -> tuple[str, frozenset[str]]:
    column, equals, values = text.partition("=")
    if not (column and equals and values):
        raise argparse.ArgumentTypeError(f"expected COLUMN=VALUE,VALUE, found {text!r}")
    return column, frozenset(values.split(","))


def _run(args: argparse.Namespace) -> int:
    check_output(args.output, args.overwrite, *args.files)
    counts = build_pretraining_store(args.files, args.output, args.max_speed, args.min_frames, args.test)
    lines = [f"{name}: {count} clips" for name, count in counts.items()]
    say_result(args.json, {"output": str(args.output), "clips": counts}, "\n".join([*lines, f"store: {args.output}"]))
    return DONE


SOURCE = Source(
    "packed",
    "corpora of one person each, many recordings in one .npz, to train or to evaluate on",
    "python -m mamp.prepare packed cmu.npz ui-prmd.npz store",
    add_arguments=_add_arguments,
    run=_run,
)
