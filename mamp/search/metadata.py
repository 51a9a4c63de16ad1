"""Columns of the user's own: a CSV file or data frame with a column ``file`` and any others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mamp.errors import SearchError
from mamp.search.sources import Source
from mamp.search.table import FIXED, import_lance


class Metadata:
    """Values of the columns for each file.

    Args:
        given: Path of a CSV file, a data frame of pandas, a table of Arrow, or ``None``.
        known: Columns that the index has, with their types.

    Attributes:
        new: Columns that the index lacks, with their types.

    Raises:
        SearchError: There is no column ``file``, a name is taken, a file has two rows, or values are not of the type
            that the index has.
    """

    def __init__(self, given: Any, known: Mapping[str, Any]) -> None:
        self._rows: dict[str, dict[str, Any]] = {}
        self.new: dict[str, Any] = {}
        self._used: set[str] = set()
        if given is None:
            return
        table, where = _read(given)
        if "file" not in table.column_names:
            raise SearchError(f"{where}: expected a column file, found {', '.join(table.column_names) or 'none'}.")
        names = [name for name in table.column_names if name != "file"]
        if taken := [name for name in names if name in FIXED or name == "score" or name.startswith("_")]:
            raise SearchError(f"{where}: the index has {', '.join(taken)} of its own; name the columns differently.")
        _, pa = import_lance()
        for name in names:
            kind = table.schema.field(name).type
            kind = pa.string() if pa.types.is_null(kind) or pa.types.is_large_string(kind) else kind
            wanted = known.get(name, kind)
            try:
                table = table.set_column(table.column_names.index(name), name, table[name].cast(wanted))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise SearchError(f"{where}: column {name}: expected {wanted} as in the index ({error}).") from None
            if name not in known:
                self.new[name] = wanted
        files = table["file"].cast(pa.string()).to_pylist()
        for file, row in zip(files, table.select(names).to_pylist(), strict=True):
            key = Path(file or "").as_posix()
            if self._rows.setdefault(key, row) is not row:
                raise SearchError(f"{where}: {file} has a second row; expected one a file.")

    def of(self, source: Source) -> dict[str, Any]:
        """The columns of a recording, found by its path below the folder given, its whole path, or its name."""
        for key in (source.file, Path(source.key).as_posix(), Path(source.file).name):
            if key in self._rows:
                self._used.add(key)
                return self._rows[key]
        return {}

    def unused(self, sources: Iterable[Source]) -> list[str]:
        """Files of the table that are not among the recordings."""
        for source in sources:
            self.of(source)
        return sorted(set(self._rows) - self._used)


def _read(given: Any) -> tuple[Any, str]:
    """Any kind of table as one of Arrow, and what to call it."""
    _, pa = import_lance()
    try:
        if isinstance(given, pa.Table):
            return given, "metadata"
        if isinstance(given, str | os.PathLike):
            from pyarrow import csv

            data = Path(given).read_bytes().removeprefix(b"\xef\xbb\xbf")
            options = csv.ConvertOptions(strings_can_be_null=True, column_types={"file": pa.string()})
            return csv.read_csv(pa.BufferReader(data), convert_options=options), str(given)
        if hasattr(given, "columns"):
            return pa.Table.from_pandas(given, preserve_index=False), "metadata"
    except (OSError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SearchError(
            f"{given if isinstance(given, str | os.PathLike) else 'metadata'}: not read ({error})."
        ) from None
    raise SearchError(f"metadata: expected a CSV file or a data frame, found {type(given).__name__}.")
