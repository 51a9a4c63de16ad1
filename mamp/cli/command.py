"""Options that several commands share."""

from __future__ import annotations

import argparse

import torch

from mamp.encoder import MAMPEncoder
from mamp.errors import MAMPError
from mamp.readers import load
from mamp.readers.options import reading_options
from mamp.skeleton import Skeleton


def add_weights_options(parser: argparse.ArgumentParser) -> None:
    """Add options for the weights and the device."""
    parser.add_argument(
        "--weights", default="openmocap", metavar="NAME", help="name, folder or Hub repository [%(default)s]"
    )
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... [a GPU when there is one]")


def read_recording(path: str, args: argparse.Namespace) -> Skeleton:
    """Read a file with the options of :func:`add_recording_options`."""
    return load(path, **reading_options(args))


def find_device(name: str | None) -> str:
    """The device of ``--device``; by default a GPU if there is one."""
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise MAMPError(f"--device {device}: cannot be used here ({reason}). Leave it out, or use cpu.") from None
    return device


def open_encoder(args: argparse.Namespace) -> MAMPEncoder:
    """Load the weights of the options of :func:`add_weights_options`."""
    return MAMPEncoder.from_pretrained(args.weights, revision=args.revision, device=find_device(args.device))
