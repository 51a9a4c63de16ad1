"""Build the store of a dataset in parallel and resumably, report, and dry run."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mamp.errors import DataError
from mamp.outputs import through_links
from mamp.prepare.dataset import Dataset, Item, ItemResult, Listing
from mamp.prepare.journal import Journal, tidy, work_folder
from mamp.prepare.outcome import Outcome
from mamp.prepare.pool import read_in_order, read_item
from mamp.readers.archive import member_stamp, split_archive
from mamp.workers import cores

logger = logging.getLogger(__name__)

BATCH_ITEMS = 16
BATCH_BYTES = 4 << 20  # of raw files; work lost by a kill
SAMPLE = 48  # files read by a dry run
SHOWN = 20  # failed files that are logged individually


@dataclass(frozen=True)
class Settings:
    """Options that do not affect the content of the store.

    Attributes:
        workers: Number of processes; by default that of the cores.
        strict: Stop at the first file that cannot be used, and write nothing.
        overwrite: Replace an existing store.
        restart: Discard the work of an unfinished run.
    """

    workers: int | None = None
    strict: bool = False
    overwrite: bool = False
    restart: bool = False

    def processes(self) -> int:
        """Number of processes."""
        return cores() if self.workers is None else self.workers


def prepare(dataset: Dataset, output: Path, settings: Settings | None = None) -> dict[str, Any]:
    """Build the store of a dataset, or resume an unfinished run; returns the content of ``report.json``.

    Raises:
        MissingFileError: There is nothing to read.
        DataError: The output exists or cannot be written, or no file can be used (with ``strict``: any file).
    """
    settings, output = settings or Settings(), through_links(output)
    tidy(output)
    check_output(output, settings.overwrite, dataset.raw)
    listing, sizes, files = _list(dataset, output, settings)
    plan = {"options": dataset.options(), "kind": type(dataset).__name__, "layout": dataset.layout, "files": files}
    with Journal(output, dataset.layout, plan, settings.restart) as journal:
        _read(dataset, journal, list(zip(listing.items, sizes, strict=True)), settings)
        report = _complete(journal.outcome, listing).to_dict()
        if not report["clips"]:
            journal.remove()
            first = next((f" The first: {key}: {why}" for key, why in report["failed"].items()), "")
            raise DataError(
                f"{dataset.raw}: none of the {len(listing.items)} files could be used; {output} was not written.{first}"
            )
        return journal.finish(dataset.info(), report)


def _read(dataset: Dataset, journal: Journal, items: list[tuple[Item, int]], settings: Settings) -> None:
    """Read the items that are not in the journal."""
    if journal.done:
        logger.warning("resuming after %d of %d files", journal.done, len(items))
    logged = len(journal.outcome.failed)
    bar = tqdm(total=len(items), initial=journal.done, unit="file", delay=2, disable=None, smoothing=0.05)
    reading = closing(read_in_order(dataset, _batches(items[journal.done :]), settings.processes()))
    with bar, reading as batches:
        for results in batches:
            failed = [result for result in results if result.error is not None]
            logged = _log(failed, logged)
            if failed and settings.strict:
                journal.remove()
                raise DataError(_strict(failed[0].key, str(failed[0].error), journal.output))
            journal.write(results)
            bar.update(len(results))


def dry_run(dataset: Dataset, output: Path, settings: Settings | None = None) -> dict[str, Any]:
    """Estimate the result and duration of :func:`prepare` from a sample of files, without writing anything."""
    settings = settings or Settings()
    check_output(output, settings.overwrite, dataset.raw)
    listing, sizes, _ = _list(dataset, output, settings)
    count = min(SAMPLE, len(listing.items))
    chosen = [index * len(listing.items) // count for index in range(count)]
    began = time.perf_counter()
    results = [read_item(dataset, listing.items[index]) for index in chosen]
    seconds = time.perf_counter() - began
    clips = [clip for result in results for clip in result.clips]
    share = sum(sizes) / max(1, sum(sizes[index] for index in chosen)) if count else 0.0
    values = sum(clip.positions.size for clip in clips)
    parent = next(folder for folder in [output.parent, *output.absolute().parents] if folder.exists())
    return {
        "output": str(output),
        "files": len(listing.items),
        "bytes_raw": sum(sizes),
        "failed": listing.failed,
        "left_out": {why: len(keys) for why, keys in _complete(Outcome(), listing).left_out.items()},
        "sampled": count,
        "sampled_failed": {result.key: result.error for result in results if result.error is not None},
        "clips": round(len(clips) * share),
        "frames": round(sum(clip.positions.shape[1] for clip in clips) * share),
        "bytes": round(values * 4 * share),
        "bytes_free": shutil.disk_usage(parent).free,
        "workers": settings.processes(),
        "seconds": round(seconds * share / settings.processes(), 1),
        "begun": work_folder(output).exists(),
    }


def dry_run_text(found: dict[str, Any]) -> str:
    """Format :func:`dry_run` as text."""
    lines = [
        f"{found['output']}: would be made of {found['files']} files, {_size(found['bytes_raw'])}",
        f"  about {found['clips']} clips, {found['frames']} frames, {_size(found['bytes'])}"
        f" ({_size(found['bytes_free'])} free there)",
        f"  about {found['seconds']:g} s with {found['workers']} processes",
    ]
    lines += [f"  left out on purpose: {count} ({why})" for why, count in found["left_out"].items()]
    failed = {**found["failed"], **found["sampled_failed"]}
    lines += [f"  cannot be used: {key}: {why}" for key, why in list(failed.items())[:SHOWN]]
    if found["begun"]:
        lines.append("  an earlier run is unfinished; this command resumes it")
    if found["bytes"] > found["bytes_free"]:
        lines.append("  there is not enough free space")
    return "\n".join(lines)


def check_output(output: Path, overwrite: bool, *raw: Path) -> None:
    """Raise :class:`DataError` unless the store may be written there: only stores are replaced, and never raw data."""
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        if not all((output / name).is_file() for name in ("meta.json", "clips.npz", "positions.bin")):
            raise DataError(f"{output}: exists and is not a store of clips; name a folder that does not exist.")
        if not overwrite:
            raise DataError(f"{output}: there is a store already; the option overwrite replaces it.")
    for one in raw:
        inner, outer = output.resolve(), one.resolve()
        if inner == outer or outer in inner.parents or inner in outer.parents:
            raise DataError(f"{output}: output and raw data ({one}) may not lie in one another; name another output.")


def _list(dataset: Dataset, output: Path, settings: Settings) -> tuple[Listing, list[int], str]:
    """The listing, the size of each item, and a hash of names, sizes and times."""
    listing = dataset.list_items()
    folder = f"{dataset.raw}{os.sep}"
    failed = {key: why.replace(folder, "").removeprefix(f"{key}: ") for key, why in listing.failed.items()}
    listing = replace(listing, failed=failed)
    for key, why in list(listing.failed.items())[:SHOWN]:
        logger.warning("left out %s: %s", key, why.partition("\n")[0])
    if listing.failed and settings.strict:
        raise DataError(_strict(*next(iter(listing.failed.items())), output))
    if not listing.items:
        raise DataError(f"{dataset.raw}: none of the files found can be used; {output} was not written.")
    digest = hashlib.sha256()
    sizes = []
    for item in listing.items:
        size, stamp = _stamp(item.path)
        sizes.append(size)
        digest.update(f"{item.key}\0{size}\0{stamp}\n".encode())
    return listing, sizes, digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    """Size and modification time of a file; zeros if it cannot be accessed, which is reported when it is read."""
    try:
        stat = path.stat()
        return stat.st_size, stat.st_mtime_ns
    except OSError:
        inside = split_archive(path)
        return (0, 0) if inside is None else member_stamp(*inside)


def _batches(items: Sequence[tuple[Item, int]]) -> list[list[Item]]:
    """Split items into consecutive batches of similar size."""
    batches: list[list[Item]] = []
    count, size = BATCH_ITEMS, BATCH_BYTES
    for item, bytes_of_item in items:
        if count >= BATCH_ITEMS or size >= BATCH_BYTES:
            batches.append([])
            count = size = 0
        batches[-1].append(item)
        count, size = count + 1, size + bytes_of_item
    return batches


def _log(failed: list[ItemResult], logged: int) -> int:
    for result in islice(failed, max(0, SHOWN - logged)):
        logger.warning("left out %s: %s", result.key, str(result.error).partition("\n")[0])
    if logged < SHOWN <= logged + len(failed):
        logger.warning("further files that cannot be used are in the report only")
    return logged + len(failed)


def _complete(outcome: Outcome, listing: Listing) -> Outcome:
    """Add the results of the listing."""
    outcome.files = len(listing.items) + len(listing.failed)
    outcome.failed.update(listing.failed)
    for key, why in listing.left_out.items():
        outcome.left_out.setdefault(why, []).append(key)
    return outcome


def _strict(key: str, why: str, output: Path) -> str:
    return f"{key}: {why} {output} was not written; without the option strict such a file is left out and reported."


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
