"""The work folder beside a store: what is written so far, so that a killed run goes on where it was.

Items are written in their order, a batch at a time: first the positions, appended to the files of the store, then one
line in the journal with the index of these clips, the sizes of the files after them and a check sum of each part. A
run that goes on reads the journal, checks the files against it, and cuts off whatever came after the last whole batch.
So the store is the same to the byte, however often the run was killed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mamp.data.store import put_in_place, write_index
from mamp.errors import DataError
from mamp.layouts import get_layout
from mamp.prepare.report import Report
from mamp.prepare.source import Clip

logger = logging.getLogger(__name__)

VERSION = 1


@dataclass(frozen=True)
class ItemResult:
    """What became of one item.

    Attributes:
        key: The item.
        clips: Its clips.
        error: Why it could not be used.
        warnings: (kind, text) of each warning of the readers.
    """

    key: str
    clips: tuple[Clip, ...] = ()
    error: str | None = None
    warnings: tuple[tuple[str, str], ...] = ()


class _Part:
    """The files of one store: positions, and confidence if there is any; only ever appended to."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.columns: dict[str, list[Any]] = {}
        self.has_confidence = False
        self.rows = 0
        self.hash = hashlib.sha256()
        self.files: dict[str, BinaryIO] = {}
        self.sizes: dict[str, int] = {}

    def append(self, name: str, data: bytes) -> None:
        file = self.open(name)
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        self.sizes[name] = self.sizes.get(name, 0) + len(data)

    def open(self, name: str) -> BinaryIO:
        """A file to append to; what a killed run wrote beyond its journal is cut off."""
        if name not in self.files:
            path, size = self.folder / name, self.sizes.get(name, 0)
            file = self.files[name] = path.open("r+b" if path.exists() else "w+b", buffering=0)
            file.truncate(size)
            file.seek(size)
        return self.files[name]

    def index(self, row: dict[str, Any]) -> None:
        """Add the index of one clip."""
        values = {
            "name": row["name"],
            "first_row": self.rows,
            "people": row["people"],
            "frames": row["frames"],
            "fps": row["fps"],
            **row["columns"],
        }
        if self.columns and set(values) != set(self.columns):
            found = sorted(row["columns"])
            raise DataError(f"{row['name']}: expected the columns of the clips before it, found {found}.")
        if self.columns and row["confidence"] != self.has_confidence:
            raise DataError(f"{row['name']}: either all clips of a store have a tracking confidence, or none.")
        self.has_confidence = row["confidence"]
        for name, value in values.items():
            self.columns.setdefault(name, []).append(value)
        self.rows += row["people"] * row["frames"]


