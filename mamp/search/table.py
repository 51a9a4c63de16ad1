"""The rows of an index: one LanceDB table, and the only file that knows LanceDB.

Each write is one commit of the table: what a killed process had not committed is not there. Old versions are kept for
an hour, so that processes that are reading go on.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import MissingExtraError, SearchError

logger = logging.getLogger(__name__)

NAME = "windows"
FIXED = ("file", "folder", "content", "start", "end", "person", "layout", "fps", "fingerprint", "vector")
APPROXIMATE_FROM = 200_000
"""Rows from which an approximate index is made; see docs/search.md for what was measured."""
PROBES = 20
KEPT = timedelta(hours=1)
BUFFER, CACHE = 64 << 20, 128 << 20  # bytes read ahead, and bytes of the approximate index kept in memory


def import_lance() -> tuple[Any, Any]:
    """The modules ``lancedb`` and ``pyarrow``.

    Raises:
        MissingExtraError: They are not installed.
    """
    os.environ.setdefault("LANCE_LOG", "error")
    os.environ.setdefault("LANCE_DEFAULT_IO_BUFFER_SIZE", str(BUFFER))
    try:
        import lancedb
        import pyarrow
    except ImportError:
        raise MissingExtraError("an index needs lancedb: pip install 'mamp[search]'.") from None
    return lancedb, pyarrow


@contextmanager
def explained(folder: Path, doing: str) -> Iterator[None]:
    """Turn what LanceDB raises into a :class:`SearchError`."""
    try:
        yield
    except (SearchError, MissingExtraError):
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise SearchError(f"{folder}: could not {doing} ({reason[:500]}).") from None


class Table:
    """The table of an index.

    Args:
        folder: Of the index.
        table: Of LanceDB.
    """

    def __init__(self, folder: Path, table: Any) -> None:
        self.folder, self._table = folder, table

    @classmethod
    def create(cls, folder: Path, width: int) -> Table:
        """Make an empty table for vectors of some width."""
        lancedb, pa = import_lance()
        types = {"start": pa.float64(), "end": pa.float64(), "person": pa.int32(), "fps": pa.float64()}
        types["vector"] = pa.list_(pa.float32(), width)
        schema = pa.schema([pa.field(name, types.get(name, pa.string())) for name in FIXED])
        with explained(folder, "make the table"):
            return cls(folder, lancedb.connect(folder).create_table(NAME, schema=schema))

    @classmethod
    def open(cls, folder: Path) -> Table:
        """Open the table; readers see what a writer beside them commits.

        Raises:
            SearchError: It is missing, damaged or half-copied.
        """
        lancedb, _ = import_lance()
        advice = "Copy the whole folder again, or index the recordings anew."
        place = folder / f"{NAME}.lance"
        if not any(place.glob("_versions/*.manifest")):
            raise SearchError(f"{folder}: expected a table in {place.name}, found none. {advice}")
        try:
            session = lancedb.Session(index_cache_size_bytes=CACHE, metadata_cache_size_bytes=CACHE)
            table = lancedb.connect(folder, read_consistency_interval=timedelta(0), session=session).open_table(NAME)
            version, names = table.version, table.schema.names
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise SearchError(f"{folder}: the table is damaged or of a newer LanceDB ({reason}). {advice}") from None
        if missing := set(FIXED) - set(names):
            raise SearchError(f"{folder}: the table lacks the columns {', '.join(sorted(missing))}. {advice}")
        try:
            newest = json.loads((place / "_versions" / "latest_version_hint.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            newest = {}
        if isinstance(newest, dict) and isinstance(newest.get("version"), int) and newest["version"] > version:
            raise SearchError(
                f"{folder}: expected version {newest['version']} of the table, found {version}: half-copied. {advice}"
            )
        return cls(folder, table)

    def __len__(self) -> int:
        with explained(self.folder, "count the rows"):
            return int(self._table.count_rows())

    @property
    def columns(self) -> dict[str, Any]:
        """Columns that the user added, with their types."""
        return {field.name: field.type for field in self._table.schema if field.name not in FIXED}

    def add_columns(self, types: Mapping[str, Any]) -> None:
        """Add empty columns of Arrow types."""
        _, pa = import_lance()
        with explained(self.folder, "add columns"):
            self._table.add_columns(pa.schema([pa.field(name, kind) for name, kind in types.items()]))

    def contents(self) -> dict[str, tuple[str, str]]:
        """Folder and file of each content."""
        found: dict[str, tuple[str, str]] = {}
        for batch in self.batches(["content", "folder", "file"]):
            rows = batch.to_pydict()
            found |= {content: (folder, file) for content, folder, file in zip(*rows.values(), strict=True)}
        return found

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """All rows, as batches of Arrow."""
        with explained(self.folder, "read the rows; the index may be half-copied: copy it again, or index anew"):
            query = self._table.search()
            yield from (query.select(list(columns)) if columns else query).to_batches()

    def to_arrow(self) -> Any:
        """All rows."""
        with explained(self.folder, "read the rows; the index may be half-copied: copy it again, or index anew"):
            return self._table.to_arrow()

    def write(self, columns: Mapping[str, Any], replaced: Sequence[str] = ()) -> None:
        """Add rows, and take out those of some contents, in one commit.

        Args:
            columns: Values of each column, ``vector`` as [N, D].
            replaced: Contents to take out.
        """
        _, pa = import_lance()
        schema = self._table.schema
        arrays = []
        for field in schema:
            values = columns.get(field.name)
            if field.name == "vector":
                values = np.ascontiguousarray(values, np.float32)
                arrays.append(pa.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1]))
            else:
                arrays.append(pa.array(values if values is not None else [None] * len(columns["file"]), field.type))
        rows = pa.Table.from_arrays(arrays, schema=schema)
        with explained(self.folder, "write; what was there is untouched"):
            if not replaced:
                self._table.add(rows)
                return
            merge = self._table.merge_insert(["content", "start", "person"]).when_not_matched_insert_all()
            merge.when_not_matched_by_source_delete(_one_of("content", replaced)).execute(rows)

    def remove(self, contents: Sequence[str]) -> None:
        """Take the rows of some contents out."""
        with explained(self.folder, "write; what was there is untouched"):
            self._table.delete(_one_of("content", contents))

    def rename(self, content: str, folder: str, file: str) -> None:
        """Give a content another folder and file."""
        with explained(self.folder, "write; what was there is untouched"):
            self._table.update(where=_one_of("content", [content]), values={"folder": folder, "file": file})

    def describe(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Set the user's columns of some contents, in one commit; all rows have the same columns."""
        if not rows:
            return
        _, pa = import_lance()
        names = list(next(iter(rows.values())))
        columns = {"content": pa.array(list(rows), pa.string())}
        for name in names:
            columns[name] = pa.array([row[name] for row in rows.values()], self._table.schema.field(name).type)
        with explained(self.folder, "write; what was there is untouched"):
            self._table.merge_insert("content").when_matched_update_all().execute(pa.table(columns))

    @property
    def schema(self) -> Any:
        """Of Arrow."""
        return self._table.schema

    def nearest(self, vector: NDArray[np.float32], limit: int, where: str | None, exact: bool) -> list[dict[str, Any]]:
        """Rows in the order of their cosine with a vector, which they hold as ``score``.

        Args:
            vector: [D].
            limit: At most so many.
            where: Filter in SQL.
            exact: Compare with every row, whether there is an approximate index or not.

        Raises:
            SearchError: The filter is none, or the table cannot be read.
        """
        names = [name for name in self._table.schema.names if name != "vector"]
        query = self._table.search(vector).distance_type("cosine").limit(limit).select([*names, "_distance"])
        query = query.bypass_vector_index() if exact else query.nprobes(PROBES)
        if where is not None:
            query = query.where(_check_filter(where, self._table.schema.names))
        try:
            rows = query.to_arrow().to_pylist()
        except ValueError as error:
            if where is None:
                raise SearchError(f"{self.folder}: could not search ({error}).") from None
            raise SearchError(_filter_message(where, names, str(error))) from None
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise SearchError(
                f"{self.folder}: could not search ({reason}). If the index was half-copied, copy it again."
            ) from None
        return [row | {"score": 1 - row.pop("_distance")} for row in rows]

    @property
    def is_approximate(self) -> bool:
        """Whether there is an approximate index."""
        with explained(self.folder, "list the indices"):
            return bool(self._table.list_indices())

    def tidy(self) -> None:
        """Merge small files, forget old versions, and make or extend the approximate index where there are many rows.

        What fails here, for lack of space for example, costs speed and no rows: it is logged.
        """
        try:
            if len(self) >= APPROXIMATE_FROM and not self.is_approximate:
                self.make_approximate()
            self._table.optimize(cleanup_older_than=KEPT)
        except Exception as error:
            logger.warning("%s: the rows are written, but could not be tidied (%s).", self.folder, error)

    def make_approximate(self, partitions: int | None = None) -> None:
        """Make the approximate index: vectors in groups, of which a search looks at the nearest."""
        partitions = partitions or max(round(len(self) ** 0.5 / 2), 1)
        with explained(self.folder, "make the approximate index"):
            from lancedb.index import IvfFlat

            self._table.create_index("vector", config=IvfFlat("cosine", num_partitions=partitions))


def _one_of(column: str, values: Sequence[str]) -> str:
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})"


def _check_filter(where: str, names: Sequence[str]) -> str:
    """The filter, unless it is empty, or goes on after a semicolon, where LanceDB stops reading."""
    if not where.strip():
        raise SearchError(_filter_message(where, names, "it is empty"))
    if ";" in re.sub(r"'[^']*'", "", where):
        raise SearchError(_filter_message(where, names, "it holds a semicolon"))
    return where


def _filter_message(where: str, names: Sequence[str], reason: str) -> str:
    reason = reason.partition("\n")[0].removeprefix("Invalid input, ")
    return (
        f"where={where!r} is no filter ({reason}). Expected a condition in SQL such as \"file LIKE 'walk%' AND start < "
        f'10" on the columns {", ".join(name for name in names if name != "vector")}.'
    )
