"""Writing to an index: what is new is embedded and committed a few recordings at a time, each whole or not at all."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from mamp.errors import SearchError
from mamp.search.changes import Plan, fail, make_plan
from mamp.search.embedder import Embedded, Embedder, Failed, Task
from mamp.search.metadata import Metadata
from mamp.search.results import Report
from mamp.search.settings import Settings
from mamp.search.sources import Source
from mamp.search.table import Table

ROWS_A_COMMIT, SECONDS_A_COMMIT = 1024, 5.0
Engine = Callable[[Callable[[Task], Embedded | Failed], Sequence[Task]], Iterable[Embedded | Failed]]
"""Yields ``work(task)`` for each task, here or in other processes, as :func:`map` does."""


class Writer:
    """Writes to a table that no other process writes to.

    Args:
        table: The rows.
        settings: Of the index.
        embedder: Embeds.
        extra: Columns of the user's.
        strict: Stop at the first recording that fails.
        progress: Show progress bars.

    Attributes:
        report: What became of the recordings.
    """

    def __init__(
        self, table: Table, settings: Settings, embedder: Embedder, extra: Metadata, strict: bool, progress: bool
    ) -> None:
        self._table, self._settings, self._embedder = table, settings, embedder
        self._extra, self._strict = extra, strict
        self.report = Report()
        # Only on a terminal, and only when it takes a few seconds.
        self._show = partial(tqdm, unit="file", delay=2, disable=None if progress else True, file=sys.stderr)

    def plan(
        self, sources: Sequence[Source], reading: Mapping[str, Any], update: bool, damaged: Mapping[str, str]
    ) -> Plan:
        """Compare recordings with what is in the table.

        Raises:
            SearchError: Something cannot be read, and ``strict`` is set.
        """
        known, show = self._table.contents(), partial(self._show, desc="comparing")
        plan = make_plan(sources, known, self.report, reading, update, show)
        self.report.failed |= damaged
        if self._strict and self.report.failed:
            name, error = next(iter(self.report.failed.items()))
            raise SearchError(f"{name}: {error}")
        return plan

    def write(self, plan: Plan, engine: Engine) -> None:
        """Do what was planned."""
        if self._extra.new:
            self._table.add_columns(self._extra.new)
        self._rearrange(plan)
        results = self._show(engine(self._embedder, plan.tasks), total=len(plan.tasks), desc="embedding")
        self._embed(results, plan)
        if plan.removed:
            self._table.remove(list(plan.removed))
            self.report.removed += plan.removed.values()
        if plan.tasks or plan.removed or plan.renamed:
            self._table.tidy()

    def _rearrange(self, plan: Plan) -> None:
        """Write what needs no embedding: new names, and columns of what is there."""
        known = self._table.contents() if plan.renamed else {}
        for content, source in plan.renamed.items():
            self._table.rename(content, source.folder, source.file)
            self.report.moved[known[content][1]] = source.file
        described = {content: self._extra.of(source) for content, source in (plan.present | plan.renamed).items()}
        self._table.describe({content: row for content, row in described.items() if row})

    def _embed(self, results: Iterable[Embedded | Failed], plan: Plan) -> None:
        replaced = {task.content: task.replaced for task in plan.tasks}
        waiting: list[Embedded] = []
        since = time.monotonic()
        for one in results:
            if isinstance(one, Embedded):
                self._settings.check_weights(one.fingerprint, "vectors", self._table.folder)
                waiting.append(one)
            else:
                fail(self.report, one.source, one.error)
            stop = isinstance(one, Failed) and self._strict
            rows = sum(len(some.start) for some in waiting)
            if stop or rows >= ROWS_A_COMMIT or time.monotonic() - since > SECONDS_A_COMMIT:
                self._commit(waiting, replaced)
                waiting, since = [], time.monotonic()
            if isinstance(one, Failed) and self._strict:
                raise SearchError(f"{one.source.file}: {one.error}")
        self._commit(waiting, replaced)

    def _commit(self, embedded: Sequence[Embedded], replaced: Mapping[str, str | None]) -> None:
        """Write recordings, and take out what they replace, all at once."""
        if not embedded:
            return
        old = [content for one in embedded if (content := replaced[one.content])]
        self._table.write(_columns(embedded, [self._extra.of(one.source) for one in embedded]), old)
        for one in embedded:
            (self.report.changed if replaced[one.content] else self.report.added).append(one.source.file)
            self.report.windows += len(one.start)


def _columns(embedded: Sequence[Embedded], extra: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of several recordings, column by column."""
    counts = [len(one.start) for one in embedded]

    def each(values: list[Any]) -> list[Any]:
        return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]

    columns: dict[str, Any] = {
        "file": each([one.source.file for one in embedded]),
        "folder": each([one.source.folder for one in embedded]),
        "content": each([one.content for one in embedded]),
        "layout": each([one.layout for one in embedded]),
        "fps": each([one.fps for one in embedded]),
        "fingerprint": each([one.fingerprint for one in embedded]),
        "start": np.concatenate([one.start for one in embedded]),
        "end": np.concatenate([one.end for one in embedded]),
        "person": np.concatenate([one.person for one in embedded]),
        "vector": np.concatenate([one.vectors for one in embedded]),
    }
    names = {name for row in extra for name in row}
    return columns | {name: each([row.get(name) for row in extra]) for name in names}
