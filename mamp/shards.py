"""Many recordings to one file of embeddings: finished shards lie beside it, so that a run that was killed goes on.

A shard holds a few recordings. Its name is a hash of their content, of the weights and of the options, so that nothing
else is taken for it, whoever made it, and however often.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.embedder import Embedder
from mamp.errors import MAMPError, MissingExtraError
from mamp.outputs import dump_json, lock, output_file, written_whole
from mamp.sources import Source
from mamp.workers import captured_warnings

Batch = Sequence[tuple[str, Source]]  # recordings by their names

VERSION = 1
ON_CPU = 8  # recordings in a shard; more are not faster there


@dataclass(frozen=True)
class Shard:
    """What is in a shard.

    Attributes:
        path: The file, with the rows of all embeddings, one recording after the other.
        names: Recordings that were embedded.
        lengths: Rows of each.
        shape: Of a row.
        failed: Recordings that could not be embedded, and why.
        kept: It was there already.
        warnings: What the package logged meanwhile.
    """

    path: Path
    names: list[str]
    lengths: list[int]
    shape: tuple[int, ...]
    failed: dict[str, str]
    kept: bool = False
    warnings: list[logging.LogRecord] = field(default_factory=list)

    def rows(self) -> NDArray[np.float32]:
        """[N, ...] float32."""
        with np.load(self.path, allow_pickle=False) as arrays:
            rows: NDArray[np.float32] = arrays["rows"]
        return rows


@dataclass(frozen=True)
class ShardMaker:
    """Makes shards in a folder; can be sent to other processes and machines that see the folder.

    Args:
        embedder: Embeds.
        folder: Where.
        threads: Of torch, in the process that makes them; sums depend on it in their last digits.
    """

    embedder: Embedder
    folder: Path
    threads: int = 1

    def __call__(self, sources: Batch) -> Shard:
        """Make the shard of these sources, unless it is there."""
        path = self.folder / f"{self._key(sources)}.npz"
        try:
            return replace(_open_shard(path), kept=True)
        except Exception:  # absent, cut by a power failure, or something else
            path.unlink(missing_ok=True)
        with captured_warnings() as warnings:
            results = self.embedder(sources)
        arrays = [one.embedding for one in results if one.embedding is not None]
        options = self.embedder.options
        if options.pool in ("clip", "joint") and options.window is None:
            arrays = [array[None] for array in arrays]
        facts: dict[str, Any] = {
            "names": [one.name for one in results if one.embedding is not None],
            "lengths": [len(array) for array in arrays],
            "failed": {one.name: one.error for one in results if one.error is not None},
        }
        rows = np.concatenate(arrays) if arrays else np.zeros(0, np.float32)
        with written_whole(path, tidy=False) as file:  # there may be very many
            np.savez(file, rows=rows, facts=np.array(dump_json(facts)))
        return Shard(path, shape=rows.shape[1:], warnings=warnings, **facts)

    def _key(self, sources: Batch) -> str:
        digest = hashlib.sha256(f"{VERSION} {self.threads} {self.embedder.identity}".encode())
        for name, source in sources:
            try:
                content = source.content()
            except (MAMPError, OSError) as error:
                content = str(error)
            digest.update(f"\0{name}\0{content}".encode())
        return digest.hexdigest()


Engine = Callable[[ShardMaker, Sequence[Batch]], Iterator[Shard]]


@dataclass
class Summary:
    """What became of the recordings.

    Attributes:
        names: Recordings that were embedded, in order.
        shape: Of all embeddings together.
        failed: Recordings that could not be embedded, and why.
        kept: Recordings of an earlier run that was stopped.
    """

    names: list[str] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    kept: int = 0


def embed_sources(
    sources: Batch,
    output: Path,
    embedder: Embedder,
    engine: Engine,
    *,
    at_once: int,
    threads: int = 1,
    strict: bool = False,
    failed: Mapping[str, str] | None = None,
    seen: Callable[[Shard], None] = lambda shard: None,
) -> Summary:
    """Embed recordings into one file; a run that was killed is gone on with by the next one.

    Args:
        sources: Recordings by their names.
        output: The file: ``.parquet``, or else what ``numpy.load`` reads.
        embedder: Embeds.
        engine: Makes the shards, in order.
        at_once: Recordings in a shard.
        threads: Of torch, where the shards are made.
        strict: Stop at the first recording that cannot be embedded.
        failed: What was found out before.
        seen: Called with each shard.

    Raises:
        MAMPError: Nothing could be embedded, or something could not and ``strict`` is set, or the output cannot be
            written.
    """
    output = output_file(output)
    summary, shards = Summary(failed=dict(failed or {})), []
    if summary.failed and strict:
        raise MAMPError(f"{len(summary.failed)} files could not be read; {output} was not written (strict).")
    with _work_folder(output) as folder:
        tasks = [tuple(sources[first : first + at_once]) for first in range(0, len(sources), at_once)]
        for shard in engine(ShardMaker(embedder, folder, threads), tasks):
            for record in shard.warnings:
                logging.getLogger(record.name).handle(record)
            seen(shard)
            if shard.failed and strict:
                raise MAMPError(f"{len(shard.failed)} files failed; {output} was not written (strict).")
            summary.names += shard.names
            summary.failed |= shard.failed
            summary.kept += len(shard.names) * shard.kept
            shards.append(replace(shard, names=[], warnings=[], failed={}))
        shards = [shard for shard in shards if shard.lengths]
        if not shards:
            shutil.rmtree(folder, ignore_errors=True)
            raise MAMPError(f"none of the {len(summary.failed)} files could be embedded; {output} was not written.")
        summary.shape = (sum(sum(shard.lengths) for shard in shards), *shards[0].shape)
        with written_whole(output) as file:
            write = _write_parquet if output.suffix == ".parquet" else _write_npz
            write(file, shards, summary, embedder)
        shutil.rmtree(folder, ignore_errors=True)
    return summary


@contextmanager
def _work_folder(output: Path) -> Iterator[Path]:
    """The folder of the shards of an output, held by this process; it stays if there is work in it."""
    folder = output.with_name(f".{output.name}.embedding")
    busy = MAMPError(f"{output}: another process writes it. Wait until it has ended, or name another file.")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as reason:
        raise MAMPError(f"{output}: cannot write here ({reason.strerror}). Name another file.") from None
    try:
        with lock(folder / "lock", busy):
            for left in folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)
            yield folder
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)


def _open_shard(path: Path) -> Shard:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        facts = json.loads(str(arrays["facts"]))
        return Shard(path, shape=arrays["rows"].shape[1:], **facts)  # read whole, so that damage is found


def _write_npz(file: Any, shards: Sequence[Shard], summary: Summary, embedder: Embedder) -> None:
    """Write what ``numpy.savez`` writes, holding one shard in memory."""
    options, given = embedder.options, embedder.weights
    arrays: dict[str, Any] = {
        "files": np.array(summary.names),
        "weights": np.array(given if isinstance(given, str) else "encoder"),
        "fingerprint": np.array(embedder.fingerprint),
        "pool": np.array(options.pool),
    }
    if options.pool not in ("clip", "joint") or options.window is not None:
        lengths = [length for shard in shards for length in shard.lengths]
        arrays["offsets"] = np.cumsum([0, *lengths], dtype=np.int64)
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        with archive.open("embeddings.npy", "w", force_zip64=True) as member:
            header = {"descr": "<f4", "fortran_order": False, "shape": summary.shape}
            np.lib.format.write_array_header_1_0(member, header)
            for shard in shards:
                member.write(shard.rows().astype("<f4", copy=False).tobytes())


def _write_parquet(file: Any, shards: Sequence[Shard], summary: Summary, embedder: Embedder) -> None:
    """A row an embedding, with the name of its recording and its number there; a group of rows a shard."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("Parquet needs pyarrow: pip install 'mamp[ray]', or write .npz.") from None
    width = int(np.prod(summary.shape[1:]))
    kind = pa.list_(pa.float32(), width)
    facts = {"fingerprint": embedder.fingerprint, "pool": embedder.options.pool, "shape": str(summary.shape[1:])}
    schema = pa.schema([("file", pa.string()), ("row", pa.int32()), ("embedding", kind)], metadata=facts)
    names = iter(summary.names)
    with parquet.ParquetWriter(file, schema) as writer:
        for shard in shards:
            own = [next(names) for _ in shard.lengths]
            columns = [
                pa.array(np.repeat(np.array(own, object), shard.lengths), pa.string()),
                pa.array(np.concatenate([np.arange(length) for length in shard.lengths]), pa.int32()),
                pa.FixedSizeListArray.from_arrays(pa.array(shard.rows().ravel()), type=kind),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
