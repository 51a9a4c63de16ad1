"""NTU RGB+D 60 and 120: ``.skeleton`` files, excluded samples, splits, and published order."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from mamp.config import Preprocessing
from mamp.errors import DataError, MissingFileError, ReadError
from mamp.prepare.dataset import Clip, Column, Dataset, Item, Listing, Source, store_preprocessing
from mamp.readers import ntu
from mamp.readers.find import find_files, key_of

Benchmark = Literal[60, 120]

NAME = re.compile(rf"({ntu.NAME.pattern})\.skeleton(\.gz)?", re.IGNORECASE)
SUBJECTS_60 = frozenset((1, 2, 4, 5, 8, 9, *range(13, 20), 25, 27, 28, 31, 34, 35, 38))
SUBJECTS_120 = SUBJECTS_60 | frozenset(
    (45, 46, 47, 49, 50, *range(52, 60), 70, 74, 78, *range(80, 87), 89, *range(91, 96), 97, 98, 100, 103)
)
# Prefix of a reason of the reader -> category in the report.
TRACKS = {
    "seen in": f"a track of fewer than {ntu.MIN_FRAMES} frames beside another",
    "wider": "a track of the shape of noise",
    "overlaps": "a third person at the same time",
}


@dataclass(frozen=True)
class Protocol:
    """A split by the values of a column."""

    column: str
    train: frozenset[int]  # values of the training split

    def split(self, value: int) -> str:
        """``train`` or ``test``."""
        return "train" if value in self.train else "test"


PROTOCOLS: dict[Benchmark, dict[str, Protocol]] = {
    60: {"xsub": Protocol("subject", SUBJECTS_60), "xview": Protocol("camera", frozenset((2, 3)))},
    120: {"xsub": Protocol("subject", SUBJECTS_120), "xset": Protocol("setup", frozenset(range(2, 33, 2)))},
}


class NTU(Dataset):
    """The ``.skeleton`` files of benchmark 60 or 120, in any folders or zip files."""

    def __init__(self, raw: Path, benchmark: Benchmark) -> None:
        self.raw = raw
        self.benchmark: Benchmark = benchmark

    def list_items(self) -> Listing:
        """Samples ordered by name, without those that all protocols exclude."""
        failed: dict[str, str] = {}
        files = find_files(self.raw, (".skeleton",), failed)
        if not files and not failed:
            raise MissingFileError(
                f"{self.raw}: expected .skeleton files, in any folder layout or in zip files; found none."
            )
        left_out: dict[str, str] = {}
        missing = missing_skeletons(self.benchmark)
        samples: dict[str, Path] = {}
        for path in files:
            key, match = key_of(self.raw, path), NAME.fullmatch(path.name)
            if match is None:
                failed[key] = "expected a name such as S001C001P001R001A001.skeleton"
                continue
            name = match[1].upper()
            if self.benchmark == 60 and not _in_60(ntu.parse_name(name)):
                left_out[key] = "not a sample of NTU RGB+D 60"
            elif name in missing:
                left_out[key] = "on the official list of missing or incomplete skeletons"
            elif name in samples:
                failed[key] = f"a second file of this sample; {key_of(self.raw, samples[name])} is taken"
            else:
                samples[name] = path
        items = tuple(Item(key_of(self.raw, samples[name]), samples[name]) for name in sorted(samples))
        return Listing(items, left_out, failed)

    def read(self, item: Item) -> list[Clip]:
        """Read one or two actors of a sample, translated as published; the second is zero where absent."""
        recording = ntu.parse_skeleton_file(item.path)
        chosen = ntu.denoise(recording)
        if not len(chosen.positions):
            raise ReadError(f"{item.path}: no tracked person is left (all coordinates are zero).")
        positions = rearrange(ntu.translate(chosen.positions), "t (m v c) -> m t v c", v=ntu.JOINTS, c=3)
        name = item.path.name.partition(".")[0].upper()
        facts = ntu.parse_name(name)
        columns: dict[str, Column] = {key: facts[key] for key in ("label", "subject", "camera", "setup", "replication")}
        for protocol, rule in PROTOCOLS[self.benchmark].items():
            columns[f"split_{protocol}"] = rule.split(facts[rule.column])
        frames = {
            "nobody was tracked": len(recording.empty_frames),
            "only tracks that were dropped": len(chosen.removed_frames),
        }
        dropped: dict[str, int] = {}
        for reason in chosen.dropped.values():
            kind = next(text for start, text in TRACKS.items() if reason.startswith(start))
            dropped[kind] = dropped.get(kind, 0) + 1
        frames = {why: count for why, count in frames.items() if count}
        return [Clip(name, positions, ntu.FPS, columns, dropped_frames=frames, dropped_people=dropped)]

    def info(self) -> dict[str, Any]:
        """Preprocessing, and how the published runs replace an absent second person."""
        return describe(self.benchmark, list(PROTOCOLS[self.benchmark]))


def describe(
    benchmark: Benchmark, protocols: list[str], absent: Literal["zeros", "copy"] | None = None
) -> dict[str, Any]:
    """Content of ``meta.json`` for NTU RGB+D; ``absent`` is as published by default."""
    absent = absent or ("zeros" if benchmark == 60 else "copy")
    placed = store_preprocessing(Preprocessing(center="clip", max_people=2, absent_person=absent))
    return {
        "source": f"NTU RGB+D {benchmark}",
        "protocols": protocols,
        "classes": list(ntu.CLASSES[:benchmark]),
        "preprocessing": {**placed, "max_people": 2, "absent_person": absent},
    }


def missing_skeletons(benchmark: Benchmark) -> frozenset[str]:
    """Names of the 302 (NTU RGB+D 120: 535) samples with missing or incomplete skeletons."""
    text = resources.files("mamp.prepare").joinpath("ntu_missing.json").read_text(encoding="utf-8")
    lists: dict[str, list[list[int]]] = json.loads(text)
    rows = lists["ntu60"] if benchmark == 60 else lists["ntu60"] + lists["ntu120_further"]
    return frozenset(sample_name(*row) for row in rows)


def sample_name(setup: int, camera: int, subject: int, replication: int, action: int) -> str:
    """Name of a sample; actions start at 1."""
    return f"S{setup:03}C{camera:03}P{subject:03}R{replication:03}A{action:03}"


def published_order(
    columns: dict[str, NDArray[Any]], benchmark: Benchmark, protocol: str, split: str
) -> NDArray[np.int64]:
    """Rows of a split in the order of the published arrays: by subject, camera or setup, then by name.

    Args:
        columns: ``name`` and the column of the protocol.
        benchmark: 60 or 120.
        protocol: ``xsub``, ``xview`` (60) or ``xset`` (120).
        split: ``train`` or ``test``.
    """
    rule = get_protocol(benchmark, protocol)
    values = np.asarray(columns[rule.column])
    inside = np.isin(values, sorted(rule.train))
    rows = np.flatnonzero(inside if split == "train" else ~inside)
    return rows[np.lexsort((np.asarray(columns["name"])[rows], values[rows]))]


def get_protocol(benchmark: Benchmark, protocol: str) -> Protocol:
    """Return a protocol by name; :class:`DataError` if the benchmark does not have it."""
    known = PROTOCOLS[benchmark]
    if protocol not in known:
        raise DataError(f"NTU RGB+D {benchmark} has the protocols {', '.join(known)}; found {protocol!r}.")
    return known[protocol]


def _in_60(facts: dict[str, int]) -> bool:
    return facts["setup"] <= 17 and facts["label"] < 60


def _open(benchmark: Benchmark, args: argparse.Namespace) -> NTU:
    return NTU(args.raw, benchmark)


EXAMPLES: dict[Benchmark, str] = {60: "nturgbd_skeletons_s001_to_s017.zip", 120: "nturgb+d_skeletons120"}
SOURCES = tuple(
    Source(
        f"ntu{benchmark}",
        f"NTU RGB+D {benchmark}: .skeleton files in any folders, or still in their zip files",
        f"python -m mamp.prepare ntu{benchmark} {raw} store",
        partial(_open, benchmark),
    )
    for benchmark, raw in EXAMPLES.items()
)
