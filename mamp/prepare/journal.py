"""The work folder of a preparation, from which a killed run resumes.

Items are written in order, one batch at a time: first the positions, appended to the files of the store, then a line in
the journal with the index of the clips, and the size and checksum of the files after them. A resumed run verifies the
files, and truncates what follows the last complete batch, so that the store does not depend on interruptions.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from mamp.data.writer import StoreFiles, write_all
from mamp.errors import DataError
from mamp.layouts import get_layout
from mamp.outputs import changed_fields, dump_json, lock, put_in_place, remove_leftovers, write_whole
from mamp.prepare.dataset import Clip, ItemResult
from mamp.prepare.outcome import Outcome

logger = logging.getLogger(__name__)

VERSION = 2
BUSY = "{}: another run is preparing it; wait, or name another output."


class Journal:
    """The work folder of one output, as a context manager that locks it.

    Args:
        output: The store.
        layout: Name of the layout of its clips.
        plan: Everything that the clips depend on; only a run with the same plan can resume.
        restart: Discard previous work.

    Attributes:
        done: Number of items written.
        outcome: Counts over these items.

    Raises:
        DataError: The folder has another plan, is damaged, locked by another run, or not writable.
    """

    def __init__(self, output: Path, layout: str, plan: dict[str, Any], restart: bool = False) -> None:
        self.output, self.work = output, work_folder(output)
        self.layout = get_layout(layout)
        self.plan = json.loads(json.dumps({"version": VERSION, **plan}))
        self.restart = restart
        self.done = 0
        self.outcome = Outcome()
        self._stores: dict[str, StoreFiles] = {}
        self._open = ExitStack()

    def __enter__(self) -> Journal:
        try:
            with ExitStack() as self._open:
                self.work.mkdir(parents=True, exist_ok=True)
                self._open.enter_context(lock(self.work / "lock", DataError(BUSY.format(self.output))))
                self._claim()
                self._resume()
                self._open = self._open.pop_all()
        except OSError as error:
            raise self.trouble(error) from None
        return self

    def __exit__(self, *error: object) -> None:
        """Close all files; the folder stays."""
        self._open.close()

    def remove(self) -> None:
        """Delete all work."""
        self._open.close()
        shutil.rmtree(self.work, ignore_errors=True)

    def write(self, results: list[ItemResult]) -> None:
        """Write the next items; :class:`DataError` if the disk is full, or the clips of a store do not match."""
        items = []
        try:
            for result in results:
                rows = [self._add(clip) for clip in result.clips]
                item = {"key": result.key, "clips": rows, "error": result.error, "warnings": result.warnings}
                items.append({name: value for name, value in item.items() if value})
            marks = {name: self._stores[name].marks for name in _stores_of(items)}
            line = json.dumps({"items": items, "marks": marks}, ensure_ascii=False)
            write_all(self._lines, f"{line}\n".encode())
        except OSError as error:
            raise self.trouble(error) from None
        self._count(items)

    def finish(self, info: Mapping[str, Any], report: dict[str, Any]) -> dict[str, Any]:
        """Complete the store, move it into place, and remove the work folder.

        Args:
            info: Content of ``meta.json`` of every store.
            report: Content of ``report.json``; returned with checksums.
        """
        try:
            sums = {name: files.finish(info) for name, files in sorted(self._stores.items())}
            named = {f"{name}/{file}" if name else file: sum for name, one in sums.items() for file, sum in one.items()}
            report = {**report, "sha256": named}
            text = dump_json(report) + "\n"
            (self.work / "store" / "report.json").write_text(text, encoding="utf-8")
            write_whole(self.work / "finished", text)
            put_in_place(self.work / "store", self.output)
        except OSError as error:
            raise self.trouble(error) from None
        self.remove()
        return report

    def trouble(self, error: OSError) -> DataError:
        """The error for a failed write."""
        text = f"{self.output}: cannot write the store ({error})."
        if self.work.exists():
            text += f" Completed work is kept in {self.work}; run the same command to resume."
        return DataError(text)

    def _store(self, name: str) -> StoreFiles:
        if name not in self._stores:
            self._stores[name] = StoreFiles(self.work / "store" / name, self.layout)
            self._open.callback(self._stores[name].close)
        return self._stores[name]

    def _add(self, clip: Clip) -> dict[str, Any]:
        """Append a clip to its store, and return its entry in the journal."""
        people, frames = clip.positions.shape[:2]
        fps, columns = float(clip.fps or 0.0), {name: _plain(value) for name, value in clip.columns.items()}
        self._store(clip.store).add(clip.name, clip.positions, fps, clip.confidence, columns)
        return {
            "index": {"name": clip.name, "people": people, "frames": frames, "fps": fps, "columns": columns},
            "store": clip.store,
            "dropped_frames": clip.dropped_frames,
            "dropped_people": clip.dropped_people,
        }

    def _count(self, items: list[dict[str, Any]]) -> None:
        for item in items:
            self.outcome.add_item(item)
        self.done += len(items)

    def _claim(self) -> None:
        """Start, or check that previous work has the same plan."""
        path = self.work / "plan.json"
        if self.restart or not path.exists():
            for entry in self.work.iterdir():
                if entry.name == "store":
                    shutil.rmtree(entry)
                elif entry.name != "lock":
                    entry.unlink()
            write_whole(path, dump_json(self.plan))
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path}: damaged ({error}); discard the work with the option restart.") from None
        if found != self.plan:
            keys = list(dict.fromkeys(name.partition(".")[0] for name in changed_fields(found, self.plan)))
            raise DataError(
                f"{self.output}: its preparation was begun otherwise ({', '.join(keys)} differ); repeat the original "
                "command, or discard the work with the option restart."
            )

    def _resume(self) -> None:
        """Load the complete batches of an earlier run."""
        (self.work / "store").mkdir(exist_ok=True)
        path = self.work / "journal.jsonl"
        self._lines = self._open.enter_context(path.open("a+b", buffering=0))
        end = 0
        for text in path.read_bytes().splitlines(keepends=True):
            line = _parse(text)
            if line is None:
                break
            if not all(self._store(name).holds(marks) for name, marks in line["marks"].items()):
                logger.warning("%s: damaged after item %d; that part is done again.", self.work, self.done)
                break
            for item in line["items"]:
                for clip in item.get("clips", ()):
                    self._stores[clip["store"]].index(**clip["index"])
            for name, marks in line["marks"].items():
                self._stores[name].marks.update({file: tuple(mark) for file, mark in marks.items()})
            self._count(line["items"])
            end += len(text)
        self._lines.truncate(end)


def work_folder(output: Path) -> Path:
    """Folder of the unfinished work on an output."""
    return output.with_name(f".{output.name}.preparing")


def tidy(output: Path) -> None:
    """Clean up after a killed run: recover its store, and remove leftovers and the work of a finished store."""
    remove_leftovers(output)
    work = work_folder(output)
    with suppress(OSError):
        if (work / "finished").read_bytes() == (output / "report.json").read_bytes():
            shutil.rmtree(work, ignore_errors=True)


def _stores_of(items: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(clip["store"] for item in items for clip in item.get("clips", ())))


def _parse(text: bytes) -> dict[str, Any] | None:
    """Parse a line of the journal; ``None`` if it is cut or damaged."""
    try:
        return json.loads(text) if text.endswith(b"\n") else None
    except ValueError:
        return None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
