"""Ctrl-C while a command starts or ends: status 130, without the traceback of whatever is being imported.

``import mamp`` takes seconds and comes before any code of a command, so the handler is set as this module is imported,
which ``mamp/__init__.py`` does first. A program that merely uses the package keeps its own handler.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STATUS = 130


def _leave(*_: object) -> None:
    os._exit(STATUS)


def _is_command() -> bool:
    """Whether this process runs ``mamp`` or ``python -m mamp...``."""
    program, words = "".join(sys.argv[:1]), sys.orig_argv
    if program == "-m":  # Python has not found the module yet
        return "".join(words[words.index("-m") + 1 :][:1]).split(".")[0] == "mamp" if "-m" in words else False
    return os.path.basename(program).removesuffix(".exe") == "mamp"  # noqa: PTH119, pathlib takes its time


@contextmanager
def raised() -> Iterator[None]:
    """Inside, Ctrl-C raises :class:`KeyboardInterrupt`, as in any program."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not _leave:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _leave)


if (
    _is_command()
    and threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, _leave)
