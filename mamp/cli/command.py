"""What every command is made of, and the options that several share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from mamp.encoder import MAMPEncoder
from mamp.errors import MAMPError
from mamp.readers import load
from mamp.readers.options import reading_options
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


def find_device(name: str | None) -> str:
    """The device that ``--device`` names; a GPU where there is one when it names none."""
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise MAMPError(f"--device {device}: not usable here ({reason}). Leave it out, or give cpu.") from None
    return device


def open_encoder(args: argparse.Namespace) -> MAMPEncoder:
    """Load the weights that the options of :func:`add_weights_options` name."""
    return MAMPEncoder.from_pretrained(args.weights, revision=args.revision, device=find_device(args.device))
