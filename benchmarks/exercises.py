"""Repetitions that are counted, and incorrect performances that are found, in UI-PRMD and MSR-Action3D.

    python benchmarks/exercises.py repetitions DATA_DIR [--every N]
    python benchmarks/exercises.py compare DATA_DIR [--templates 3]

DATA_DIR holds ``ui-prmd.npz`` and ``msr-action3d.npz`` as packed corpora (mamp/prepare/packed.py).

``repetitions`` strings 2 to 10 takes of one action together (all of one person in UI-PRMD, where they are done right;
of several people in MSR-Action3D, which has two or three takes a person), each brought to the place where the one
before began and joined to it by 0.3 s of interpolation, and counts them: mean absolute error, and the share of
recordings counted right to within one, with 95 % bootstrap intervals over recordings. ``poses`` is the same search on
body-centred joint positions; ``constant`` always says 6, the mean of what was drawn; ``length`` divides the length of a
recording by the mean length of a take of the other half of the people.

``compare`` takes correct takes of UI-PRMD as templates, and asks whether an incorrect performance is farther from them
(mean over the templates) than another correct one: area under the ROC curve, mean over the ten exercises. Templates are
of the same person (their first ones, which are not among the tests), or of other people. ``poses`` aligns body-centred
joint positions by the same dynamic time warping, and takes their mean distance along the path; ``clip`` is one minus
the cosine of the embeddings of the whole takes, without an alignment. Intervals are 95 % bootstrap intervals over the
people.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from einops import rearrange
from sklearn.metrics import roc_auc_score

from mamp import MAMPEncoder, Skeleton
from mamp.compare import align
from mamp.posture import body_centred
from mamp.prepare.packed import read_packed
from mamp.repetitions import count_repetitions, repetitions_of

Takes = list[Skeleton]


def string_together(takes: Takes, gap: float = 0.3) -> Skeleton:
    """Takes one after another as one recording, each at the place of the one before."""
    fps = takes[0].fps
    assert fps is not None
    pieces: list[np.ndarray] = []
    for take in takes:
        positions = take.positions[0]
        seen = np.isfinite(positions).all(axis=-1)
        positions = positions - np.nanmean(positions[int(seen.any(axis=1).argmax())], axis=0)
        if pieces:
            share = ((np.arange(round(gap * fps)) + 1) / (round(gap * fps) + 1))[:, None, None]
            pieces.append((1 - share) * pieces[-1][-1] + share * positions[0])
        pieces.append(positions)
    return Skeleton(np.concatenate(pieces)[None], takes[0].layout, fps, name="strung together")


def strings(folder: Path, name: str) -> Iterator[tuple[int, Takes]]:
    """Half of the people, and takes of one action to string together: UI-PRMD by person, MSR-Action3D by half."""
    rng = np.random.default_rng(0)
    takes = [one for one in read_packed(folder / f"{name}.npz") if one.num_frames < 300]
    if name == "ui-prmd":
        groups = [(action, person) for action in range(10) for person in range(1, 11)]
        takes = [one for one in takes if one.info["correct"]]
    else:  # three draws of each
        groups = [(action, half) for action in range(20) for half in (0, 1) for _ in range(3)]
        takes = [one for one in takes if np.isfinite(one.positions).all(axis=-1).mean() > 0.95]
    for action, who in groups:
        mine = [one for one in takes if one.info["label"] == action]
        mine = [one for one in mine if who == (one.info["subject"] if name == "ui-prmd" else one.info["subject"] % 2)]
        count = min(int(rng.integers(2, 11)), len(mine))
        if count > 1:
            yield who % 2, [mine[i] for i in rng.permutation(len(mine))[:count]]


def interval(values: np.ndarray, mean: Callable[[np.ndarray], float] = np.mean) -> str:
    """Mean of values [n] (or [n, ...], over the first axis), with a 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    drawn = [mean(values[rng.integers(len(values), size=len(values))]) for _ in range(2000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{mean(values):.2f} ({low:.2f} to {high:.2f})"


def measure_repetitions(folder: Path, encoder: MAMPEncoder, every: int) -> None:
    """Print the table of counts."""
    print("| | recordings | counted by | mean absolute error | within one |\n|---|---:|---|---:|---:|")
    for name in ("ui-prmd", "msr-action3d"):
        found = list(strings(folder, name))[::every]
        lengths = {
            half: np.mean([one.num_frames for h, takes in found if h == half for one in takes]) for half in (0, 1)
        }
        counts: dict[str, list[int]] = {"embeddings": [], "poses": [], "constant": [], "length": []}
        for half, some in found:
            recording = string_together(some)
            counts["embeddings"].append(count_repetitions(recording, encoder).count)
            poses = rearrange(body_centred(recording), "t v c -> t (v c)")
            counts["poses"].append(repetitions_of(np.nan_to_num(poses), recording.fps or 30.0).count)
            counts["constant"].append(6)
            counts["length"].append(max(1, round(recording.num_frames / lengths[1 - half])))
        true = np.array([len(some) for _, some in found])
        for how, values in counts.items():
            errors = np.abs(np.array(values) - true)
            cells = (name, str(len(true)), how, interval(errors), interval(errors <= 1))
            print("|", " | ".join(cells), "|", flush=True)


def pose_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Mean distance of poses [T, V, 3] along the path that aligns them, in metres."""
    from dtaidistance import dtw, dtw_ndim

    u, v = (np.ascontiguousarray(rearrange(np.nan_to_num(one), "t v c -> t (v c)"), dtype=np.double) for one in (x, y))
    path = np.array(dtw.best_path(dtw_ndim.warping_paths_fast(u, v)[1]))
    apart = rearrange(u[path[:, 0]] - v[path[:, 1]], "p (v c) -> p v c", c=3)
    return float(np.linalg.norm(apart, axis=-1).mean())


def areas(takes: Takes, distance: Callable[[int, int], float], same: bool, templates: int) -> np.ndarray:
    """Area under the ROC curve [people, exercises] of the distance to correct templates; NaN where there are too few.

    Args:
        takes: Of UI-PRMD.
        distance: Of two takes, by their numbers.
        same: Templates are of the same person, not of others.
        templates: How many.
    """
    action, person = (np.array([one.info[key] for one in takes]) for key in ("label", "subject"))
    correct = np.array([bool(one.info["correct"]) for one in takes])
    table = np.full((10, 10), np.nan)
    for p, k in np.ndindex(10, 10):
        tested = np.flatnonzero((action == k) & (person == p + 1))
        if same:
            chosen = tested[correct[tested]][:templates]
            tested = np.setdiff1d(tested, chosen)
        else:
            rng = np.random.default_rng([p, k])
            others = [np.flatnonzero((action == k) & (person == q) & correct) for q in range(1, 11) if q != p + 1]
            chosen = np.array(
                [rng.choice(others[q]) for q in rng.permutation(len(others)) if len(others[q])][:templates]
            )
        wrong = ~correct[tested]
        if len(chosen) and wrong.any() and not wrong.all():
            table[p, k] = roc_auc_score(wrong, [np.mean([distance(i, j) for j in chosen]) for i in tested])
    return table


def distances(takes: Takes, encoder: MAMPEncoder) -> dict[str, Callable[[int, int], float]]:
    """Distances of two takes by their numbers, by what they are made of."""
    frames, clips = encoder.encode(takes, pool="frame"), np.asarray(encoder.encode(takes))
    clips = clips / np.linalg.norm(clips, axis=1, keepdims=True)
    poses = [body_centred(one) for one in takes]
    return {
        "embeddings": lambda i, j: align(frames[i], frames[j])[1],
        "poses": lambda i, j: pose_distance(poses[i], poses[j]),
        "clip": lambda i, j: 1 - float(clips[i] @ clips[j]),
    }


def measure_comparison(folder: Path, encoder: MAMPEncoder, templates: int) -> None:
    """Print the table of incorrect performances found."""
    takes = list(read_packed(folder / "ui-prmd.npz"))
    print("| templates | by | AUROC | lowest and highest of an exercise |\n|---|---|---:|---:|")
    for how, distance in distances(takes, encoder).items():
        for who, same in (("the same person", True), ("other people", False)):
            table = areas(takes, distance, same, templates)
            by_exercise = np.nanmean(table, axis=0)
            cells = (f"{templates} of {who}", how, interval(table, lambda rows: float(np.nanmean(rows))))
            print("|", " | ".join(cells), f"| {by_exercise.min():.2f}, {by_exercise.max():.2f} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("repetitions", "compare"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take each N-th recording only [%(default)s]")
    parser.add_argument("--templates", type=int, default=3, help="correct takes to compare with [%(default)s]")
    parser.add_argument("--weights", default="openmocap")
    args = parser.parse_args()
    encoder = MAMPEncoder.from_pretrained(args.weights)
    if args.what == "repetitions":
        measure_repetitions(args.data, encoder, args.every)
    else:
        measure_comparison(args.data, encoder, args.templates)


if __name__ == "__main__":
    main()
