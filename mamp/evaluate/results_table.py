"""Many results in one table: what is comparable beside one another, and what is not said so.

A row is weights, protocol and metric; a column is a set of test clips: a data set (by the checksum of its clips) and
its split. Results of the seeds of an ablation, ``ARM/seed=N/evaluate/PROTOCOL``, are one row.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mamp.errors import DataError
from mamp.evaluate.page import markdown_table, show_headline
from mamp.evaluate.predictions import Predictions
from mamp.evaluate.result import LEVEL, read_results
from mamp.evaluate.scores import bootstrap_difference, bootstrap_interval, mean_and_deviation
from mamp.evaluate.settings import SPREAD
from mamp.outputs import flatten

KINDS = ("poses", "untrained", "scratch", "pretrained")
PROTOCOLS = ("knn", "fewshot", "cluster", "logistic", "linear", "semi", "finetune", "scratch", "transfer")
SEED_FOLDER = re.compile(r"seed=\d+")
SHOTS = re.compile(r"\d+-shot")


@dataclass
class Cell:
    """Results that are one number of the table.

    Attributes:
        paths: Their folders; several when each seed has one.
        found: What ``results.json`` of each says.
        metric: Which of their metrics.
    """

    paths: list[Path]
    found: list[dict[str, Any]]
    metric: str

    @property
    def is_headline(self) -> bool:
        """Whether the metric is the headline, of which predictions and intervals are known."""
        return all(one["headline"]["metric"] == self.metric for one in self.found)

    @property
    def seeds(self) -> set[int]:
        """Seeds of the trials."""
        return {trial["seed"] for one in self.found for trial in one["trials"]}

    @property
    def test_clips(self) -> int:
        """Test clips of the first trial."""
        return int(self.found[0]["trials"][0]["test_clips"])

    def clip_values(self) -> tuple[list[tuple[str, int]], NDArray[np.float64]] | None:
        """The clips, and what each adds in each trial [S, n]; ``None`` where the metric is no mean over clips."""
        if not self.is_headline:
            return None
        tables = [Predictions.read(path / "predictions.npz").by_clip() for path in self.paths]
        known = [table for table in tables if table is not None]
        if len(known) < len(tables) or any(clips != known[0][0] for clips, _ in known):
            return None
        return known[0][0], np.concatenate([values for _, values in known])

    def to_dict(self) -> dict[str, Any]:
        """Plain values; all in per cent."""
        values = [trial["metrics"][self.metric] for one in self.found for trial in one["trials"]]
        mean, deviation = mean_and_deviation(values)
        return {
            "mean": mean,
            "std": deviation,
            "trials": len(values),
            "interval": self._interval(),
            "test_clips": self.test_clips,
            "folders": [str(path) for path in self.paths],
        }

    def _interval(self) -> list[float] | None:
        """That of the results; of several together, by bootstrap over clips and seeds."""
        if len(self.found) == 1:
            part = self.found[0]["headline" if self.is_headline else "metrics"]
            interval = (part if self.is_headline else part[self.metric]).get("interval")
            return interval if interval is None else list(interval)
        values = self.clip_values()
        return None if values is None else list(bootstrap_interval(values[1], LEVEL, trials=True))


@dataclass
class Row:
    """A line of the table; cells by the name of the column."""

    weights: str
    kind: str
    protocol: str
    metric: str
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def names(self) -> dict[str, str]:
        """What the line is of."""
        return {"weights": self.weights, "kind": self.kind, "protocol": self.protocol, "metric": self.metric}

    @property
    def order(self) -> tuple[Any, ...]:
        """Poses, untrained, scratch, weights by name; then protocols."""
        name = self.protocol.partition(" ")[0]
        place = PROTOCOLS.index(name) if name in PROTOCOLS else len(PROTOCOLS)
        return KINDS.index(self.kind) if self.kind in KINDS else len(KINDS), self.weights, place, self.protocol


@dataclass
class Report:
    """The table.

    Attributes:
        columns: Names of the columns.
        rows: Its lines, in order.
        notes: What a reader should know: what is not comparable, and what was left out.
    """

    columns: list[str]
    rows: list[Row]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        rows = [{**row.names, "cells": {name: cell.to_dict() for name, cell in row.cells.items()}} for row in self.rows]
        return {"columns": self.columns, "rows": rows, "notes": self.notes}


class _Identity(NamedTuple):
    """What results have in common that are one number of the table."""

    kind: str
    weights: str
    protocol: str
    column: str
    fingerprint: str
    settings: str
    """Those that the result depends on, a line each, to tell variants of a protocol apart."""
    ablation: str
    """Folder of the ablation that they are of, if they are; its seeds have one name."""


def make_report(folders: Iterable[Path], metrics: Sequence[str] = ()) -> Report:
    """Find results below folders, and put them into one table.

    Args:
        folders: Folders, or ``results.json`` files.
        metrics: Metrics to show beside the headline, where a protocol has them.

    Raises:
        DataError: A folder does not exist, or there are no results.
    """
    found, notes = find_results(folders)
    columns = _columns(found, notes)
    groups: dict[_Identity, dict[str, Cell]] = {}
    for path, one in found.items():
        cells = groups.setdefault(_identify(path, one, columns[path]), {})
        for metric in _metrics(one, metrics):
            cell = cells.setdefault(metric, Cell([], [], metric))
            if cell.seeds & {trial["seed"] for trial in one["trials"]}:
                notes.append(f"left out: {path} is the same evaluation as {cell.paths[0]}.")
                break
            cell.paths.append(path)
            cell.found.append(one)
    rows = _rows(groups)
    names = list(dict.fromkeys(columns[path] for path in sorted(found)))
    return Report(names, rows, notes + _clip_notes(rows, names))


def find_results(folders: Iterable[Path]) -> tuple[dict[Path, dict[str, Any]], list[str]]:
    """Results below folders, by their folder, and a note for each that cannot be read."""
    found: dict[Path, dict[str, Any]] = {}
    notes: list[str] = []
    tried = [Path(folder) for folder in folders]
    for folder in tried:
        if not folder.exists():
            raise DataError(f"{folder}: expected a folder with results of python -m mamp.evaluate, found none.")
        paths = [folder] if folder.is_file() else sorted(folder.rglob("results.json"))
        for path in paths:
            inside = path.relative_to(folder).parts if path != folder else ()
            if any(part.startswith(".") for part in inside) or path.parent in found:
                continue
            try:
                found[path.parent] = read_results(path)
            except DataError as error:
                notes.append(f"left out: {error}")
    if not found:
        reasons = "".join(f" {note}" for note in notes)
        raise DataError(f"no results.json of python -m mamp.evaluate below {', '.join(map(str, tried))}.{reasons}")
    return found, notes


def _metrics(one: dict[str, Any], wanted: Sequence[str]) -> list[str]:
    """The headline, every number of shots, and what else is wanted."""
    headline = one["headline"]["metric"]
    more = [name for name in one["metrics"] if SHOTS.fullmatch(name) or name in wanted or "all" in wanted]
    return list(dict.fromkeys([headline, *more]))


def _columns(found: dict[Path, dict[str, Any]], notes: list[str]) -> dict[Path, str]:
    """Name of the column of each result: the set and its split, and the checksum where one name is several sets."""
    keys = {path: (one["data"].get("sha256"), one["data"].get("protocol")) for path, one in found.items()}
    names: dict[Any, str] = {}
    for path, one in found.items():
        split = f", {one['data']['protocol']}" if one["data"].get("protocol") else ""
        names.setdefault(keys[path], f"{one['data']['name']}{split}")
    for name in sorted(set(names.values())):
        same = [key for key in names if names[key] == name]
        if len(same) > 1:
            notes.append(f"{name}: {len(same)} different sets of clips have this name; they are not comparable.")
            for key in same:
                names[key] = f"{name} ({(key[0] or 'no checksum')[:8]})"
    return {path: names[key] for path, key in keys.items()}


def _identify(path: Path, one: dict[str, Any], column: str) -> _Identity:
    kind = "scratch" if one["protocol"] == "scratch" else str(one["weights"].get("kind", "pretrained"))
    name, fingerprint, ablation = str(one["weights"]["name"]), str(one["weights"].get("fingerprint") or ""), ""
    for parent in path.parents:
        if SEED_FOLDER.fullmatch(parent.name) and path.parent.name == "evaluate":
            name, fingerprint, ablation = parent.parent.name, "", str(parent.parent.parent)
            break
    settings = sorted((name, value) for name, value in flatten(one["settings"]).items() if name not in SPREAD)
    lines = "\n".join(f"{name}={value}" for name, value in settings)
    return _Identity(kind, name, one["protocol"], column, fingerprint, lines, ablation)


def _rows(groups: dict[_Identity, dict[str, Cell]]) -> list[Row]:
    """Lines of the table; where two results want one place, the line says what distinguishes them."""
    places: dict[tuple[str, str, str], list[_Identity]] = {}
    for identity in groups:
        places.setdefault(identity[:3], []).append(identity)
    rows: dict[tuple[str, str, str, str], Row] = {}
    for same in places.values():
        for identity, (weights, protocol) in _labels(same).items():
            for metric, cell in groups[identity].items():
                names = (weights, identity.kind, protocol, metric)
                rows.setdefault(names, Row(*names)).cells[identity.column] = cell
    return sorted(rows.values(), key=lambda row: row.order)


def _labels(same: list[_Identity]) -> dict[_Identity, tuple[str, str]]:
    """Names of weights and protocol, with what is needed so that no two results are in one place."""
    if len({identity.column for identity in same}) == len(same):
        return {identity: (identity.weights, identity.protocol) for identity in same}
    lines = {one: dict(line.split("=", 1) for line in one.settings.split("\n") if line) for one in same}
    fields = dict.fromkeys(name for line in lines.values() for name in line)
    varied = [name for name in fields if len({line.get(name) for line in lines.values()}) > 1]
    prints, ablations = {one.fingerprint for one in same}, {one.ablation for one in same}
    labels = {}
    for one in same:
        weights = f" ({one.fingerprint[:8]})" if len(prints) > 1 and one.fingerprint else ""
        weights += f" in {Path(one.ablation).name}" if len(ablations) > 1 and one.ablation else ""
        settings = ", ".join(f"{name} {lines[one].get(name, '-')}" for name in varied)
        labels[one] = one.weights + weights, one.protocol + (f" ({settings})" if settings else "")
    return labels


def _clip_notes(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """Say where a column holds numbers of different test clips."""
    notes = []
    for column in columns:
        counts: dict[int, list[str]] = {}
        for row in rows:
            if column in row.cells:
                protocols = counts.setdefault(row.cells[column].test_clips, [])
                if row.protocol not in protocols:
                    protocols.append(row.protocol)
        if len(counts) > 1:
            parts = [f"{', '.join(protocols)}: {count}" for count, protocols in sorted(counts.items())]
            notes.append(f"{column}: not all rows have the same test clips ({'; '.join(parts)}); these do not compare.")
    return notes


Differences = list[tuple[Row, dict[str, dict[str, Any]]]]


def differences(report: Report, against: str) -> tuple[Differences, list[str]]:
    """Differences of rows to those of other weights, paired by test clip.

    Args:
        report: The table.
        against: Name of weights, whose row of the same protocol and metric is taken, or ``WEIGHTS/PROTOCOL``, which is
            taken for all rows of its metric.

    Returns:
        Each row that has something to be compared with, with ``difference``, ``interval`` and ``base`` by column; and
        what could not be compared.

    Raises:
        DataError: There is no such row.
    """
    bases = [row for row in report.rows if against in (row.weights, f"{row.weights}/{row.protocol}")]
    if not bases:
        known = ", ".join(dict.fromkeys(row.weights for row in report.rows))
        raise DataError(f"against {against!r}: expected weights of the table, or WEIGHTS/PROTOCOL; there are {known}.")
    anywhere = any(against == f"{row.weights}/{row.protocol}" for row in bases)
    lines, notes = [], []
    for row in report.rows:
        base = next((b for b in bases if b.metric == row.metric and (anywhere or b.protocol == row.protocol)), None)
        if base is None or base is row:
            continue
        cells = {}
        for column in [name for name in row.cells if name in base.cells]:
            ours, theirs = row.cells[column].clip_values(), base.cells[column].clip_values()
            where = f"{row.weights}, {row.protocol} {row.metric} on {column}"
            if ours is None or theirs is None:
                notes.append(f"{where}: no difference, since the metric is no mean over clips of which each is known.")
            elif ours[0] != theirs[0]:
                notes.append(f"{where}: no difference, since the test clips are not the same.")
            else:
                several = len(ours[1]) > 1 or len(theirs[1]) > 1
                difference, interval = bootstrap_difference(ours[1], theirs[1], LEVEL, trials=several)
                name = f"{base.weights}, {base.protocol}"
                cells[column] = {"difference": difference, "interval": list(interval), "base": name}
        if cells:
            lines.append((row, cells))
    return lines, notes


def report_page(report: Report, lines: Differences | None = None, against: str = "") -> str:
    """The table in Markdown, what its numbers are, the differences if there are any, and the notes."""
    cells = [(row, {name: show_headline(cell.to_dict()) for name, cell in row.cells.items()}) for row in report.rows]
    page = [*_wide(report, cells), ""]
    page.append(
        f"Per cent. In brackets: {LEVEL:.0%} interval over test clips (few-shot: episodes), and over seeds where each "
        "seed has a result of its own. ±: standard deviation over seeds. Final epoch throughout."
    )
    if lines is not None:
        page += ["", f"Difference to {against}, in percentage points, paired by test clip:", ""]
        page += _wide(report, [(row, {name: _change(cell) for name, cell in found.items()}) for row, found in lines])
    page += ["", *(f"- {note}" for note in report.notes)] if report.notes else []
    return "\n".join(page) + "\n"


def report_csv(report: Report) -> str:
    """A line for each number of the table, as CSV."""
    lines = []
    for row in report.rows:
        for column, cell in row.cells.items():
            found = cell.to_dict()
            low, high = found.pop("interval") or (None, None)
            folders = " ".join(found.pop("folders"))
            lines.append({**row.names, "data": column, **found, "low": low, "high": high, "folders": folders})
    text = io.StringIO()
    table = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    return text.getvalue()


def _wide(report: Report, rows: Sequence[tuple[Row, dict[str, str]]]) -> list[str]:
    """Rows of text by data set as a table in Markdown; what a row does not have stays empty."""
    header = ["weights", "protocol", "metric", *report.columns]
    lines = [
        [row.weights, row.protocol, row.metric, *(cells.get(one, "") for one in report.columns)] for row, cells in rows
    ]
    return markdown_table(header, lines, text=3)


def _change(cell: dict[str, Any]) -> str:
    low, high = cell["interval"]
    return f"{cell['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
