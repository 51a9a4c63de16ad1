"""Embedding on many machines, with Ray Data (extra ``ray``)."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from mamp.embedder import Embedder
from mamp.embedding import EncodeOptions
from mamp.encoder import MAMPEncoder
from mamp.errors import DataError, MissingExtraError, MissingFileError, WorkerError
from mamp.readers.files import StrPath
from mamp.shards import Summary, embed_sources
from mamp.sources import named_sources

T = TypeVar("T")
R = TypeVar("R")

BLOCKS = 1000  # tasks of Ray at most, each a few shards: what a machine that is lost has to do again


def embed(
    dataset: StrPath | Sequence[StrPath] | Any,
    output: StrPath | None = None,
    *,
    weights: str | MAMPEncoder = "openmocap",
    revision: str | None = None,
    options: EncodeOptions | None = None,
    reading: Mapping[str, Any] | None = None,
    actors: int | None = None,
    cpus: int = 1,
    gpus: float = 0,
    batch_size: int | None = None,
    strict: bool = False,
) -> Summary | Any:
    """Embed recordings by a pool of actors on the machines of a Ray cluster, or of this machine where there is none.

    All machines see the recordings, and the output, under the same paths. Finished shards lie beside the output: a run
    that was killed is gone on with by the next one, and what a lost machine had done is not done again.

    Args:
        dataset: A folder, a store, a file of Parquet with a column ``file`` or ``path``, a dataset of Ray with one of
            these columns, or a list of paths.
        output: ``.parquet`` or ``.npz``, as ``mamp embed`` writes it. Without it, a dataset of Ray is returned, which
            embeds when it is consumed, and has ``write_parquet`` and ``write_lance``.
        weights: Name or folder of the weights, or an encoder.
        revision: Of weights on the Hub.
        options: Of :meth:`mamp.MAMPEncoder.encode`.
        reading: Options of :func:`mamp.load`.
        actors: How many at most; as many as the cluster has processors or GPUs for by default.
        cpus: Processors, and threads of torch, of each actor.
        gpus: GPUs, or a part of one, of each actor; with any, the actors encode on it.
        batch_size: Recordings in a shard; 8 by default, and 64 on GPUs.
        strict: Stop at the first recording that cannot be embedded.

    Returns:
        What became of the recordings; without ``output``, a dataset with the columns ``file``, ``row`` (of the
        recording's embeddings), ``embedding`` and ``error``.

    Raises:
        MissingExtraError: Ray is not installed.
        WorkerError: Ray gave up.
        MAMPError: Nothing could be embedded, or something could not and ``strict`` is set, or the output cannot be
            written.
    """
    embedder = Embedder(weights, options or EncodeOptions(), "cuda" if gpus else "cpu", revision)
    failed: dict[str, str] = {}
    sources = named_sources(_paths(dataset), reading or {}, failed)
    _ray()
    at_once = batch_size or (64 if gpus else 8)
    spread: dict[str, Any] = {"actors": actors, "cpus": cpus, "gpus": gpus}
    if output is None:
        tasks = [tuple(sources[first : first + at_once]) for first in range(0, len(sources), at_once)]
        return _map(_Rows, (embedder, cpus), tasks, **spread)
    engine = partial(in_order, **spread)
    return embed_sources(
        sources, Path(output), embedder, engine, at_once=at_once, threads=cpus, strict=strict, failed=failed
    )


def in_order(
    work: Callable[[T], R], tasks: Sequence[T], *, actors: int | None = None, cpus: int = 1, gpus: float = 0
) -> Iterator[R]:
    """Yield ``work(task)`` for each task, in order and once, as :func:`mamp.workers.in_order` does, on a Ray cluster.

    Args:
        work: Can be pickled; each actor has a copy.
        tasks: Can be pickled.
        actors: How many at most; as many as the cluster has processors or GPUs for by default.
        cpus: Processors, and threads of torch, of each actor.
        gpus: GPUs, or a part of one, of each actor.

    Raises:
        WorkerError: Ray gave up.
    """
    waiting: dict[int, R] = {}
    number = 0
    try:
        for row in _map(_Actor, (work, cpus), tasks, actors=actors, cpus=cpus, gpus=gpus).iter_rows():
            key, result = pickle.loads(row["result"])
            if key >= number:  # else Ray did again what was here already
                waiting[key] = result
            while number in waiting:
                yield waiting.pop(number)
                number += 1
    except _ray().exceptions.RayError as error:
        reason = "".join(str(error).strip().splitlines()[-1:])
        raise WorkerError(f"Ray gave up ({reason}). What was done is kept; call again to go on.") from error
    if number < len(tasks):
        raise WorkerError(f"Ray lost {len(tasks) - number} of {len(tasks)} pieces of work. Call again to go on.")


class _Actor:
    """Works on tasks for :func:`in_order`; Ray calls it with batches of one."""

    def __init__(self, work: Callable[[Any], Any], threads: int) -> None:
        torch.set_num_threads(threads)
        self.work = work

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        number, task = pickle.loads(batch["task"][0])
        return {"result": np.array([pickle.dumps((number, self.work(task)))], object)}


class _Rows:
    """Embeds into rows of a table; Ray calls it with batches of one task."""

    def __init__(self, embedder: Embedder, threads: int) -> None:
        torch.set_num_threads(threads)
        self.embedder = embedder

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        options, config = self.embedder.options, self.embedder.encoder.config
        table: dict[str, list[Any]] = {"file": [], "row": [], "embedding": [], "error": []}
        for name, array, error in self.embedder(pickle.loads(batch["task"][0])[1]):
            rows = [np.full(config.embedding_dim, np.nan, np.float32)] if array is None else array
            if array is not None and options.pool == "clip" and options.window is None:
                rows = array[None]
            for row, embedding in enumerate(rows):
                for column, value in zip(table, (name, row, embedding, error or ""), strict=True):
                    table[column].append(value)
        return {name: np.array(values) for name, values in table.items()}


def _map(
    actor: type, arguments: tuple[Any, ...], tasks: Sequence[Any], *, actors: int | None, cpus: int, gpus: float
) -> Any:
    """A dataset of Ray with what a pool of actors makes of the tasks."""
    ray = _ray()
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(include_dashboard=False, log_to_driver=False)
    if actors is None:
        have = ray.cluster_resources()
        actors = int(have.get("GPU", 0) / gpus if gpus else have.get("CPU", 1) // cpus)
    items = [{"task": pickle.dumps(task)} for task in enumerate(tasks)]
    given = ray.data.from_items(items, override_num_blocks=max(1, min(len(items), BLOCKS)))
    given.context.enable_progress_bars = False
    return given.map_batches(
        actor,
        fn_constructor_args=arguments,
        batch_size=1,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, min(actors, len(items)))),
        num_cpus=cpus,
        num_gpus=gpus,
    )


def _paths(dataset: Any) -> Sequence[StrPath]:
    """The paths in what a user gave."""
    if isinstance(dataset, str | os.PathLike):
        path = Path(dataset)
        if path.suffix != ".parquet":
            if not path.exists():
                raise MissingFileError(f"{path}: expected a folder, a store or a list of paths, found nothing.")
            return [path]
        from pyarrow import parquet

        names = parquet.read_schema(path).names if path.is_file() else parquet.read_table(path).column_names
        return [str(one) for one in parquet.read_table(path, columns=[_name(names)]).column(0).to_pylist()]
    if hasattr(dataset, "iter_rows"):
        column = _name(dataset.columns())
        return [str(row[column]) for row in dataset.iter_rows()]
    return list(dataset)


def _name(columns: Sequence[str]) -> str:
    found = [name for name in ("file", "path") if name in columns]
    if not found:
        raise DataError(f"expected a column file or path, found {', '.join(columns) or 'none'}.")
    return found[0]


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError(f"many machines need Ray ({error}): pip install 'mamp[ray]'.") from None
    return ray
