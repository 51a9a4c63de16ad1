"""Several files of one folder that belong together: all old or all new, whenever the process that writes is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mamp.outputs import folder_beside

READY = ".saved"


@contextmanager
def file_set(folder: Path) -> Iterator[Path]:
    """A temporary folder for files that replace those of ``folder``, which is created; its other files stay.

    At the end the temporary folder is renamed: from then on its files count, and :func:`settle` moves them to their
    names, here or before the folder is read.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settle(folder)
    with folder_beside(folder / "saving") as aside:
        yield aside
        for path in aside.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        aside.rename(folder / READY)
    settle(folder)


def settle(folder: Path) -> None:
    """Move the files of a complete set to their names, if a process was killed before it could.

    Raises:
        OSError: The folder cannot be written.
    """
    ready = folder / READY
    if ready.is_dir():
        for entry in list(ready.iterdir()):
            with suppress(FileNotFoundError):  # another process was faster
                entry.replace(folder / entry.name)
        with suppress(OSError):
            ready.rmdir()
