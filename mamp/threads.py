"""Threads that take whole pieces of work, each with torch's operators on itself alone.

An operator on several threads waits after every few microseconds of work for the slowest of them. Where another program
takes the core of one, all wait for it, thousands of times a second. Here a thread takes a piece that lasts
milliseconds, such as a body, and waits for nobody. The pieces are the same for any number of threads, and so are the
results, bit for bit.

Each of up to :data:`MOST_THREADS` callers has a thread at once, so that those of a server get as much of a busy machine
as threads of their own would. Further ones come where the callers together have fewer than the machine has cores, and
go where they have more.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch

LOOK_UP = 0.1  # seconds
CORES = os.cpu_count() or 1
MOST_THREADS = max(16, 2 * CORES)  # of all callers together; further callers wait

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")

_here = threading.local()  # .available: threads to share with, where it is not what torch has here
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_counts = threading.Lock()
_at_work = 0  # threads, of all callers


def share(function: Callable[[_Piece], _Result], pieces: Sequence[_Piece]) -> Iterator[_Result]:
    """Apply a function to each piece, on as many threads as torch has here; yield the results in order, as they come.

    The threads see the modes of torch of the calling thread (gradients, inference, autocast). Where nothing can be
    shared, the calling thread does everything itself: with one thread or one piece, inside of another ``share``, and
    while a mode of torch watches the operators of this thread. When a piece fails, or the caller stops before the end,
    no further piece is begun, and those under way are awaited.
    """
    number = min(available(), len(pieces))
    return map(function, pieces) if number < 2 else _share(function, pieces, number)


def _share(function: Callable[[_Piece], _Result], pieces: Sequence[_Piece], number: int) -> Iterator[_Result]:
    results = deque[Future[_Result]](Future() for _ in pieces)
    coming = iter(list(zip(pieces, results, strict=True)))
    enter = _modes()

    def work() -> None:
        with enter():
            while team.goes_on():
                chosen = next(coming, None)  # of a list: goes to one thread only
                if chosen is None:
                    team.end()
                    continue
                piece, result = chosen
                try:
                    result.set_result(function(piece))
                except BaseException as error:
                    result.set_exception(error)
                    team.end()

    team = _Team(work, number)
    try:
        team.grow()
        while results:
            result = results.popleft()
            _wait([result])
            yield result.result()
    finally:
        team.end()
        _wait(team.futures)
        del team.work  # which knows the team: nothing waits for the collector of circles


class _Team:
    """The threads of one caller: one until it has ended, at most ``most``."""

    def __init__(self, work: Callable[[], None], most: int) -> None:
        self.work, self.most = work, most
        self.futures: list[Future[None]] = []
        self._size, self._ended = 0, False

    def grow(self) -> None:
        """Begin to work in the first thread, and in further ones while cores are free."""
        global _at_work
        with _counts:
            while not self._ended and (not self._size or (self._size < self.most and _at_work < CORES)):
                self.futures.append(_workers().submit(self.work))
                self._size, _at_work = self._size + 1, _at_work + 1

    def goes_on(self) -> bool:
        """Whether the thread that asks shall do another piece; if not, it counts no longer."""
        global _at_work
        self.grow()
        with _counts:
            if not self._ended and (self._size == 1 or _at_work <= CORES):
                return True
            self._size, _at_work = self._size - 1, _at_work - 1
            return False

    def end(self) -> None:
        """No thread shall do another piece."""
        with _counts:
            self._ended = True


def _wait(futures: list[Future[Any]]) -> None:
    """Wait, but look up now and then: a signal that came to another thread is handled when this one moves."""
    while wait(futures, LOOK_UP).not_done:
        pass


def available() -> int:
    """How many threads :func:`share` takes at most, called from here."""
    watched = torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack()
    return 1 if watched else getattr(_here, "available", None) or _operator_threads()


@contextmanager
def operators_alone() -> Iterator[None]:
    """Keep operators of the calling thread on that thread, while :func:`share` takes as many threads as before."""
    before, threads = getattr(_here, "available", None), _operator_threads()
    _here.available = before or threads
    _set_threads(1)
    try:
        yield
    finally:
        _here.available = before
        _set_threads(threads)


def _workers() -> ThreadPoolExecutor:
    """The threads of this process, which all callers share."""
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(MOST_THREADS, "mamp", _begin)
        return _pool


def _begin() -> None:
    """One thread an operator, and nothing further to share, in a thread of the pool."""
    _here.available = 1
    _set_threads(1)


def _operator_threads() -> int:
    """How many threads the operators of this thread take; the first question waits until no thread is being set."""
    if getattr(_here, "asked", False):
        return torch.get_num_threads()
    with _lock:
        _here.asked = True
        return torch.get_num_threads()


def _set_threads(number: int) -> None:
    """Set how many threads the operators of this thread take, which torch keeps for each thread.

    It also gives the last number that any thread set to threads that come later; what they had had is put back.
    """
    if _operator_threads() == number:
        return
    with _lock:
        found: list[int] = []
        _in_new_thread(lambda: found.append(torch.get_num_threads()))
        torch.set_num_threads(number)
        _in_new_thread(lambda: torch.set_num_threads(found[0]))


def _in_new_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def _forget() -> None:
    """A forked process has none of the threads, and the lock may have been held."""
    global _pool, _lock, _counts, _at_work
    _pool, _lock, _counts, _at_work = None, threading.Lock(), threading.Lock(), 0
    _here.available = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _modes() -> Callable[[], ExitStack]:
    """A function that enters the modes of the thread that is now here."""
    gradient, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    autocast = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu")

    def enter() -> ExitStack:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(inference))
            stack.enter_context(torch.set_grad_enabled(gradient))
            stack.enter_context(torch.autocast("cpu", dtype, autocast, cache_enabled=False))
            return stack.pop_all()

    return enter
