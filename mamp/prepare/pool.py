"""Read items in several processes, in order, with a bounded number in flight."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait

from mamp.data.writer import check_clip
from mamp.errors import DataError, MAMPError
from mamp.layouts import get_layout
from mamp.prepare.dataset import Clip, Dataset, Item, ItemResult

Batch = Sequence[Item]
_dataset: Dataset  # of a worker process


def read_item(dataset: Dataset, item: Item) -> ItemResult:
    """Read one item; errors become part of the result, with paths relative to ``raw``."""
    folder = f"{dataset.raw}{os.sep}"
    with captured_warnings() as records:
        clips: tuple[Clip, ...] = ()
        trouble = None
        try:
            clips = tuple(dataset.read(item))
            for clip in clips:
                check_clip(clip.name, clip.positions, clip.confidence, get_layout(dataset.layout))
        except (MAMPError, OSError) as error:
            clips, trouble = (), str(error)
        except MemoryError:
            clips, trouble = (), "needs more memory than there is"
        except Exception as error:  # one file must not stop thousands of others
            logging.getLogger(__name__).debug("%s", item.key, exc_info=True)
            clips, trouble = (), f"unexpected {type(error).__name__}: {error}"
    warnings = tuple((str(record.msg), record.getMessage().replace(folder, "")) for record in records)
    if trouble is not None:
        trouble = trouble.replace(folder, "").removeprefix(f"{item.key}: ")
    return ItemResult(item.key, clips, trouble, warnings)


def read_in_order(dataset: Dataset, batches: Sequence[Batch], workers: int) -> Iterator[list[ItemResult]]:
    """Yield the results of each batch, in order.

    Args:
        dataset: Reads.
        batches: Items.
        workers: Number of processes; 1 reads in this process.

    Raises:
        DataError: A worker process was killed.
    """
    workers = min(workers, len(batches))
    if workers <= 1:
        for batch in batches:
            yield [read_item(dataset, item) for item in batch]
        return
    # The server that forks the workers imports once what all of them need.
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(kind)
    context.set_forkserver_preload([__name__, type(dataset).__module__])
    if kind == "forkserver":
        from multiprocessing import forkserver

        with _interrupts_ignored():  # inherited: Ctrl-C must not reach the server as it starts
            forkserver.ensure_running()
    pool = ProcessPoolExecutor(workers, context, _begin, (dataset,))
    waiting: deque[Future[list[ItemResult]]] = deque()
    rest = iter(batches)
    try:
        for batch in rest:
            waiting.append(pool.submit(_read_batch, batch))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise DataError(
            "a process that reads files was killed, perhaps for lack of memory. The same command resumes where it was; "
            "fewer workers need less memory."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin(dataset: Dataset) -> None:
    """Set up a worker: it ignores Ctrl-C, which the parent handles, and ends with the parent."""
    global _dataset
    _dataset = dataset
    gc.freeze()  # keeps the memory of imported modules shared between workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _read_batch(batch: Batch) -> list[ItemResult]:
    return [read_item(_dataset, item) for item in batch]


@contextmanager
def captured_warnings() -> Iterator[list[logging.LogRecord]]:
    """Collect the warnings of the package instead of showing them."""
    logger = logging.getLogger("mamp")
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[method-assign,assignment]
    before, propagate, level = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.WARNING)
    try:
        yield records
    finally:
        logger.handlers, logger.propagate = before, propagate
        logger.setLevel(level)
