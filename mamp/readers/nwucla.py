"""Northwestern-UCLA style JSON: ``{"file_name": ..., "skeletons": [frames][20][3]}`` (Kinect v1)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.readers.assemble import Options, assemble
from mamp.readers.files import StrPath, read_text
from mamp.skeleton import Skeleton

FPS = 30.0
JOINTS = 20
NAME = re.compile(r"a(\d+)_s(\d+)_e(\d+)_v(\d+)")
ACTIONS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)  # the numbers in file names; a label is a place in this list


def read(path: StrPath, options: Options | None = None) -> Skeleton:
    """Read a file; joints at exactly zero were not tracked.

    Raises:
        ReadError: The file is missing, not JSON, or its ``skeletons`` are not [frames][20][3] numbers.
    """
    try:
        content = json.loads(read_text(path))
    except RecursionError:
        raise ReadError(f"{path}: JSON nested too deeply to be a recording.") from None
    except ValueError as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{path}: not JSON, or cut ({error}).") from None
    if not isinstance(content, dict) or "skeletons" not in content:
        found = f"the keys {', '.join(map(str, content))}"[:120] if isinstance(content, dict) else "no object"
        raise ReadError(f'{path}: expected {{"file_name": ..., "skeletons": [frames][20][3]}}, found {found}.')
    positions = _array(content["skeletons"], path)
    if positions.ndim != 3 or positions.shape[1:] != (JOINTS, 3):
        raise ReadError(f"{path}: expected skeletons [frames][{JOINTS}][3], found {list(positions.shape)}.")
    name = str(content.get("file_name") or Path(path).name)
    return assemble(
        positions[None], path, "nwucla", options or Options(), layout="kinect20", fps=FPS, unit="m", up="y",
        zeros="joint", info=_parse_name(name),
    )  # fmt: skip


def _array(rows: Any, path: StrPath) -> NDArray[np.float64]:
    """Nested lists of numbers; ``null`` is NaN."""
    try:
        array = np.array(rows, dtype=object)
        if array.dtype == object and any(isinstance(value, list | dict | str | bool) for value in array.flat):
            raise TypeError("frames or joints differ in length, or are not numbers")
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ReadError(f"{path}: skeletons are not [frames][{JOINTS}][3] numbers ({error}).") from None


def _parse_name(name: str) -> dict[str, int]:
    match = NAME.search(name)
    if match is None:
        return {}
    action, subject, environment, view = map(int, match.groups())
    info = {"action": action, "subject": subject, "environment": environment, "view": view}
    return info | ({"label": ACTIONS.index(action)} if action in ACTIONS else {})
