"""Read items in parallel processes, and return the results in order."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from mamp.data.writer import check_clip
from mamp.errors import DataError, MAMPError
from mamp.layouts import get_layout
from mamp.prepare.dataset import Clip, Dataset, Item, ItemResult

Batch = Sequence[Item]


def read_item(dataset: Dataset, item: Item) -> ItemResult:
    """Read one item; errors are part of the result, with paths relative to ``raw``."""
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
        except Exception as error:  # a single file must not stop the run
            logging.getLogger(__name__).debug("%s", item.key, exc_info=True)
            clips, trouble = (), f"unexpected {type(error).__name__}: {error}"
    warnings = tuple((str(record.msg), record.getMessage().replace(folder, "")) for record in records)
    if trouble is not None:
        trouble = trouble.replace(folder, "").removeprefix(f"{item.key}: ")
    return ItemResult(item.key, clips, trouble, warnings)


def read_in_order(dataset: Dataset, batches: Sequence[Batch], workers: int) -> Generator[list[ItemResult], None, None]:
    """Yield the results of each batch in order; one worker reads in this process.

    Raises:
        DataError: A worker process was killed.
    """
    workers = min(workers, len(batches))
    if workers <= 1:
        for batch in batches:
            yield [read_item(dataset, item) for item in batch]
        return
    done: dict[int, list[ItemResult]] = {}
    sent = 0
    with _started(dataset, workers) as connections:
        waiting = dict.fromkeys(connections, 0)  # number of pending batches
        for number in range(len(batches)):
            while number not in done:
                # Keep a second batch ready for each worker, but bound the results that wait for their turn.
                while sent < min(len(batches), number + 4 * workers) and min(waiting.values()) < 2:
                    free = min(connections, key=waiting.__getitem__)
                    with _told_if_killed():
                        free.send((sent, batches[sent]))
                    waiting[free] += 1
                    sent += 1
                ready = wait([one for one in connections if waiting[one]])
                for connection in [one for one in connections if one in ready]:
                    with _told_if_killed():
                        key, results = connection.recv()
                    done[key] = results
                    waiting[connection] -= 1
            yield done.pop(number)


@contextmanager
def _told_if_killed() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError):
        raise DataError(
            "a process that reads files was killed, perhaps for lack of memory. Run the same command to resume; fewer "
            "workers need less memory."
        ) from None


@contextmanager
def _started(dataset: Dataset, workers: int) -> Iterator[list[Connection]]:
    """Start worker processes, and kill them at the end; yields the connections.

    Each has its own pipe: with the shared queue of ``concurrent.futures``, a process killed while it writes can block
    the others.
    """
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(kind)
    if kind == "forkserver":
        from multiprocessing import forkserver

        context.set_forkserver_preload([__name__, type(dataset).__module__])
        with _interrupts_ignored():  # inherited by the server: Ctrl-C must not reach it
            forkserver.ensure_running()
    processes: list[Any] = []
    connections: list[Connection] = []
    try:
        for _ in range(workers):
            here, there = context.Pipe()
            connections.append(here)
            process = context.Process(target=_work, args=(dataset, there), daemon=True)
            process.start()
            processes.append(process)
            there.close()
        yield connections
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        for connection in connections:
            connection.close()


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


def _work(dataset: Dataset, connection: Connection) -> None:
    """Read batches for the parent, which handles signals, until it exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.freeze()  # keeps the memory of imported modules shared
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    with suppress(EOFError, ConnectionError):
        while True:
            key, batch = connection.recv()
            connection.send((key, [read_item(dataset, item) for item in batch]))


@contextmanager
def captured_warnings() -> Iterator[list[logging.LogRecord]]:
    """Collect warnings of the package instead of showing them."""
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
