"""HDM05 cuts: ``HDM_actor_class_NNN_120.amc`` with ``HDM_actor.asf``."""

from __future__ import annotations

import re
from pathlib import Path

from mamp.readers import amc
from mamp.readers.assemble import Options
from mamp.readers.find import find_files
from mamp.readers.sets import Column, RecordingSet, Take


class HDM05(RecordingSet):
    """The cuts; labels number the classes that are there."""

    name = "hdm05"
    title = "HDM05"
    about = "the cuts, AMC with the ASF of each actor"
    example = "cut_amc --fps 30"
    suffixes = (".amc",)
    pattern = re.compile(r"HDM_([a-z]+)_([A-Za-z]\w*?)_(\d+)_\d+\.amc", re.IGNORECASE)

    def __init__(self, raw: Path) -> None:
        super().__init__(raw)
        files = find_files(raw, (".amc", ".asf"), {})
        self.classes = tuple(sorted({match[2] for path in files if (match := self.pattern.match(path.name))}))
        self.skeletons = {path.name.lower().partition(".asf")[0]: path for path in files if ".asf" in path.name.lower()}

    def takes(self, path: Path) -> list[Take]:
        """One clip a file."""
        match = self.pattern.match(path.name)
        actor, kind = (match[1].lower(), match[2]) if match else ("", "")
        recording = amc.read(path, Options(asf=self.skeletons.get(f"hdm_{actor}")))
        columns: dict[str, Column] = {"label": self.classes.index(kind), "subject": actor}
        return [Take(self.name_of(path), recording, columns)]


SET = HDM05
