"""Untrimmed recordings: a store with intervals, a split, and features of its steps that are extracted once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mamp.data import ClipStore
from mamp.data.intervals import COLUMN, read_intervals
from mamp.errors import DataError
from mamp.evaluate.data import Labelled, open_clips
from mamp.evaluate.features import identity, read_features, write_features
from mamp.evaluate.protocol import Job
from mamp.evaluate.representation import Representation
from mamp.outputs import dump_json, write_whole
from mamp.segment.features import RATE, features, step_edges
from mamp.segment.segments import label_rows

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Untrimmed(Labelled):
    """A store of untrimmed recordings. ``labels`` are -1: a recording has no class, its intervals do.

    Attributes:
        intervals: Of each recording [n, 3]: class from 1 in the order of ``classes``, first frame, end (exclusive).
            Only those of classes of the training recordings.
    """

    intervals: tuple[IntArray, ...] = ()

    def frames(self, clip: int) -> IntArray:
        """Class [T] of each frame of a recording, 0 for the background; where intervals overlap, the later one."""
        return label_rows(self.intervals[clip], int(self.store.columns["frames"][clip]))

    def describe(self) -> dict[str, Any]:
        """The data as plain values for JSON; the intervals count, since they may change while the clips do not."""
        text = json.dumps([rows.tolist() for rows in self.intervals])
        return {**super().describe(), "intervals": hashlib.sha256(text.encode()).hexdigest()}


def open_untrimmed(path: str | os.PathLike[str], protocol: str | None = None, layout: str = "ntu25") -> Untrimmed:
    """Open a store of untrimmed recordings to evaluate on.

    Args:
        path: A store with the column ``intervals``, and a split as for :func:`mamp.evaluate.data.open_labelled`; of
            PKU-MMD, its store ``untrimmed`` or the folder in which this is.
        protocol: Name of the split.
        layout: Layout that the weights expect.

    Raises:
        DataError: Intervals, frame rates or a split are missing, or the weights expect other joints.
    """
    inside = Path(path) / "untrimmed"
    store, train, test, protocol = open_clips(inside if (inside / "meta.json").is_file() else path, protocol, layout)
    if not (store.columns["fps"] > 0).all():
        raise DataError(f"{store.path}: expected recordings with a frame rate, found some without.")
    found = [_intervals(store, clip) for clip in range(len(store))]
    numbers = np.unique(np.concatenate([found[clip][:, 0] for clip in train]))
    if not len(numbers):
        raise DataError(f"{store.path}: expected training recordings with intervals in {COLUMN!r}, found none.")
    names = store.info.get("classes") or []
    unseen = np.setdiff1d(np.concatenate([found[clip][:, 0] for clip in test]), numbers).tolist()
    if unseen:
        raise DataError(
            f"{store.path}: each class of the test recordings needs training intervals; none for "
            f"{', '.join(names[number - 1] if number <= len(names) else str(number) for number in unseen)}."
        )
    for clip, rows in enumerate(found):
        rows = rows[np.isin(rows[:, 0], numbers)]
        rows[:, 0] = np.searchsorted(numbers, rows[:, 0]) + 1
        found[clip] = rows
    classes = tuple(str(names[number - 1]) if number <= len(names) else str(number) for number in numbers.tolist())
    return Untrimmed(store, np.full(len(store), -1), classes, train, test, protocol, tuple(found))


def _intervals(store: ClipStore, clip: int) -> IntArray:
    """Rows [n, 3] of class, start and end in the order of time, within the recording."""
    rows = read_intervals(store, clip)[:, :3].copy()
    rows[:, 1:] = rows[:, 1:].clip(0, int(store.columns["frames"][clip]))
    rows = rows[(rows[:, 0] > 0) & (rows[:, 1] < rows[:, 2])]
    return rows[np.lexsort((rows[:, 2], rows[:, 1]))]


def extract_steps(job: Job, seed: int) -> list[FloatArray]:
    """Features [N, D] of the steps of every recording, by all processes; a file for each, where it was not yet made.

    Only the main process gets them.

    Raises:
        RecordingError: A recording cannot be encoded.
        DataError: The files cannot be written.
    """
    source = job.representation(seed)
    parts = [_extract(job, source)]
    if source.encoder is not None and job.config.poses:  # apart, so that embeddings serve with and without poses
        parts.append(_extract(job, dataclasses.replace(source, encoder=None)))
    return [np.concatenate(some, axis=1) for some in zip(*parts, strict=True)] if job.world.is_main else []


def cache_of(job: Job, source: Representation) -> tuple[Path, dict[str, Any]]:
    """The folder of the features of a representation, and everything that they depend on."""
    seen = {} if source.encoder is None else {"window": job.config.window, "stride": job.config.stride}
    facts = {**identity(source, job.data, "frame"), "rate": RATE, **seen}
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]
    return (job.cache or job.output.parent / "features") / name, facts


def _extract(job: Job, source: Representation) -> list[FloatArray]:
    """Embeddings of the steps of every recording, or their poses; each process makes a part, the main one reads all."""
    config, store, world = job.config, job.data.store, job.world
    folder, facts = cache_of(job, source)

    def steps_of(clip: int) -> FloatArray:
        edges = step_edges(int(store.columns["frames"][clip]), float(store.columns["fps"][clip]))
        found = read_features(folder / f"{clip}.npy", len(edges) - 1)
        if found is None:
            found, _ = features(store.recording(clip), source.encoder, config.window, config.stride)
            write_features(folder / f"{clip}.npy", found)
        return found

    mine = range(world.rank, len(store), world.size)
    hidden = None if job.progress else True
    with world.together():
        for clip in tqdm(mine, unit="recording", delay=2, disable=hidden, desc="features"):
            steps_of(clip)
    if not world.is_main:
        return []
    write_whole(folder / "features.json", dump_json(facts) + "\n")
    return [steps_of(clip) for clip in range(len(store))]
