"""The table of writers in ``docs/formats.md``: every row names tests that read a file as that writer makes it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "formats.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.partition("## By writer")[2].partition("\n## ")[0].splitlines()
    if line.startswith("| ") and "---" not in line
][1:]


def test_there_are_rows():
    assert len(ROWS) > 30 and all(len(row) == 6 for row in ROWS)
    assert len({row[0] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_writer_is_backed_by_tests(row: list[str]):
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row[-1])
    assert named
    for file, function in named:
        assert re.search(rf"^def {function}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE), function