class Journal:
    """The work folder of one output.

    Use as a context manager, which keeps other runs out and the folder for a later one.

    Args:
        output: The store.
        layout: Name of the layout of its clips.
        plan: What the work depends on; going on needs the same.
        restart: Throw away what was done.

    Attributes:
        done: Items that are written.
        report: What became of them.

    Raises:
        DataError: Begun with another plan, damaged, or not writable; another run works on it.
    """

    def __init__(self, output: Path, layout: str, plan: dict[str, Any], restart: bool = False) -> None:
        self.output = output
        self.layout = get_layout(layout)
        self.plan = json.loads(json.dumps({"version": VERSION, **plan}))
        self.work = work_folder(output)
        self.done = 0
        self.report = Report()
        self._parts: dict[str, _Part] = {}
        self._restart = restart
        self._lock: BinaryIO | None = None
        self._lines: BinaryIO | None = None

    def __enter__(self) -> Journal:
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            if self._restart:
                self._clear()
            self._open()
        except OSError as error:
            self.close()
            raise self.trouble(error) from None
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files; the folder stays."""
        files = [file for part in self._parts.values() for file in part.files.values()]
        for file in [*files, self._lines, self._lock]:
            if file is not None:
                file.close()

    def remove(self) -> None:
        """Throw away all work."""
        self.close()
        shutil.rmtree(self.work, ignore_errors=True)

    def write(self, results: list[ItemResult]) -> None:
        """Write the next items.

        Raises:
            DataError: The disk is full or not writable, or clips of one store do not fit together.
        """
        line: dict[str, Any] = {"items": [], "parts": {}}
        try:
            for result in results:
                rows = [self._append(clip, line["parts"]) for clip in result.clips]
                entry = {"key": result.key, "clips": rows, "error": result.error, "warnings": result.warnings}
                line["items"].append({name: value for name, value in entry.items() if value})
            for name, part in line["parts"].items():
                part["sizes"] = dict(self._parts[name].sizes)
            assert self._lines is not None
            text = memoryview((json.dumps(line, ensure_ascii=False) + "\n").encode())
            while text:
                text = text[self._lines.write(text) :]
        except OSError as error:
            raise self.trouble(error) from None
        self._count(line)

    def finish(self, info: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
        """Make the store of it, put it in its place, and clear the work away.

        Args:
            info: For ``meta.json`` of every store.
            report: For ``report.json``.

        Returns:
            The report, with check sums.
        """
        try:
            for part in self._parts.values():
                write_index(part.folder, self.layout, part.columns, part.hash.hexdigest(), part.has_confidence, info)
            digests = {}
            for name, part in sorted(self._parts.items()):
                digests[_file(name, "positions.bin")] = part.hash.hexdigest()
                digests[_file(name, "clips.npz")] = hashlib.sha256((part.folder / "clips.npz").read_bytes()).hexdigest()
            report = {**report, "sha256": digests}
            text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
            (self.work / "store" / "report.json").write_text(text, encoding="utf-8")
            for part in self._parts.values():
                for file in part.files.values():
                    file.close()
            put_in_place(self.work / "store", self.output)
        except OSError as error:
            raise self.trouble(error) from None
        self.remove()
        return report

    def trouble(self, error: OSError) -> DataError:
        """What to say of a disk that does not take what is written."""
        text = f"{self.output}: cannot write the store ({error})."
        if self.work.exists():
            text += f" What is done is kept in {self.work}; the same command goes on from there."
        return DataError(text)

    def _part(self, name: str) -> _Part:
        if name not in self._parts:
            self._parts[name] = _Part(self.work / "store" / name)
        return self._parts[name]

    def _append(self, clip: Clip, parts: dict[str, Any]) -> dict[str, Any]:
        part = self._part(clip.store)
        sums = parts.setdefault(clip.store, {"crc": {}})["crc"]
        data = np.ascontiguousarray(clip.positions, dtype="<f4").tobytes()
        blocks = {"positions.bin": data}
        part.hash.update(data)
        if clip.confidence is not None:
            blocks["confidence.bin"] = np.ascontiguousarray(clip.confidence, dtype="<f4").tobytes()
        for name, block in blocks.items():
            part.append(name, block)
            sums[name] = zlib.crc32(block, sums.get(name, 0))
        people, frames = clip.positions.shape[:2]
        row = {
            "name": clip.name,
            "people": people,
            "frames": frames,
            "fps": float(clip.fps or 0.0),
            "columns": {name: _plain(value) for name, value in clip.columns.items()},
            "store": clip.store,
            "confidence": clip.confidence is not None,
            "dropped_frames": clip.dropped_frames,
            "dropped_people": clip.dropped_people,
        }
        part.index(row)
        return row

    def _count(self, line: dict[str, Any]) -> None:
        for item in line["items"]:
            for row in item.get("clips", ()):
                self.report.add_clip(row)
            if "error" in item:
                self.report.failed[item["key"]] = item["error"]
            for kind, text in item.get("warnings", ()):
                self.report.add_warning(kind, text)
        self.done += len(line["items"])

    def _take_lock(self) -> None:
        self._lock = (self.work / "lock").open("ab")
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(f"{self.output}: another run is preparing it; wait, or name another output.") from None

    def _clear(self) -> None:
        for entry in self.work.iterdir():
            if entry.name == "store":
                shutil.rmtree(entry)
            elif entry.name != "lock":
                entry.unlink()

    def _open(self) -> None:
        """Begin, or go on with what is there."""
        plan = self.work / "plan.json"
        if not plan.exists():
            self._clear()
            beside = self.work / "plan.tmp"
            beside.write_text(json.dumps(self.plan, indent=2), encoding="utf-8")
            beside.replace(plan)
        else:
            self._check_plan(plan)
        (self.work / "store").mkdir(exist_ok=True)
        journal = self.work / "journal.jsonl"
        self._lines = journal.open("r+b" if journal.exists() else "w+b", buffering=0)
        end = 0
        for line, after in _whole_lines(journal):
            if not self._matches(line):
                logger.warning("%s: damaged after item %d; that part is done again.", self.work, self.done)
                break
            self._take(line)
            end = after
        self._lines.truncate(end)
        self._lines.seek(end)

    def _check_plan(self, path: Path) -> None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: damaged ({error}); --restart begins anew.") from None
        if found != self.plan:
            keys = [key for key in {**found, **self.plan} if found.get(key) != self.plan.get(key)]
            raise DataError(
                f"{self.output}: its preparation was begun otherwise ({', '.join(keys)} differ); give what was "
                "given then, or --restart to begin anew."
            )

    def _matches(self, line: dict[str, Any]) -> bool:
        """Whether the bytes of a batch are all there; takes them into the check sums of the store."""
        found = []
        for name, part in line["parts"].items():
            files = self._part(name)
            for file, size in part["sizes"].items():
                first = files.sizes.get(file, 0)
                block = _read_at(files.folder / file, first, size - first)
                if zlib.crc32(block) != part["crc"].get(file, 0):
                    return False
                if file == "positions.bin":
                    found.append((files, block))
        for files, block in found:
            files.hash.update(block)
        return True

    def _take(self, line: dict[str, Any]) -> None:
        for item in line["items"]:
            for row in item.get("clips", ()):
                self._parts[row["store"]].index(row)
        for name, part in line["parts"].items():
            self._parts[name].sizes = dict(part["sizes"])
        self._count(line)


def work_folder(output: Path) -> Path:
    """Where the work on an output is kept until it is done."""
    return output.with_name(f".{output.name}.preparing")


def _whole_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Lines of a journal up to the first that is cut, each with the offset after it."""
    end = 0
    with path.open("rb") as file:
        for text in file:
            if not text.endswith(b"\n"):
                return
            try:
                line = json.loads(text)
            except ValueError:
                return
            end += len(text)
            yield line, end


def _read_at(path: Path, offset: int, size: int) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _file(store: str, name: str) -> str:
    return f"{store}/{name}" if store else name
