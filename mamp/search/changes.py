"""What there is to do: recordings that are new, changed, moved or gone, by the hashes of their content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mamp.errors import MAMPError, MissingFileError
from mamp.search.embedder import Task
from mamp.search.results import Report
from mamp.search.sources import MEMORY, Source, known_source


@dataclass
class Plan:
    """What to write.

    Attributes:
        tasks: Recordings to embed.
        renamed: Content -> where it is now.
        removed: Contents to take out, with their file.
        present: Content -> source that is in the index already.
    """

    tasks: list[Task] = field(default_factory=list)
    renamed: dict[str, Source] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)
    present: dict[str, Source] = field(default_factory=dict)


def make_plan(
    sources: Sequence[Source],
    known: Mapping[str, tuple[str, str]],
    report: Report,
    reading: Mapping[str, Any],
    update: bool,
    show: Callable[[Sequence[Source]], Iterable[Source]] = iter,
) -> Plan:
    """Compare recordings with what an index holds.

    Args:
        sources: Recordings that the user gave.
        known: Folder and file of each content in the index.
        report: Takes what is there already, and what cannot be read.
        reading: Options of :func:`mamp.load` for what the index knows.
        update: Look at everything that the index knows, too.
        show: Shows progress while it yields the sources.
    """
    places = {Source(*place).key: content for content, place in known.items() if place[0] != MEMORY}
    given = {source.key: source for source in sources if source.folder != MEMORY}
    everything = list(given.values()) + [source for source in sources if source.folder == MEMORY]
    here = _Here(known, reading)
    if update:
        everything += [source for key, source in here.known_sources(report) if key not in given]
    plan, seen = Plan(), dict[str, Source]()
    changed: dict[str, str] = {}  # old content -> file that has another now
    for source in show(everything):
        old = places.get(source.key) if source.folder != MEMORY else None
        try:
            content = here.content(source)
        except MissingFileError as error:
            if update and old is not None and Path(source.folder).exists():
                plan.removed[old] = source.file
            else:
                fail(report, source, error)
            continue
        except (MAMPError, OSError) as error:
            fail(report, source, error)
            continue
        if old is not None and content != old:
            changed[old] = source.file
        if content == old or (source.folder == MEMORY and content in known):
            report.unchanged.append(source.file)
            plan.present[content] = source
        elif content in seen:
            report.duplicates[source.file] = seen[content].file
        elif content not in known:
            plan.tasks.append(Task(source, content, old))
        elif here.still_has(content):
            report.duplicates[source.file] = known[content][1]
        else:
            plan.renamed[content] = source
        seen.setdefault(content, source)
    plan.removed |= {old: file for old, file in changed.items() if old not in {task.replaced for task in plan.tasks}}
    plan.removed = {content: file for content, file in plan.removed.items() if content not in plan.renamed}
    plan.tasks = [Task(t.source, t.content, None if t.replaced in plan.renamed else t.replaced) for t in plan.tasks]
    return plan


class _Here:
    """What the places that an index knows hold now."""

    def __init__(self, known: Mapping[str, tuple[str, str]], reading: Mapping[str, Any]) -> None:
        self._known, self._reading = known, reading
        self._stores: dict[str, dict[str, Source]] = {}
        self._contents: dict[str, str] = {}

    def content(self, source: Source) -> str:
        """Hash of a source, computed once."""
        if source.folder == MEMORY:
            return source.content()
        if source.key not in self._contents:
            self._contents[source.key] = source.content()
        return self._contents[source.key]

    def still_has(self, content: str) -> bool:
        """Whether a content is still where the index knows it."""
        folder, file = self._known[content]
        if folder == MEMORY:
            return True
        try:
            return self.content(known_source(folder, file, self._reading, self._stores)) == content
        except (MAMPError, OSError):
            return False

    def known_sources(self, report: Report) -> Iterator[tuple[str, Source]]:
        """Everything that the index knows; what is in a folder that is not there is reported, and kept."""
        for folder, file in self._known.values():
            place = Source(folder, file)
            if folder == MEMORY:
                continue
            if not Path(folder).exists():
                fail(report, place, MissingFileError(f"the folder {folder} is not there; its recordings are kept."))
                continue
            try:
                yield place.key, known_source(folder, file, self._reading, self._stores)
            except MissingFileError:
                yield place.key, _Gone(folder, file)


class _Gone(Source):
    """A clip that a store does not have any more."""

    def content(self) -> str:
        raise MissingFileError(f"{self.folder}: has no clip {self.file!r} any more.")


def fail(report: Report, source: Source, error: BaseException | str) -> None:
    """Report a recording that cannot be used."""
    name = source.key if source.file in report.failed else source.file
    report.failed[name] = str(error)
