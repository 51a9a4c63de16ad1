"""Options of command lines that read recordings: what a file does not say itself."""

from __future__ import annotations

import argparse
from typing import Any

# Options of mamp.load that commands take.
READING = ("format", "layout", "fps", "unit", "up", "handedness", "joints", "markers", "min_confidence", "allow_2d")


def add_recording_options(parser: argparse.ArgumentParser) -> None:
    """Options that say what a file does not: its format, layout, rate, unit and axes."""
    group = parser.add_argument_group("reading", "what the files do not say themselves")
    group.add_argument("--format", help="read as this format, whatever the file name ends in")
    group.add_argument("--layout", help="joint layout, for example ntu25 or kinect20, or a JSON file of your own")
    group.add_argument("--fps", type=float, help="frames per second")
    group.add_argument("--unit", type=_unit, help="unit of the positions: m, cm, mm, in, ..., or its length in metres")
    group.add_argument("--up", help="axis that points up, for example y or z")
    group.add_argument("--handedness", help="of the axes of the file: right or left")
    group.add_argument("--joints", metavar="FILE", help="rest joints of the body model, for SMPL and AMASS")
    group.add_argument("--markers", metavar="FILE", help="JSON: the markers around each joint, for C3D and TRC")
    group.add_argument("--min-confidence", type=float, metavar="C", help="joints of less confidence were not tracked")
    group.add_argument("--allow-2d", action="store_true", help="take 2D keypoints, which the weights have never seen")


def reading_options(args: argparse.Namespace) -> dict[str, Any]:
    """What the options of :func:`add_recording_options` say, for :func:`mamp.load`."""
    return {name: getattr(args, name) for name in READING}


def _unit(text: str) -> str | float:
    """Argument type: the name of a unit, or a number."""
    try:
        return float(text)
    except ValueError:
        return text
