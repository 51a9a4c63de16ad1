"""JSON of any shape, and the numbers in it, with errors that say what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.readers.files import StrPath, decimal_comma, read_text

DEPTH = 8  # of lists in lists, more than any format has


def read_json(path: StrPath) -> Any:
    """Content of a JSON file, or the list of the contents of its lines (JSON Lines).

    Raises:
        ReadError: The file is missing, not JSON, cut, or nested too deeply.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError:
        raise ReadError(f"{path}: JSON nested too deeply to be a recording.") from None
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if "Extra data" in str(error) and len(lines) > 1:
            return [_line(line, number, path) for number, line in enumerate(lines, start=1)]
        raise ReadError(f"{path}: not JSON, or cut ({error}).{_advice(error)}") from None


def to_array(rows: Any, where: str, what: str) -> NDArray[np.float64]:
    """Nested lists of numbers, all of one length; ``null`` is NaN.

    Args:
        rows: What the file holds.
        where: File, for messages.
        what: What is expected, for messages: ``skeletons [frames][20][3]``.

    Raises:
        ReadError: It is something else.
    """
    level: list[Any] = [rows]
    shape: list[int] = []
    kinds = {type(rows)}
    while kinds == {list} and len(shape) < DEPTH:
        lengths = set(map(len, level))
        if len(lengths) > 1:
            break
        shape.append(*lengths)
        level = list(chain.from_iterable(level))
        kinds = set(map(type, level))
    if not kinds <= {int, float, type(None)}:
        raise ReadError(
            f"{where}: expected {what} numbers (lists differ in length, or hold something else than numbers)."
        )
    try:
        return np.array(level, dtype=np.float64).reshape(shape)
    except OverflowError as error:
        raise ReadError(f"{where}: expected {what} numbers ({error}).") from None


def objects_in(frame: Any, key: str, where: str, expected: str) -> list[Mapping[str, Any]]:
    """The objects in the list that a frame has under a key.

    Raises:
        ReadError: There is no such list.
    """
    found = frame.get(key) if isinstance(frame, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise ReadError(f"{where}: expected {expected}, found {describe(frame)}.")
    return found


def to_number(value: Any) -> float | None:
    """A number of the file, or ``None`` for anything else, infinity and NaN included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if np.isfinite(number) else None


def describe(content: Any) -> str:
    """What a piece of JSON is, in a few words, for messages."""
    if isinstance(content, dict):
        return f"an object with the keys {', '.join(map(str, content))}"[:120]
    if isinstance(content, list):
        return f"a list of {len(content)}" + (f", first {describe(content[0])}"[:100] if content else "")
    return f"{content!r}"[:60]


def _line(text: str, number: int, path: StrPath) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{path}, line {number}: not JSON, or cut ({error}).{_advice(error)}") from None


def _advice(error: Exception) -> str:
    """Decimal commas make a list of numbers two numbers longer each, or a colon missing."""
    doc, at = getattr(error, "doc", ""), getattr(error, "pos", 0)
    return decimal_comma(doc[max(0, at - 30) : at + 30].replace(":", " ").replace("}", " ")) if doc else ""
