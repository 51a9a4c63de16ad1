"""Shared by the sources that convert a prepared file: the store, and the sub-command."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mamp.console import DONE, say_result
from mamp.data import StoreWriter
from mamp.layouts import MODEL_LAYOUT
from mamp.prepare.build import check_output
from mamp.prepare.dataset import Clip


@dataclass(frozen=True)
class Converted:
    """Clips of a prepared file, at most ``total``, and the content of ``meta.json``."""

    clips: Iterator[Clip]
    total: int
    info: Mapping[str, Any]


def write_store(converted: Converted, output: Path) -> int:
    """Write the clips into a store, and return their number."""
    count = 0
    with StoreWriter(output, MODEL_LAYOUT, converted.info) as writer:
        for clip in tqdm(converted.clips, total=converted.total, unit="clip", delay=2, disable=None):
            writer.add(clip.name, clip.positions, clip.fps, **clip.columns)
            count += 1
    return count


def add_file_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the positional arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the prepared file")
    parser.add_argument("output", type=Path, metavar="STORE", help="folder of the store")


def run(args: argparse.Namespace, convert: Callable[[Path], Converted]) -> int:
    """Convert ``args.file`` to ``args.output``; returns the exit status."""
    check_output(args.output, args.overwrite, args.file)
    count = write_store(convert(args.file), args.output)
    say_result(args.json, {"output": str(args.output), "clips": count}, f"{args.output}: {count} clips")
    return DONE
