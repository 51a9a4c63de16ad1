"""Work in several processes: results in order, few tasks in flight, and what a killed process had is done again."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any, TypeVar

from mamp.errors import WorkerError

T = TypeVar("T")
R = TypeVar("R")

FEW = 64  # recordings that a process embeds sooner than others have started
ATTEMPTS = 3  # so often a task may take its process down


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    work: Callable[[T], R], tasks: Iterable[T], processes: int | None = None, few: int = 0
) -> Generator[R, None, None]:
    """Yield ``work(task)`` for each task, in order. The tasks may be endless: few are taken in advance.

    Torch has one thread in each process. When a process is killed, another one takes its place and its tasks.

    Args:
        work: Can be pickled; each process has a copy.
        tasks: Can be pickled.
        processes: All cores by default; 1 works in this process.
        few: So many tasks are done in this process.

    Raises:
        WorkerError: One task took down several processes.
        Exception: What ``work`` raises, in the order of the tasks too.
    """
    processes = cores() if processes is None else processes
    if processes <= 1 or (isinstance(tasks, Sized) and len(tasks) <= few):
        yield from map(work, tasks)
        return
    with _Crew(work, processes) as crew:
        yield from crew.run(tasks)


class _Crew:
    """Processes with a pipe each: one that is killed while it writes must not leave the others waiting."""

    def __init__(self, work: Callable[[Any], Any], processes: int) -> None:
        self.work, self.count = work, processes
        self.processes: dict[Connection, Any] = {}
        self.tasks: dict[Connection, deque[tuple[int, Any]]] = {}  # what each has; it works on the first
        self.again: deque[tuple[int, Any]] = deque()
        self.deaths: Counter[int] = Counter()
        kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self.context: Any = multiprocessing.get_context(kind)

    def __enter__(self) -> _Crew:
        if self.context.get_start_method() == "forkserver":
            from multiprocessing import forkserver

            # The server that forks the processes imports once what all of them need.
            self.context.set_forkserver_preload([__name__, type(self.work).__module__])
            with _interrupts_ignored():  # inherited: Ctrl-C must not reach the server as it starts
                forkserver.ensure_running()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
        for connection, process in self.processes.items():
            process.join()
            connection.close()

    def run(self, tasks: Iterable[Any]) -> Iterator[Any]:
        """Yield the results in order."""
        coming = enumerate(tasks)
        done: dict[int, tuple[bool, Any]] = {}
        number = taken = 0
        while True:
            # A second task lies ready for each process, and few results wait for their turn.
            while self.again or taken < number + 4 * self.count:
                connection = self._free()
                if connection is None:
                    break
                task = self.again.popleft() if self.again else next(coming, None)
                if task is None:
                    break
                taken = max(taken, task[0] + 1)
                self.tasks[connection].append(task)
                try:
                    connection.send(task[1])
                except OSError:
                    self._replace(connection)
            if number in done:
                good, result = done.pop(number)
                if not good:
                    raise result
                yield result
                number += 1
                continue
            busy = [one for one, waiting in self.tasks.items() if waiting]
            if not busy:
                return
            ready = wait(busy)
            for connection in [one for one in busy if one in ready]:
                try:
                    result = connection.recv()
                except (EOFError, OSError):
                    self._replace(connection)
                else:
                    done[self.tasks[connection].popleft()[0]] = result

    def _free(self) -> Connection | None:
        """A process with fewer than two tasks; started when there is none without any, up to the count."""
        best = min(self.tasks, key=lambda one: len(self.tasks[one]), default=None)
        if len(self.processes) < self.count and (best is None or self.tasks[best]):
            here, there = self.context.Pipe()
            process = self.context.Process(target=_work, args=(self.work, there), daemon=True)
            process.start()
            there.close()
            self.processes[here], self.tasks[here] = process, deque()
            return here
        return best if best is not None and len(self.tasks[best]) < 2 else None

    def _replace(self, connection: Connection) -> None:
        """Take back the tasks of a process that is gone."""
        process = self.processes.pop(connection)
        process.kill()
        process.join()
        connection.close()
        tasks = self.tasks.pop(connection)
        self.again.extendleft(reversed(tasks))
        self.deaths[tasks[0][0]] += 1
        logging.getLogger(__name__).debug("a process ended with status %s", process.exitcode)
        if self.deaths[tasks[0][0]] >= ATTEMPTS:
            raise WorkerError(
                f"a process that works for this one was killed {ATTEMPTS} times at the same task (status "
                f"{process.exitcode}), perhaps for lack of memory."
            )


def _work(work: Callable[[Any], Any], connection: Connection) -> None:
    """Do tasks for the parent, which handles signals, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if (torch := sys.modules.get("torch")) is not None:  # reading files does without
        torch.set_num_threads(1)
    gc.freeze()  # keeps the memory of imported modules shared between processes
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    # Taken from the pipe at once, so that the parent never waits for this process to read while it waits to be read.
    tasks: SimpleQueue[Any] = SimpleQueue()

    def take() -> None:
        try:
            while True:
                tasks.put(connection.recv())
        finally:
            os._exit(1)

    threading.Thread(target=take, daemon=True).start()
    with suppress(OSError):
        while True:
            try:
                answer = True, work(tasks.get())
            except Exception as error:
                answer = False, error
            connection.send(answer)


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
