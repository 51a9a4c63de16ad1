"""``Index``: an archive of movement on disk, to add recordings to and to search."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.encoder import MAMPEncoder
from mamp.errors import MissingExtraError, SearchError
from mamp.outputs import dump_json, folder_beside, one_writer, written_whole
from mamp.search.embedder import Embedder
from mamp.search.metadata import Metadata
from mamp.search.query import is_vector, query_vectors
from mamp.search.results import Hit, Merging, Report
from mamp.search.settings import (
    NAME,
    Settings,
    Weights,
    default_stride,
    known_fingerprint,
    read_settings,
    stable_name,
)
from mamp.search.sources import list_sources
from mamp.search.table import Table, explained, import_lance
from mamp.search.writer import Engine, Writer


class Index:
    """A folder with the embeddings of the windows of recordings. Make one with :meth:`create` or :meth:`open`.

    Any number of processes may search it while one adds to it; a second one that adds is refused. A kill at any moment
    leaves an index that opens, and the same call goes on where it was.

    Attributes:
        path: The folder.
        settings: Window, stride and weights.
    """

    def __init__(self, path: Path, settings: Settings, table: Table, embedder: Embedder) -> None:
        self.path, self.settings = path, settings
        self._table, self._embedder = table, embedder

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        encoder: Weights = "openmocap",
        window: float | None = 4.0,
        stride: float | None = None,
        *,
        device: str = "cpu",
    ) -> Index:
        """Make an empty index.

        Args:
            path: A folder that does not exist, or is empty.
            encoder: Name or folder of the weights, or an encoder.
            window: Seconds of a window; ``None`` takes whole recordings.
            stride: Seconds from the start of one window to that of the next, at most ``window``; half of it by default.
            device: Where the weights are put.

        Raises:
            SearchError: There is something at ``path``, or it cannot be written; window or stride make no sense.
            WeightsError: There are no such weights.
        """
        folder = Path(path).expanduser()
        stride = default_stride(window, stride)
        model = encoder if isinstance(encoder, MAMPEncoder) else MAMPEncoder.from_pretrained(encoder, device=device)
        embedder = Embedder(model, window, stride, device)
        settings = Settings(stable_name(encoder), embedder.fingerprint, model.config.embedding_dim, window, stride)
        import_lance()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            what = "an index, which Index.open opens" if (folder / NAME).exists() else "something else"
            raise SearchError(f"{folder}: expected a new or empty folder, found {what}.")
        try:
            with folder_beside(folder) as beside:
                Table.create(beside, settings.width)
                (beside / NAME).write_text(dump_json(settings.to_dict()) + "\n", encoding="utf-8")
                beside.rename(folder)
        except OSError as error:
            raise SearchError(f"{folder}: an index cannot be made here ({error}).") from None
        return cls(folder, settings, Table.open(folder), embedder)

    @classmethod
    def open(cls, path: str | os.PathLike[str], encoder: Weights | None = None, *, device: str = "cpu") -> Index:
        """Open an index.

        Args:
            path: The folder.
            encoder: The weights of its vectors, if they are not where they were; by default found by their name when a
                recording is embedded.
            device: Where the weights are put.

        Raises:
            SearchError: There is no index, it is damaged, half-copied or of a newer version, or the weights are others.
        """
        folder = Path(path).expanduser()
        settings = read_settings(folder)
        weights = settings.encoder if encoder is None else encoder
        if weights and (found := known_fingerprint(weights)) is not None:
            settings.check_weights(found, str(weights) if isinstance(weights, str) else "an encoder", folder)
        table = Table.open(folder)
        model = weights if isinstance(weights, MAMPEncoder) else os.fspath(weights)
        return cls(folder, settings, table, Embedder(model, settings.window, settings.stride, device))

    def __len__(self) -> int:
        """Rows: one a window and person."""
        return len(self._table)

    @property
    def encoder(self) -> MAMPEncoder:
        """The encoder of its vectors, loaded when it is first used."""
        self._check_encoder()
        return self._embedder.encoder

    def __repr__(self) -> str:
        cut = "whole recordings" if self.settings.window is None else f"windows of {self.settings.window:g} s"
        return f"Index({str(self.path)!r}: {len(self):,} {cut}, weights {self.settings.encoder or 'given'})"

    def add(
        self,
        recordings: Any,
        metadata: Any = None,
        *,
        strict: bool = False,
        progress: bool = False,
        engine: Engine = map,
        **reading: Any,
    ) -> Report:
        """Add recordings. What is there already, by its content, is skipped; a file that changed is replaced.

        Rows are written a recording, or a few, at a time, each whole or not at all.

        Args:
            recordings: A recording, the path of a file, folder, zip file or store, or several of these.
            metadata: Columns of your own: a CSV file or data frame with a column ``file``.
            strict: Stop at the first recording that fails, in place of reporting it.
            progress: Show a progress bar.
            engine: Yields ``work(task)`` for each task, as :func:`map` does in this process.
            **reading: Options of :func:`mamp.load`, for all files.

        Raises:
            SearchError: Another process writes, the weights are others, the disk is full, ...
            MissingFileError: A path is not there, or a folder holds no recordings.
        """
        return self._write(recordings, metadata, False, strict, progress, engine, reading)

    def update(
        self,
        recordings: Any = (),
        metadata: Any = None,
        *,
        strict: bool = False,
        progress: bool = False,
        engine: Engine = map,
        **reading: Any,
    ) -> Report:
        """Look at every file that is in the index: take out what is gone, replace what changed; then :meth:`add`.

        What is in a folder that is not there at all, as on a disk that is not mounted, is reported and kept.
        """
        return self._write(recordings, metadata, True, strict, progress, engine, reading)

    def _write(
        self,
        recordings: Any,
        metadata: Any,
        update: bool,
        strict: bool,
        progress: bool,
        engine: Engine,
        reading: dict[str, Any],
    ) -> Report:
        leave_out = [self.path, *([Path(metadata)] if isinstance(metadata, str | os.PathLike) else [])]
        damaged: dict[str, str] = {}
        sources = list_sources(recordings, reading, damaged, leave_out)
        with one_writer(self.path, "index", SearchError):
            extra = Metadata(metadata, self._table.columns)
            writer = Writer(self._table, self.settings, self._embedder, extra, strict, progress)
            plan = writer.plan(sources, reading, update, damaged)
            if plan.tasks:
                self._check_encoder()
            writer.write(plan, engine)
        return writer.report

    def _check_encoder(self) -> None:
        if not self._embedder.weights:
            raise SearchError(
                f"{self.path}: was made with an encoder that has no name (fingerprint {self.settings.fingerprint}); "
                "open it with Index.open(path, encoder=...)."
            )
        weights = self._embedder.weights
        self.settings.check_weights(
            self._embedder.fingerprint, weights if isinstance(weights, str) else "an encoder", self.path
        )

    def search(
        self,
        query: Any,
        k: int = 10,
        where: str | None = None,
        *,
        person: int | None = None,
        exact: bool = False,
        **reading: Any,
    ) -> list[Hit]:
        """Find what is most like a query, best first.

        A recording is cut into windows as those of the index; a hit is as good as its best pair of windows. Windows of
        one recording and person that overlap are merged.

        Args:
            query: A recording; a path; part of a file, ``"walk.bvh@3.2-5.0"`` in seconds; a vector [D]; or a list of
                these, of whose unit vectors (the mean over the windows of each) the mean is searched.
            k: Hits, at most.
            where: Condition in SQL on the columns, such as ``"file LIKE 'walk%' AND start < 10"``.
            person: Take only this person of a recording.
            exact: Compare with every row, even where there is an approximate index.
            **reading: Options of :func:`mamp.load`.

        Raises:
            SearchError: The query holds nobody or is no vector of the right length, ``k`` is no number above zero, or
                ``where`` is no condition.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise SearchError(f"k: expected a whole number above zero, found {k!r}.")
        if not is_vector(query):
            self._check_encoder()
        vectors = query_vectors(query, self._embedder, self.settings.width, person, reading)
        total = len(self)
        limit = min(4 * self.settings.overlap * int(k), total)
        exact = exact or not self._table.is_approximate
        while limit:
            rows = self._nearest(vectors, limit, where, exact)
            merging = Merging(int(k))
            merging.add(_public(row) for row in rows)
            if merging.done or (exact and (len(rows) < limit or limit == total)):
                return merging.hits
            exact = exact or len(rows) < limit or limit == total
            limit = min(4 * limit, total)
        self._table.nearest(vectors[0], 1, where, exact=True)  # an empty index still says what is wrong with a filter
        return []

    def _nearest(
        self, vectors: NDArray[np.float32], limit: int, where: str | None, exact: bool
    ) -> list[dict[str, Any]]:
        """Rows in the order of their cosine with the nearest of some vectors."""
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for vector in vectors:
            for row in self._table.nearest(vector, limit, where, exact):
                key = row["content"], row["start"], row["person"]
                if key not in found or found[key]["score"] < row["score"]:
                    found[key] = row
        return sorted(found.values(), key=lambda row: -row["score"])[:limit]

    def batches(self) -> Iterator[Any]:
        """All rows, as batches of Arrow, a few in memory at a time."""
        return self._table.batches()

    def to_arrow(self) -> Any:
        """All rows as a table of Arrow."""
        return self._table.to_arrow()

    def to_pandas(self) -> Any:
        """All rows as a data frame; ``vector`` holds arrays.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas  # noqa: F401
        except ImportError:
            raise MissingExtraError("to_pandas needs pandas: pip install 'mamp[search]'.") from None
        return self.to_arrow().to_pandas()

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write all rows to a Parquet file, a few at a time."""
        import_lance()
        from pyarrow import parquet

        with explained(Path(path), "write"), written_whole(Path(path)) as file:
            writer = None
            for batch in self._table.batches():
                writer = writer or parquet.ParquetWriter(file, batch.schema)
                writer.write_batch(batch)
            (writer or parquet.ParquetWriter(file, self._table.schema)).close()


def _public(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a hit tells it."""
    return {name: value for name, value in row.items() if name not in ("content", "layout", "fps", "fingerprint")}
