"""The table of many results as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from mamp.evaluate.page import markdown_table, show
from mamp.evaluate.report import Report, Row
from mamp.evaluate.result import LEVEL

Differences = list[tuple[Row, dict[str, dict[str, Any]]]]
FIELDS = (
    "weights", "kind", "protocol", "metric", "data", "mean", "std", "trials", "low", "high", "test_clips", "folders"
)  # fmt: skip


def report_page(report: Report, lines: Differences | None = None, against: str = "") -> str:
    """The table, what its numbers are, the differences if there are any, and the notes."""
    header = ["weights", "protocol", "metric", *report.columns]
    rows = []
    for row in report.rows:
        cells = [_cell(row.cells[name].to_dict()) if name in row.cells else "" for name in report.columns]
        rows.append([row.weights, row.protocol, row.metric, *cells])
    page = [*markdown_table(header, rows, text=3), ""]
    page.append(
        f"Per cent. In brackets: {LEVEL:.0%} interval over test clips (few-shot: episodes), and over seeds where each "
        "seed has a result of its own. ±: standard deviation over seeds. Final epoch throughout."
    )
    if lines is not None:
        rows = []
        for row, found in lines:
            cells = [_difference(found[name]) if name in found else "" for name in report.columns]
            rows.append([row.weights, row.protocol, row.metric, *cells])
        page += ["", f"Difference to {against}, in percentage points, paired by test clip:", ""]
        page += markdown_table(header, rows, text=3)
    page += ["", *(f"- {note}" for note in report.notes)] if report.notes else []
    return "\n".join(page) + "\n"


def _cell(cell: dict[str, Any]) -> str:
    text = show(cell["mean"])
    text += "" if cell["std"] is None else f" ± {show(cell['std'])} ({cell['trials']} seeds)"
    interval = cell["interval"]
    return text if interval is None else f"{text} [{show(interval[0])}, {show(interval[1])}]"


def _difference(cell: dict[str, Any]) -> str:
    low, high = cell["interval"]
    return f"{cell['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"


def report_csv(report: Report) -> str:
    """A line for each number of the table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for row in report.rows:
        for column, cell in row.cells.items():
            values = cell.to_dict()
            low, high = values["interval"] or (None, None)
            numbers = [values["mean"], values["std"], values["trials"], low, high, values["test_clips"]]
            names = [row.weights, row.kind, row.protocol, row.metric, column]
            writer.writerow([*names, *numbers, " ".join(values["folders"])])
    return text.getvalue()
