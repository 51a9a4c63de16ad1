"""Shared by all commands: output, messages, argument types and exit statuses."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from mamp import interrupts
from mamp.errors import MAMPError

DONE, FAILED, USAGE_ERROR, INTERRUPTED, BROKEN_PIPE, TERMINATED = 0, 1, 2, 130, 141, 143
EXIT_STATUSES = "exit status: 0 done; 1 could not do it, or not wholly; 2 wrong usage; 130 interrupted"


class Parser(argparse.ArgumentParser):
    """Argument parser that reports errors in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(USAGE_ERROR, f"{self.prog}: error: {message}\n")


def positive(text: str) -> int:
    """Argument type: a whole number above zero."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above zero, found {text}")
    return number


def numbers(text: str) -> tuple[int, ...]:
    """Argument type: whole numbers from zero on, separated by commas."""
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise argparse.ArgumentTypeError(f"expected whole numbers separated by commas, found {text!r}")
    return tuple(map(int, words))


def words(text: str) -> tuple[str, ...]:
    """Argument type: words separated by commas, or none."""
    return () if text in ("", "none") else tuple(word.strip() for word in text.split(","))


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise :class:`Terminated` on the first SIGTERM, and ignore further ones while cleaning up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(*_: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say(text: str) -> None:
    """Write a line to standard output."""
    if sys.stdout is None:  # closed before the process began
        raise BrokenPipeError
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say_result(as_json: bool, data: dict[str, Any], text: str) -> None:
    """Write a result: ``data`` as JSON if ``as_json``, else ``text``."""
    say(json.dumps(data, indent=2, ensure_ascii=False) if as_json else text)


def complain(prog: str, message: str) -> None:
    """Write a line to standard error."""
    with suppress(OSError):
        sys.stderr.write(f"{prog}: {message}\n")


@contextmanager
def messages(prog: str, level: int, once: tuple[str, ...] = ()) -> Iterator[None]:
    """Show log messages of the package on standard error.

    Args:
        prog: Prefix of the messages.
        level: Minimum level.
        once: Loggers of which only the first message of each kind is shown; the others are counted.
    """
    logger, handler = logging.getLogger("mamp"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"{prog}: %(message)s"))
    kinds: Counter[str] = Counter()

    def is_first(record: logging.LogRecord) -> bool:
        if not record.name.startswith(once):
            return True
        kinds[str(record.msg)] += 1
        return kinds[str(record.msg)] == 1

    handler.addFilter(is_first)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        if more := kinds.total() - len(kinds):
            complain(prog, f"{more} more messages of the same kinds; --debug shows them all.")
        logger.removeHandler(handler)
        logger.setLevel(before)


def entry(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Decorate the ``main`` of a command, so that failures to write its output affect the exit status."""

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        if sys.stderr is None:  # closed by the parent process
            sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
        status = DONE
        try:
            status = main(argv)
            _flush()
        except OSError as error:
            _discard_output()
            if status == DONE and isinstance(error, BrokenPipeError):
                return BROKEN_PIPE
            if status == DONE:
                complain("mamp", f"error: {error}")
                return FAILED
        return status

    return run


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _discard_output() -> int:
    """Redirect standard output, so that the final flush of the interpreter succeeds."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def exit_status(
    prog: str, work: Callable[[], int], debug: bool = False, untold: tuple[type[BaseException], ...] = ()
) -> int:
    """Run ``work``, and convert errors to a line on standard error and an exit status.

    Args:
        prog: Prefix of the line.
        work: Returns its own exit status.
        debug: Show the traceback as well.
        untold: Errors reported by another process.
    """
    try:
        with interrupts.raised():
            status = work()
            _flush()
        return status
    except BrokenPipeError:
        return _discard_output()
    except _failures() as error:
        if debug:
            traceback.print_exc()
        terminated, interrupted = isinstance(error, Terminated), isinstance(error, KeyboardInterrupt)
        if not isinstance(error, untold):
            complain(
                prog, "terminated" if terminated else "interrupted" if interrupted else f"error: {_one_line(error)}"
            )
        return TERMINATED if terminated else INTERRUPTED if interrupted else FAILED


def _failures() -> tuple[type[BaseException], ...]:
    """Errors that are reported in a line; that of torch once torch is imported, so that other commands start fast."""
    return (KeyboardInterrupt, MAMPError, OSError, *_out_of_memory())


def _out_of_memory() -> tuple[type[RuntimeError], ...]:
    return (sys.modules["torch"].OutOfMemoryError,) if "torch" in sys.modules else ()


def _one_line(error: BaseException) -> str:
    """Message of an error, without the traceback that data-loading workers add."""
    text = str(error).strip()
    if isinstance(error, _out_of_memory()):
        return f"the device has too little memory; take fewer clips at a time ({text.splitlines()[0]})"
    if "\nOriginal Traceback" in text:
        text = text.splitlines()[-1].partition(": ")[2]
    return text
