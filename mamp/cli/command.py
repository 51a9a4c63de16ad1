"""What every command is made of, and the options that several share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from mamp.encoder import MAMPEncoder
from mamp.errors import MAMPError
from mamp.readers import load
from mamp.skeleton import Skeleton


@dataclass(frozen=True)
class Command:
    """One command of the command line.

    Attributes:
        name: What the user types.
        help: One line for the list of commands.
        example: A command line that works.
        run: Does it; returns the exit status.
        add_arguments: Adds the command's arguments to its parser, if it has any.
        description: What ``--help`` says first, if more than ``help``.
        main: Takes the arguments after the command's name in place of all that, if the command has its own parser.
    """

    name: str
    help: str
    example: str
    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    description: str = ""
    main: Callable[[Sequence[str]], int] | None = None


# Options of mamp.load that commands take.
READING = ("format", "layout", "fps", "unit", "up", "handedness", "joints", "markers", "min_confidence", "allow_2d")


def add_recording_options(parser: argparse.ArgumentParser) -> None:
    """Options that say what a file does not: its format, layout, rate, unit and axes."""
    group = parser.add_argument_group("reading", "what the files do not say themselves")
    group.add_argument("--format", help="read as this format, whatever the file name ends in")
    group.add_argument("--layout", help="joint layout, for example ntu25 or kinect20")
    group.add_argument("--fps", type=float, help="frames per second")
    group.add_argument("--unit", type=_unit, help="unit of the positions: m, cm, mm, in, ..., or its length in metres")
    group.add_argument("--up", help="axis that points up, for example y or z")
    group.add_argument("--handedness", help="of the axes of the file: right or left")
    group.add_argument("--joints", metavar="FILE", help="rest joints of the body model, for SMPL and AMASS")
    group.add_argument("--markers", metavar="FILE", help="JSON: the markers around each joint, for C3D and TRC")
    group.add_argument("--min-confidence", type=float, metavar="C", help="joints of less confidence were not tracked")
    group.add_argument("--allow-2d", action="store_true", help="take 2D keypoints, which the weights have never seen")


def add_weights_options(parser: argparse.ArgumentParser) -> None:
    """Options that choose the weights and where they run."""
    parser.add_argument(
        "--weights", default="openmocap", metavar="NAME", help="name, folder or Hub repository [%(default)s]"
    )
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... [a GPU when there is one]")


def read_recording(path: str, args: argparse.Namespace) -> Skeleton:
    """Read a file as the options of :func:`add_recording_options` say."""
    return load(path, **reading_options(args))


def reading_options(args: argparse.Namespace) -> dict[str, Any]:
    """What the options of :func:`add_recording_options` say, for :func:`mamp.load`."""
    return {name: getattr(args, name) for name in READING}


def open_encoder(args: argparse.Namespace) -> MAMPEncoder:
    """Load the weights that the options of :func:`add_weights_options` name."""
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise MAMPError(f"--device {device}: not usable here ({reason}). Leave it out, or give cpu.") from None
    return MAMPEncoder.from_pretrained(args.weights, revision=args.revision, device=device)


def _unit(text: str) -> str | float:
    """Argument type: the name of a unit, or a number."""
    try:
        return float(text)
    except ValueError:
        return text


def positive(text: str) -> int:
    """Argument type: a whole number above zero."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above zero, found {text}")
    return number


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name only when it was written to the end."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
