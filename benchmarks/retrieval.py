"""How well embeddings find the same action: against raw poses and DTW, within a set and across sensors.

    python benchmarks/retrieval.py sets DATA_DIR                 one set is the archive and gives the queries
    python benchmarks/retrieval.py sensors DATA_DIR              queries from the Kinect, an archive of motion capture
    python benchmarks/retrieval.py table RESULTS                 the lines of --output as the tables of docs/search.md

DATA_DIR holds packed corpora (mamp/prepare/packed.py). Queries are whole clips, at most ``--queries`` of a set, drawn
with a fixed seed (of a class, in ``sensors``); of Bandai-Namco and CAD-60 every sixth clip is taken. What the same
person did is no hit for a query (the same style of Bandai-Namco, which does not name its actors), so that a query must
be found in others. Four ways to compare, all on the first person of clips in the model's joints, turned to the camera
as the weights expect:

    mamp     cosine of the embeddings
    centred  the same, after subtracting the mean of the archive
    poses    cosine of poses: 30 frames, each centred at the spine, all coordinates in one vector
    dtw      dynamic time warping of the same 30 poses, band of 8 frames (dtaidistance)

For each: mean average precision, recall at k (queries with a hit among the first k), chance (mean share of the archive
that is a hit), and milliseconds of one core to prepare a clip and to compare a query with the archive. One JSON line a
set and way.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from dtaidistance import dtw_ndim
from probe import read_set

from mamp import MAMPEncoder, Skeleton
from mamp.layouts import get_layout
from mamp.preprocessing import prepare_clip
from mamp.readers.msr import CLASSES as MSR
from mamp.readers.nwucla import CLASSES as UCLA

EVERY = {"bandai-namco": 6, "cad60": 6}
SETS = ("nw-ucla", "msr-action3d", "hdm05-11", "cad60", "citi-daily", "bandai-namco", "ui-prmd")
STEPS, BAND, RANKS = 30, 8, (1, 5, 10)
WAYS = ("mamp", "centred", "poses", "dtw")

# What the sets call one action. All other clips of the archive are there to be mistaken for it.
ACTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "walk": {"nw-ucla": ("walk around",), "citi-daily": ("walk",), "bandai-namco": ("walk",)},
    "run": {"msr-action3d": ("jogging",), "hdm05-11": ("jogLeftCircle4StepsRstart",), "bandai-namco": ("run", "dash")},
    "throw": {"nw-ucla": ("throw",), "msr-action3d": ("high throw",), "mhad-mocap": ("throwing",),
              "hdm05-11": ("throwBasketball",)},
    "pick up or bend": {"nw-ucla": ("pick up with one hand", "pick up with two hands"), "msr-action3d": ("bend",),
                        "citi-daily": ("pick_up_books",), "mhad-mocap": ("bending",), "hdm05-11": ("depositFloorR",)},
    "sit down": {"nw-ucla": ("sit down",), "citi-daily": ("sit_down",), "mhad-mocap": ("sit_down",)},
    "stand up": {"nw-ucla": ("stand up",), "citi-daily": ("stand_up",), "mhad-mocap": ("stand_up",)},
    "wave one hand": {"msr-action3d": ("high arm wave",), "citi-daily": ("wave_hand",),
                      "mhad-mocap": ("waving_one_hand",), "bandai-namco": ("wave-left-hand", "wave-right-hand")},
    "wave two hands": {"msr-action3d": ("two hand wave",), "mhad-mocap": ("waving_two_hands",),
                       "bandai-namco": ("wave-both-hands",)},
    "clap": {"msr-action3d": ("hand clap",), "citi-daily": ("clap",), "mhad-mocap": ("clapping",)},
    "punch": {"msr-action3d": ("forward punch",), "mhad-mocap": ("punching",), "bandai-namco": ("punch",)},
    "kick": {"msr-action3d": ("forward kick",), "hdm05-11": ("kickLFront1Reps",), "bandai-namco": ("kick",)},
}  # fmt: skip
SENSORS = ("nw-ucla", "msr-action3d", "citi-daily")
ARCHIVE = {"mhad-mocap": 2, "hdm05-11": 1, "bandai-namco": 6}  # every second clip, and so on


class Clips:
    """The clips of a set: embeddings [n, D], poses [n, STEPS, V * 3], names of their classes, and whose they are."""

    def __init__(
        self, encoder: MAMPEncoder, folder: Path, name: str, every: int = 1, classes: dict[str, int] | None = None
    ) -> None:
        recordings = read_set(folder / f"{name}.npz")[::every]
        self.name, self.labels = name, np.array(class_names(name, folder, recordings))
        if classes is not None:  # at most so many clips of these only
            rows = [np.flatnonzero(self.labels == label) for label in classes]
            rows = [some[draw(len(some), most)] for some, most in zip(rows, classes.values(), strict=True)]
            kept = np.sort(np.concatenate(rows))
            recordings, self.labels = [recordings[i] for i in kept], self.labels[kept]
        self.groups = np.array([str(one.info.get("subject", one.info.get("style"))) for one in recordings])
        start = time.process_time()
        self.x = np.concatenate([encoder.encode(one, pool="person")[:1] for one in recordings])
        middle = time.process_time()
        self.poses = np.stack([poses_of(one, encoder) for one in recordings])
        self.ms = {"mamp": middle - start, "poses": time.process_time() - middle}
        self.ms = {way: 1e3 * seconds / len(recordings) for way, seconds in self.ms.items()}

    def __len__(self) -> int:
        return len(self.labels)


def class_names(name: str, folder: Path, recordings: list[Skeleton]) -> list[str]:
    """The class of each recording in the words of its set."""
    if name == "bandai-namco":
        return [one.info["content"] for one in recordings]
    with np.load(folder / f"{name}.npz") as arrays:
        names = [str(one) for one in arrays["classes"]] if "classes" in arrays else None
    names = {"nw-ucla": UCLA, "msr-action3d": MSR}.get(name, names)
    return [str(one.info["label"]) if names is None else names[one.info["label"]] for one in recordings]


def poses_of(recording: Skeleton, encoder: MAMPEncoder) -> np.ndarray:
    """Poses [STEPS, V * 3] of the first person, each centred at the spine; joints that are absent stay there."""
    expected = encoder.config.preprocessing
    layout = get_layout(expected.layout)
    (x, clip) = prepare_clip(recording, expected, encoder.config.num_frames, everybody=True)
    poses = np.asarray(x[0, :: encoder.config.num_frames // STEPS], np.float64)
    poses = poses - poses[:, [layout.joints.index("spine_mid")]]
    poses[:, ~clip.tracked[0].any(axis=0)] = 0
    return poses.reshape(STEPS, -1)


def compare(way: str, queries: Clips, rows: np.ndarray, archive: list[Clips]) -> np.ndarray:
    """Similarity [Q, N] of some queries with all clips of an archive."""
    if way == "dtw":
        series = [*queries.poses[rows], *(pose for clips in archive for pose in clips.poses)]
        block = ((0, len(rows)), (len(rows), len(series)))
        found = dtw_ndim.distance_matrix_fast(series, series[0].shape[1], block=block, window=BAND, parallel=False)
        return -found[: len(rows), len(rows) :]
    field = "poses" if way == "poses" else "x"
    q = getattr(queries, field)[rows].reshape(len(rows), -1)
    x = np.concatenate([getattr(clips, field).reshape(len(clips), -1) for clips in archive])
    if way == "centred":
        q, x = q - x.mean(axis=0), x - x.mean(axis=0)
    return (q / np.linalg.norm(q, axis=1, keepdims=True)) @ (x / np.linalg.norm(x, axis=1, keepdims=True)).T


def ranking_scores(similar: np.ndarray, relevant: np.ndarray, allowed: np.ndarray) -> dict[str, float]:
    """Mean average precision, recall at k and chance, in per cent, of queries that have a hit at all."""
    keep = (relevant & allowed).any(axis=1)
    found: dict[str, list[float]] = {"map": [], "chance": [], **{f"recall@{k}": [] for k in RANKS}}
    for row, right, there in zip(similar[keep], relevant[keep], allowed[keep], strict=True):
        order = np.argsort(-row[there], kind="stable")
        hits = right[there][order]
        places = np.flatnonzero(hits)
        found["map"].append(float(np.mean(np.arange(1, len(places) + 1) / (places + 1))))
        found["chance"].append(float(hits.mean()))
        for k in RANKS:
            found[f"recall@{k}"].append(float(hits[:k].any()))
    return {name: round(100 * float(np.mean(values)), 1) for name, values in found.items()}


def measure(queries: Clips, rows: np.ndarray, archive: list[Clips], relevant: np.ndarray, allowed: np.ndarray) -> list:
    """One line for each way to compare."""
    lines = []
    for way in WAYS:
        start = time.process_time()
        similar = compare(way, queries, rows, archive)
        ms = 1e3 * (time.process_time() - start) / len(rows)
        prepared = queries.ms["mamp" if way in ("mamp", "centred") else "poses"]
        scores = ranking_scores(similar, relevant, allowed)
        lines.append({"way": way, **scores, "ms_prepare": round(prepared, 2), "ms_compare": round(ms, 3)})
    return lines


def draw(count: int, most: int) -> np.ndarray:
    """Some rows of so many, in order, always the same."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def measure_sets(encoder: MAMPEncoder, args: argparse.Namespace, say: Any) -> None:
    """Each set against itself."""
    for name in args.sets:
        clips = Clips(encoder, args.data, name, EVERY.get(name, 1))
        rows = draw(len(clips), args.queries)
        relevant = clips.labels[rows, None] == clips.labels
        allowed = clips.groups[rows, None] != clips.groups
        counts = {"set": name, "clips": len(clips), "queries": len(rows), "classes": len(set(clips.labels))}
        for line in measure(clips, rows, [clips], relevant, allowed):
            say({"measured": "sets", **counts, **line})


