"""What a map shows: embeddings of a file or an index, what each is of, and the movement behind it."""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import DataError, MissingExtraError
from mamp.search import Index

FloatArray = NDArray[np.float32]
FEW = 40  # groups that a legend can show


@dataclass(frozen=True)
class Part:
    """What a point stands for.

    Attributes:
        name: Of the recording, as the file or index knows it.
        start: Seconds; ``None`` if only the share is known.
        end: Seconds.
        person: Index, or ``None`` for everybody.
        share: Part of the length of the recording, from and to.
        folder: Of an index; ``None`` for a file of embeddings.
    """

    name: str
    start: float | None = None
    end: float | None = None
    person: int | None = None
    share: tuple[float, float] = (0.0, 1.0)
    folder: str | None = None

    def __str__(self) -> str:
        words = [self.name]
        if self.start is not None and self.end is not None:
            words.append(f"{self.start:.1f}-{self.end:.1f} s")
        elif self.share != (0.0, 1.0):
            words.append(f"{self.share[0]:.0%}-{self.share[1]:.0%}")
        if self.person:
            words.append(f"person {self.person}")
        return ", ".join(words)


@dataclass(frozen=True)
class Points:
    """Embeddings, and what they are of.

    Attributes:
        title: Name of the file or index.
        weights: What made the embeddings.
        vectors: [N, D].
        parts: Of each.
        columns: Of an index: the user's columns.
        place: Folder to look for recordings in.
        total: Rows there are, of which these may be some.
        groups: Name of the group of each point; empty for none.
    """

    title: str
    weights: str
    vectors: FloatArray
    parts: list[Part]
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    place: Path = Path()
    total: int = 0
    groups: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.parts)

    def grouped(self, by: str | None = None, labels: Mapping[str, str] | None = None) -> Points:
        """Put the points into groups.

        Args:
            by: A column of the index, ``file``, ``folder``, ``none``, or a regular expression of which the first match
                in the name is the group (its first group, if it has one). By default the column ``label``, or the first
                word of the names, or the folder, whichever makes two to forty groups.
            labels: Group of each name, or file name, in place of ``by``.

        Raises:
            DataError: ``by`` is none of these.
        """
        return replace(self, groups=self._groups(by, labels))

    def _groups(self, by: str | None, labels: Mapping[str, str] | None) -> list[str]:
        names = [part.name for part in self.parts]
        if labels is not None:
            return [labels.get(name, labels.get(Path(name).name, "no label")) for name in names]
        stems = [re.match(r"[^\W\d_]*", Path(name).name) for name in names]
        known = {
            **{
                name: [str("" if value is None else value) for value in column] for name, column in self.columns.items()
            },
            "none": [""] * len(names),
            "file": names,
            "folder": [Path(name).parent.name for name in names],
        }
        if by is None:
            words = [match[0].lower() if match else "" for match in stems]
            for found in (known.get("label", []), words, known["folder"]):
                if 2 <= len(set(found)) <= min(FEW, max(len(names) // 2, 2)):
                    return list(found)
            return known["none"]
        if by in known:
            return known[by]
        try:
            pattern = re.compile(by)
        except re.error:
            pattern = None
        matches = [pattern.search(name) if pattern else None for name in names]
        if not any(matches):
            raise DataError(
                f"by={by!r}: expected one of {', '.join(known)}, or a regular expression that some name matches; found "
                "no match."
            )
        return [(match[1] if match.lastindex else match[0]) if match else "no match" for match in matches]


def read_points(path: str | PathLike[str], most: int = 20_000) -> Points:
    """Read the embeddings of ``mamp embed`` or of an index; of very many, some that are spread over them.

    Args:
        path: ``.npz`` or ``.parquet``, or the folder of an index.
        most: Points at most.

    Raises:
        DataError: There are no embeddings, or those of joints.
        SearchError: The index is damaged.
    """
    source = Path(path).expanduser()
    points = _of_index(source, most) if source.is_dir() else _of_file(source, most)
    if not len(points):
        raise DataError(f"{source}: expected embeddings to draw, found none.")
    return points


def _spread(total: int, most: int) -> NDArray[np.int64]:
    return (
        np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(np.int64)) if total else np.zeros(0, int)
    )


def _of_index(folder: Path, most: int) -> Points:
    index = Index.open(folder)
    chosen, seen = _spread(len(index), most), 0
    rows: dict[str, list[Any]] = {}
    vectors: list[Any] = []
    for batch in index.batches():
        here = chosen[(chosen >= seen) & (chosen < seen + batch.num_rows)] - seen
        seen += batch.num_rows
        some = batch.take(here.tolist())
        vectors += [np.asarray(vector, np.float32) for vector in some.column("vector").to_pylist()]
        for name in some.schema.names:
            if name != "vector":
                rows.setdefault(name, []).extend(some.column(name).to_pylist())
    own = ("file", "folder", "content", "start", "end", "person", "layout", "fps", "fingerprint")
    parts = [
        Part(file, start, end, person, folder=place)
        for file, start, end, person, place in zip(
            *(rows.get(name, []) for name in ("file", "start", "end", "person", "folder")), strict=True
        )
    ]
    columns = {name: column for name, column in rows.items() if name not in own}
    array = np.stack(vectors) if vectors else np.zeros((0, index.settings.width), np.float32)
    return Points(folder.name, index.settings.encoder, array, parts, columns, Path(), len(index))


def _of_file(path: Path, most: int) -> Points:
    read = _read_parquet if path.suffix == ".parquet" else _read_npz
    vectors, names, lengths, pool, weights = read(path)
    if pool == "joint" or vectors.ndim != 2:
        raise DataError(
            f"{path}: expected embeddings of recordings, people, windows or frames, found those of {pool}s."
        )
    parts = [part for name, length in zip(names, lengths, strict=True) for part in _parts(name, length, pool)]
    if len(parts) != len(vectors):
        raise DataError(f"{path}: expected a row for each of {len(parts)} parts, found {len(vectors)} rows.")
    there = np.flatnonzero(np.isfinite(vectors).all(1))
    chosen = there[_spread(len(there), most)]
    rows = [parts[row] for row in chosen]
    return Points(path.name, weights, vectors[chosen], rows, {}, path.absolute().parent, len(there))


def _parts(name: str, length: int, pool: str) -> list[Part]:
    if pool == "person" and length > 1:
        return [Part(name, person=person) for person in range(length)]
    return [Part(name, share=(row / length, (row + 1) / length)) for row in range(length)]


Table = tuple[FloatArray, list[str], list[int], str, str]


def _read_npz(path: Path) -> Table:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            vectors, names = np.asarray(arrays["embeddings"], np.float32), arrays["files"].tolist()
            pool, weights = (str(arrays[key]) if key in arrays else "" for key in ("pool", "weights"))
            lengths = np.diff(arrays["offsets"]).tolist() if "offsets" in arrays else [1] * len(names)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: expected what mamp embed writes (.npz, .parquet), or the folder of an index; found: {error}."
        ) from None
    return vectors, names, lengths, pool, weights


def _read_parquet(path: Path) -> Table:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingExtraError("Parquet needs pyarrow: pip install 'mamp[ray]'.") from None
    try:
        table = parquet.read_table(path)
        names = np.array(table["file"].to_pylist(), object)
        vectors = np.array(table["embedding"].to_pylist(), np.float32)
    except (OSError, KeyError, ValueError, ArrowException) as error:
        raise DataError(f"{path}: expected what mamp embed writes, found: {error}.") from None
    ends = [*np.flatnonzero(names[1:] != names[:-1]) + 1, len(names)] if len(names) else []
    starts = [0, *ends[:-1]]
    lengths = [int(end - start) for start, end in zip(starts, ends, strict=True)]
    pool = (table.schema.metadata or {}).get(b"pool", b"").decode()
    return vectors, [str(names[start]) for start in starts], lengths, pool, ""


def read_labels(path: str | PathLike[str]) -> dict[str, str]:
    """The labels of a CSV file with the columns ``file`` and ``label``.

    Raises:
        DataError: It cannot be read, or has no such columns.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
        return {row["file"]: row["label"] or "" for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DataError(f"{path}: expected a CSV file with the columns file and label, found: {error!r}.") from None
