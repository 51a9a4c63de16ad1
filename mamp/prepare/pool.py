"""Read items in parallel processes, and return the results in order."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Sequence

from mamp.data.writer import check_clip
from mamp.errors import DataError, MAMPError, WorkerError
from mamp.layouts import get_layout
from mamp.prepare.dataset import Clip, Dataset, Item, ItemResult
from mamp.workers import captured_warnings, in_order

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
        DataError: Worker processes were killed, again and again at the same batch.
    """
    try:
        yield from in_order(_BatchReader(dataset), batches, min(workers, len(batches)))
    except WorkerError as error:
        raise DataError(
            f"a process that reads files was killed, perhaps for lack of memory ({error}) Run the same command to "
            "resume; fewer workers need less memory."
        ) from None


class _BatchReader:
    """Reads the items of a batch."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __call__(self, batch: Batch) -> list[ItemResult]:
        return [read_item(self.dataset, item) for item in batch]