def measure_sensors(encoder: MAMPEncoder, args: argparse.Namespace, say: Any) -> None:
    """Queries from the Kinect, an archive of motion capture, for each action that both have."""
    archive = [Clips(encoder, args.data, name, every) for name, every in ARCHIVE.items()]
    for name in SENSORS:
        shared = {label: args.queries for words in ACTIONS.values() for label in words.get(name, ())}
        queries = Clips(encoder, args.data, name, classes=shared)
        for action, words in ACTIONS.items():
            rows = np.flatnonzero(np.isin(queries.labels, words.get(name, ())))
            if not len(rows):
                continue
            rows = rows[draw(len(rows), args.queries)]
            hits = np.concatenate([np.isin(clips.labels, words.get(clips.name, ())) for clips in archive])
            relevant = np.broadcast_to(hits, (len(rows), len(hits)))
            counts = {"set": name, "action": action, "queries": len(rows), "clips": len(hits), "hits": int(hits.sum())}
            for line in measure(queries, rows, archive, relevant, np.ones_like(relevant)):
                say({"measured": "sensors", **counts, **line})


def tables(lines: list[dict[str, Any]]) -> str:
    """Markdown tables: a row for each set, or set and action, and way."""
    found = []
    for measured in ("sets", "sensors"):
        some = [line for line in lines if line["measured"] == measured]
        first = ["set", "clips", "queries"] if measured == "sets" else ["action", "queries from", "queries", "hits"]
        columns = [*first, "way", "mAP", *(f"R@{k}" for k in RANKS), "chance", "ms to prepare", "ms to compare"]
        found += [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"] if some else []
        for line in some:
            start = [line["set"], line["clips"]] if measured == "sets" else [line["action"], line["set"]]
            start += [line["queries"]] + ([] if measured == "sets" else [line["hits"]])
            numbers = [line["map"], *(line[f"recall@{k}"] for k in RANKS), line["chance"]]
            cells = [*start, line["way"], *numbers, line["ms_prepare"], line["ms_compare"]]
            found.append(f"| {' | '.join(map(str, cells))} |")
        found += [""] if some else []
    return "\n".join(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("sets", "sensors", "table"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="openmocap", help="[%(default)s]")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="[all]")
    parser.add_argument("--queries", type=int, default=500, help="at most so many queries of a set [%(default)s]")
    parser.add_argument("--output", type=Path, help="a file to append the lines to")
    args = parser.parse_args()
    if args.what == "table":
        print(tables([json.loads(line) for line in args.data.read_text(encoding="utf-8").splitlines()]))
        return

    def say(line: dict[str, Any]) -> None:
        print(json.dumps(line), flush=True)
        if args.output:
            with args.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    encoder = MAMPEncoder.from_pretrained(args.weights)
    (measure_sets if args.what == "sets" else measure_sensors)(encoder, args, say)


if __name__ == "__main__":
    main()
