"""Northwestern-UCLA style JSON: ``{"file_name": ..., "skeletons": [frames][20][3]}`` (Kinect v1)."""

from __future__ import annotations

import re
from pathlib import Path

from mamp.errors import ReadError
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.files import StrPath
from mamp.readers.format import KEYED, Format
from mamp.readers.jsonfile import describe, read_json, to_array
from mamp.readers.sets import Column, RecordingSet, facts_in
from mamp.skeleton import Skeleton

FPS = 30.0
JOINTS = 20
CLASSES = (
    "pick up with one hand", "pick up with two hands", "drop trash", "walk around", "sit down", "stand up", "donning",
    "doffing", "throw", "carry",
)  # fmt: skip
NAME = re.compile(r"a(?P<action>\d+)_s(?P<subject>\d+)_e(?P<environment>\d+)_v(?P<view>\d+)")
ACTIONS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)  # the numbers in file names; a label is a place in this list


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a file; joints at exactly zero were not tracked.

    Raises:
        ReadError: The file is missing, not JSON, or its ``skeletons`` are not [frames][20][3] numbers.
    """
    content = read_json(path)
    if not isinstance(content, dict) or "skeletons" not in content:
        raise ReadError(
            f'{path}: expected {{"file_name": ..., "skeletons": [frames][20][3]}}, found {describe(content)}.'
        )
    positions = to_array(content["skeletons"], str(path), f"skeletons [frames][{JOINTS}][3]")
    if positions.ndim != 3 or positions.shape[1:] != (JOINTS, 3):
        raise ReadError(f"{path}: expected skeletons [frames][{JOINTS}][3], found {list(positions.shape)}.")
    name = str(content.get("file_name") or Path(path).name)
    raw = Raw(
        positions[None], path, "nwucla", layout="kinect20", fps=FPS, unit="m", up="y", zeros="joint",
        info=_parse_name(name),
    )  # fmt: skip
    return assemble(raw, options)


def _parse_name(name: str) -> dict[str, int]:
    info = facts_in(name, NAME)
    return info | ({"label": ACTIONS.index(info["action"])} if info.get("action") in ACTIONS else {})


class NWUCLA(RecordingSet):
    """NW-UCLA: ``aAA_sSS_eEE_vVV.json``; trained on views 1 and 2, tested on view 3."""

    name = "nw-ucla"
    title = "Northwestern-UCLA"
    about = "JSON, views 1 and 2 for training"
    example = "all_sqe"
    reader = staticmethod(read)
    suffixes = (".json",)
    pattern = re.compile(r"a\d+_s\d+_e\d+_v\d+")
    classes = CLASSES
    facts = ("label", "subject", "view")

    def columns(self, recording: Skeleton) -> dict[str, Column]:
        """Label, subject, view, split."""
        found = super().columns(recording)
        return {**found, "split": "train" if found["view"] in (1, 2) else "test"}


SET = NWUCLA
FORMAT = Format(
    "nwucla", (".json",), "NW-UCLA style JSON (Kinect v1)", read,
    fits=lambda contents: KEYED * contents.has_key("skeletons"),
)  # fmt: skip
