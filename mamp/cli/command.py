"""Options that several commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from mamp.encoder import MAMPEncoder
from mamp.errors import MAMPError
from mamp.hub.heads import HEAD_NAME
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


def check_folder(folder: Path, weights: str) -> None:
    """Raise :class:`MAMPError` for a folder that weights cannot be written to, or that something would be lost in."""
    if folder.is_file():
        raise MAMPError(f"{folder}: expected a folder to write, found a file.")
    if (folder / "run.json").exists() or (folder / "checkpoints").exists():
        raise MAMPError(
            f"{folder}: holds a training run, whose encoder weights in this folder would hide. Write them to "
            f"{folder / 'readout'}, say."
        )
    if (folder / HEAD_NAME).exists():
        raise MAMPError(f"{folder}: holds a classifier, whose encoder would be replaced. Choose another folder.")
    if folder.is_dir() and Path(weights).is_dir() and folder.samefile(weights):
        raise MAMPError(f"{folder}: holds the weights to start from, which would be replaced. Choose another folder.")
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise MAMPError(f"{folder}: cannot write here. Choose another folder.")
