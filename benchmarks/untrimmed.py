"""Untrimmed recordings with known intervals, strung together from NW-UCLA, MSR-Action3D and UI-PRMD.

    python benchmarks/untrimmed.py strings DATA_DIR STORES [nw-ucla msr-action3d ui-prmd]
    python benchmarks/untrimmed.py differences STORE RESULTS AGAINST
    python benchmarks/untrimmed.py changes STORE [--penalty 1.2] [--recordings 12]
    python benchmarks/untrimmed.py repetitions STORE

DATA_DIR holds the packed corpora (mamp/prepare/packed.py). A store is written for each, to be evaluated with
``python -m mamp.evaluate segment``. Takes of one person (and camera) are strung together in a random order by
``mamp.synthetic.string_together``: 0.4 s of one take blend into the next, both moving on as they were recorded.

- ``nw-ucla``: trained on cameras 1 and 2, tested on camera 3 (the published split). *Walk around* and *carry* are in
  the recordings, but have no interval: they are the background in which the other eight actions are to be found.
- ``msr-action3d``: trained on subjects 1, 3, 5, 7, 9, tested on the others (published). Every fifth class is
  background: forward punch, hand clap, side kick, pick up and throw.
- ``ui-prmd``: odd people, tested on even ones. Each goes through the ten exercises twice, in a random order, two to
  five correct repetitions of each; an interval is an exercise. There is no background.

The column ``takes`` has the first frame and the end of every take.

``differences`` compares what two evaluations (their folders) found in the test recordings of a store, of their seed 0:
metrics of RESULTS minus those of AGAINST, with 95 % bootstrap intervals; both have the same recordings in each draw.

``changes`` compares the changes that are found without labels with where takes begin, in the first training recordings
of a store: F1 of those that lie within 0.5 s of one that no other lies at, beside that of as many changes at equal
distances.

``repetitions`` counts the repetitions in the whole recordings of UI-PRMD, and looks how many have their middle in each
exercise: mean absolute error, and the share of exercises counted right to within one, with 95 % bootstrap intervals
over the people. ``poses`` is the same search on body-centred joint positions; ``constant`` always says 3; ``length``
divides the length of an exercise by the mean length of a repetition of the other half of the people.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

from mamp import MAMPEncoder, Preprocessing, Skeleton
from mamp.data import ClipStore, StoreWriter
from mamp.data.intervals import read_intervals, write_intervals
from mamp.evaluate.detection import Scored, bootstrap_metrics, detection_metrics
from mamp.evaluate.untrimmed import Untrimmed, open_untrimmed
from mamp.layouts import MODEL_LAYOUT
from mamp.posture import body_centred
from mamp.prepare.packed import read_packed
from mamp.preprocessing import normalize
from mamp.readers import sets
from mamp.repetitions import count_repetitions, repetitions_of
from mamp.segment import STRIDE, WINDOW
from mamp.segment.changes import PENALTY, find_changes
from mamp.segment.features import features
from mamp.segment.segments import label_rows
from mamp.skeleton import WHOLE
from mamp.synthetic import string_together

Takes = list[Skeleton]

BACKGROUND = {"nw-ucla": (3, 9), "msr-action3d": (4, 9, 14, 19), "ui-prmd": ()}
BLEND = 0.4  # seconds
TAKES = 12  # in a recording
REPETITIONS = range(2, 6)  # of an exercise
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
            for first in (0, REPETITIONS[-1]):
                counts = rng.choice(REPETITIONS, 10)
                order = [take for k in rng.permutation(10) for take in by_class[k][first : first + counts[k]]]
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
    classes = list(sets()[name].classes)
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


def read_scored(data: Untrimmed, results: Path) -> list[Scored]:
    """What an evaluation found in the test recordings, of its seed 0."""
    with (results / "seed=0" / "segments.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scored = []
    for clip, name in zip(data.test, data.names(data.test), strict=True):
        fps, mine = float(data.store.columns["fps"][clip]), [row for row in rows if row["file"] == name]
        found = [[data.classes.index(row["label"]) + 1, *(round(float(row[end]) * fps) for end in ("start", "end"))]
                 for row in mine]  # fmt: skip
        spans, true = np.array(found, np.int64).reshape(-1, 3), data.frames(clip)
        scores = np.array([float(row["score"]) for row in mine])
        scored.append(Scored(data.intervals[clip], spans, scores, true, label_rows(spans, len(true))))
    return scored


def measure_differences(store: Path, results: Path, against: Path) -> None:
    """Print the table of differences of two evaluations."""
    data = open_untrimmed(store)
    ours, theirs = ((read_scored(data, folder), data.num_classes) for folder in (results, against))
    drawn, other = bootstrap_metrics(*ours), bootstrap_metrics(*theirs)
    metrics, others = (detection_metrics(*both, replicates=0)[0] for both in (ours, theirs))
    print(f"| metric | {results.name} | {against.name} | difference |\n|---|---:|---:|---:|")
    for name, values in drawn.items():
        low, high = np.quantile(values - other[name], [0.025, 0.975])
        one, two = metrics[name], others[name]
        print(f"| {name} | {one:.1f} | {two:.1f} | {one - two:+.1f} ({low:+.1f} to {high:+.1f}) |")


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


def measure_repetitions(path: Path) -> None:
    """Print the table of counts."""
    store, encoder = ClipStore(path), MAMPEncoder.from_pretrained()
    exercises = [read_intervals(store, clip)[:, 1:3] for clip in range(len(store))]
    takes = [np.array(json.loads(str(text))) for text in store.columns["takes"]]
    halves = store.columns["subject"] % 2
    lengths = {
        half: np.diff(np.concatenate([takes[i] for i in np.flatnonzero(halves == half)])).mean() for half in (0, 1)
    }
    errors: dict[str, list[np.ndarray]] = {"embeddings": [], "poses": [], "constant": [], "length": []}
    for clip, (rows, mine) in enumerate(zip(exercises, takes, strict=True)):
        recording, fps = store.recording(clip), float(store.columns["fps"][clip])
        poses = np.nan_to_num(rearrange(body_centred(recording), "t v c -> t (v c)"))
        true = count_within(mine.mean(axis=1), rows)
        for how, found in (
            ("embeddings", count_repetitions(recording, encoder)),
            ("poses", repetitions_of(poses, fps)),
        ):
            middles = fps * (np.array(found.starts) + np.array(found.ends)) / 2
            errors[how].append(np.abs(count_within(middles, rows) - true))
        errors["constant"].append(np.abs(3 - true))
        counted = np.round(np.diff(rows)[:, 0] / lengths[1 - halves[clip]]).clip(1)
        errors["length"].append(np.abs(counted - true))
    print("| counted by | mean absolute error | within one |\n|---|---:|---:|")
    rng, people = np.random.default_rng(0), np.unique(store.columns["subject"])
    draws = [rng.choice(people, len(people)) for _ in range(2000)]
    for how, several in errors.items():
        by_person = {who: [several[i] for i in np.flatnonzero(store.columns["subject"] == who)] for who in people}
        cells = []
        for values in (by_person, {who: [one <= 1 for one in some] for who, some in by_person.items()}):
            means = [np.concatenate([one for who in draw for one in values[who]]).mean() for draw in [people, *draws]]
            low, high = np.quantile(means[1:], [0.025, 0.975])
            cells.append(f"{means[0]:.2f} ({low:.2f} to {high:.2f})")
        print("|", " | ".join([how, *cells]), "|")


def count_within(moments: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """How many moments lie in each of the rows [n, 2] of first frame and end."""
    return np.array([((moments >= start) & (moments < end)).sum() for start, end in rows])


def main() -> None:
    """Write the stores, or measure."""
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
    differences = commands.add_parser("differences", help="compare two evaluations, paired by recording")
    repetitions = commands.add_parser("repetitions", help="count repetitions in sessions of exercises")
    for command in (differences, repetitions):
        command.add_argument("store", type=Path, metavar="STORE")
    differences.add_argument("results", type=Path, metavar="RESULTS")
    differences.add_argument("against", type=Path, metavar="AGAINST")
    args = parser.parse_args()
    if args.command == "changes":
        measure_changes(args.store, args.penalty, args.recordings)
    elif args.command == "differences":
        measure_differences(args.store, args.results, args.against)
    elif args.command == "repetitions":
        measure_repetitions(args.store)
    else:
        for name in args.sets:
            build(name, args.data, args.output / name)


if __name__ == "__main__":
    main()
