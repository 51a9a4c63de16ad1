"""Untrimmed recordings with known intervals, strung together from NW-UCLA, MSR-Action3D and UI-PRMD.

    python benchmarks/untrimmed.py strings DATA_DIR STORES [nw-ucla msr-action3d ui-prmd]
    python benchmarks/untrimmed.py changes STORE [--penalty 0.6] [--recordings 12]

DATA_DIR holds the packed corpora (mamp/prepare/packed.py). A store is written for each, to be evaluated with
``python -m mamp.evaluate segment``. Takes of one person (and camera) are strung together in a random order by
``mamp.synthetic.string_together``: 0.4 s of one take blend into the next, both moving on as they were recorded.

- ``nw-ucla``: trained on cameras 1 and 2, tested on camera 3 (the published split). *Walk around* and *carry* are in
  the recordings, but have no interval: they are the background in which the other eight actions are to be found.
- ``msr-action3d``: trained on subjects 1, 3, 5, 7, 9, tested on the others (published). Every fifth class is
  background: forward punch, hand clap, side kick, pick up and throw.
- ``ui-prmd``: odd people, tested on even ones. Each goes through the ten exercises twice, in a random order, three
  correct repetitions of each; an interval is an exercise. There is no background.

The column ``takes`` has the first frame and the end of every take. ``changes`` compares the changes that are found
without labels with where takes begin, in the first training recordings of a store: F1 of those that lie within 0.5 s of
one that no other lies at, beside that of as many changes at equal distances.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mamp import MAMPEncoder, Preprocessing, Skeleton
from mamp.data import ClipStore, StoreWriter
from mamp.data.intervals import write_intervals
from mamp.layouts import MODEL_LAYOUT
from mamp.prepare.packed import read_packed
from mamp.preprocessing import normalize
from mamp.readers.load import SETS
from mamp.segment import STRIDE, WINDOW
from mamp.segment.changes import PENALTY, find_changes
from mamp.segment.features import features
from mamp.skeleton import WHOLE
from mamp.synthetic import string_together

Takes = list[Skeleton]

BACKGROUND = {"nw-ucla": (3, 9), "msr-action3d": (4, 9, 14, 19), "ui-prmd": ()}
BLEND = 0.4  # seconds
TAKES = 12  # in a recording
REPETITIONS = 3  # of an exercise
SHORTEST = 8  # frames of a take; NW-UCLA has some of a single one


def usable(take: Skeleton) -> bool:
    """Whether a take is of one person who is nearly always tracked, and neither a fragment nor minutes long."""
    return SHORTEST <= take.num_frames < 300 and bool(take.tracked.any(axis=2).mean() > 0.95)


def groups(name: str, takes: Takes, rng: np.random.Generator) -> Iterator[tuple[str, dict[str, Any], Takes]]:
    """Split, columns and takes of each recording."""
    keys = ("subject", "view") if name == "nw-ucla" else ("subject",)
    for key in sorted({tuple(take.info[one] for one in keys) for take in takes}):
        mine = [take for take in takes if tuple(take.info[one] for one in keys) == key]
        columns = dict(zip(keys, key, strict=True))
        test = columns["view"] == 3 if name == "nw-ucla" else columns["subject"] % 2 == 0
        if name == "ui-prmd":
            by_class = [[take for take in mine if take.info["label"] == k] for k in range(10)]
            for first in (0, REPETITIONS):
                order = [take for k in rng.permutation(10) for take in by_class[k][first : first + REPETITIONS]]
                yield "test" if test else "train", columns, order
            continue
        for part in np.array_split(rng.permutation(len(mine)), -(-len(mine) // TAKES)):
            yield "test" if test else "train", columns, [mine[i] for i in part]


def build(name: str, data: Path, output: Path) -> None:
    """Write the store of a data set."""
    takes = [take for take in read_packed(data / f"{name}.npz") if usable(take)]
    if name == "ui-prmd":
        takes = [take for take in takes if take.info["correct"]]
    expected = Preprocessing(center="none", max_people=None, absent_person="none")
    classes = list(SETS[name].classes)
    info = {"source": f"{name}, strung together", "classes": classes}
    counts: dict[str, int] = {}
    with StoreWriter(output, MODEL_LAYOUT, info) as writer:
        for split, columns, mine in groups(name, takes, np.random.default_rng(0)):
            fps = mine[0].fps or 30.0
            positions, spans = string_together([take.positions[0] for take in mine], round(BLEND * fps))
            rows: list[list[int]] = []
            for take, (start, end) in zip(mine, spans, strict=True):
                label = take.info["label"]
                if label in BACKGROUND[name]:
                    continue
                if name == "ui-prmd" and rows and rows[-1][0] == label + 1:
                    rows[-1][2] = end
                else:
                    rows.append([label + 1, start, end, 0])
            number = counts[split] = counts.get(split, 0) + 1
            whole = Skeleton(positions[None], mine[0].layout, fps, name=f"{split}-{number:03d}", info=dict(WHOLE))
            clip = normalize(whole, expected, keep_gaps=True)
            columns = {**columns, "split": split, "intervals": write_intervals(rows), "takes": json.dumps(spans)}
            writer.add(whole.name, clip.positions, fps, **columns)
    print(output, counts)


def found_of(found: np.ndarray, true: list[float], tolerance: float = 0.5) -> int:
    """How many of the true moments, in seconds, one of those found is near; each counts once."""
    left = list(true)
    for moment in found.tolist():
        near = [one for one in left if abs(one - moment) <= tolerance]
        if near:
            left.remove(min(near, key=lambda one: abs(one - moment)))
    return len(true) - len(left)


def measure_changes(path: Path, penalty: float, recordings: int) -> None:
    """Print F1 of changes, and of as many at equal distances."""
    store, encoder = ClipStore(path), MAMPEncoder.from_pretrained()
    sums = np.zeros(4)
    for clip in store.split("train")[:recordings]:
        recording, fps = store.recording(clip), float(store.columns["fps"][clip])
        steps, edges = features(recording, encoder, WINDOW, STRIDE)
        found = edges[find_changes(steps, penalty)[1:-1]] / fps
        equal = np.linspace(0, edges[-1] / fps, len(found) + 2)[1:-1]
        true = [start / fps for start, _ in json.loads(str(store.columns["takes"][clip]))][1:]
        sums += [found_of(found, true), found_of(equal, true), len(found), len(true)]
    hits, hits_equal, count, truths = sums
    print(f"penalty {penalty:g}: {count:g} changes, {truths:g} true; F1 {200 * hits / (count + truths):.1f}", end="")
    print(f", at equal distances {200 * hits_equal / (count + truths):.1f}")


def main() -> None:
    """Write the stores, or measure changes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    strings = commands.add_parser("strings", help="write the stores")
    strings.add_argument("data", type=Path, metavar="DATA_DIR")
    strings.add_argument("output", type=Path, metavar="STORES")
    strings.add_argument("sets", nargs="*", default=list(BACKGROUND), metavar="SET")
    changes = commands.add_parser("changes", help="measure the changes that are found without labels")
    changes.add_argument("store", type=Path, metavar="STORE")
    changes.add_argument("--penalty", type=float, default=PENALTY)
    changes.add_argument("--recordings", type=int, default=12)
    args = parser.parse_args()
    if args.command == "changes":
        measure_changes(args.store, args.penalty, args.recordings)
        return
    for name in args.sets:
        build(name, args.data, args.output / name)


if __name__ == "__main__":
    main()
