"""What the embedding of a clip says of two people, placed together by the first of them or each alone (``apart``).

    python benchmarks/pairs.py interactions DATA_DIR [--weights openmocap]
    python benchmarks/pairs.py couples DATA_DIR

DATA_DIR holds the packed corpora. Prints a JSON line for each way of embedding; top-1 accuracy in per cent, with 95 %
bootstrap intervals over the test clips.

- ``interactions``: made-up pairs of real takes of MSR-Action3D. The one person does one of six actions, the other
  anything, in one of four relations: near (0.8 m) or far (1.7 m) and face to face, side by side, or approaching. Which
  of the two comes first is drawn by lot, and so is the direction of the pair. The 24 classes are an action and a
  relation. Trained on takes of odd subjects, tested on the others.
- ``couples``: salsa of CMU, 14 dances. Windows of two seconds, with the partner as he was, or from another time of the
  dance, at the same mean place and facing the same way. Are they dancing together? Trained on even dances, tested on
  odd ones.

Ways: ``together`` places both by the first, ``mean`` is the mean of both embedded alone, ``relation`` is only how they
stand to each other, ``apart`` is the mean with the relation added, and ``side by side`` the two next to each other.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from probe import Probe, halves, read_set, with_interval

from mamp import MAMPEncoder, Skeleton
from mamp.geometry import facing_angle, lerp, resample_index, rotation_matrix, to_the_right
from mamp.layouts import MODEL_LAYOUT
from mamp.preprocessing import normalize
from mamp.relation import relation

FRAMES, FPS = 60, 30
ACTIONS = {3: "hand catch", 4: "forward punch", 5: "high throw", 6: "draw x", 7: "draw tick", 8: "draw circle"}
RELATIONS = ("near", "far", "beside", "approach")
CENTRE = MODEL_LAYOUT.joints.index(MODEL_LAYOUT.center)
Labelled = tuple[list[np.ndarray], np.ndarray, np.ndarray]  # pairs [2, T, V, 3], labels, which are for training


def turned(x: np.ndarray, angle: float) -> np.ndarray:
    """Turn about the vertical."""
    return np.asarray(x @ rotation_matrix(np.array([[0, angle, 0]], np.float32))[0].T, np.float32)


def upright(recording: Skeleton) -> np.ndarray:
    """[FRAMES, V, 3]: filled in, from the origin, facing the camera."""
    x = normalize(recording, MAMPEncoder.from_pretrained("openmocap").config.preprocessing).positions[0]
    low, high, share = resample_index(0, len(x), FRAMES)
    return lerp(x[low], x[high], share[:, None, None])


def interactions(folder: Path) -> Labelled:
    """Pairs of takes of MSR-Action3D."""
    recordings = read_set(folder / "msr-action3d.npz")
    labels, train = halves("msr-action3d", recordings)
    takes = [upright(recording) for recording in recordings]
    rng = np.random.default_rng(0)
    pairs, classes, for_training = [], [], []
    for half in (True, False):
        here = np.flatnonzero(train == half)
        for number, action in ACTIONS.items():
            for kind in RELATIONS:
                for one in here[labels[here] == number]:
                    pairs.append(stand(takes[one], takes[rng.choice(here)], kind, rng))
                    classes.append(f"{action}, {kind}")
                    for_training.append(half)
    return pairs, np.array(classes), np.array(for_training)


def stand(one: np.ndarray, other: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Place two people [T, V, 3] who face the camera as a pair [2, T, V, 3]."""
    distance = {"near": 0.8, "far": 1.7, "beside": 0.8, "approach": 1.7}[kind] * rng.uniform(0.85, 1.15)
    if kind == "beside":
        other = other + np.float32([distance, 0, 0])
    else:
        other = turned(other, np.pi + rng.normal(0, 0.3)) + np.float32([rng.normal(0, 0.15), 0, -distance])
    if kind == "approach":
        one = one + np.linspace(0, 1, len(one), dtype=np.float32)[:, None, None] * np.float32([0, 0, -0.9])
    pair = turned(np.stack([one, other]), rng.uniform(-np.pi, np.pi))
    return pair[::-1].copy() if rng.random() < 0.5 else pair


def couples(folder: Path) -> Labelled:
    """Windows of dancing couples, and of couples put together from different times."""
    takes = {
        recording.name.split("/")[-1]: recording.to_layout(MODEL_LAYOUT)
        for recording in read_set(folder / "cmu-bvh43.npz")
    }
    rng = np.random.default_rng(0)
    pairs, labels, for_training = [], [], []
    for number, name in enumerate(sorted(name for name in takes if name.startswith("60_"))):
        she, he = (takes[f"{subject}{name[2:]}"].positions[0] for subject in ("60", "61"))
        starts = range(0, min(len(she), len(he)) - FRAMES + 1, FRAMES)
        for start in starts:
            true = he[start : start + FRAMES]
            later = rng.choice([other for other in starts if abs(other - start) >= 5 * FPS])
            for label, partner in (("together", true), ("shuffled", in_place_of(true, he[later : later + FRAMES]))):
                pairs.append(np.stack([she[start : start + FRAMES], partner]))
                labels.append(label)
                for_training.append(number % 2 == 0)
    return pairs, np.array(labels), np.array(for_training)


def in_place_of(true: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Move ``shown`` [T, V, 3] to the mean place of ``true``, facing the same way on average."""
    before, after = (float(facing_angle(to_the_right(x, MODEL_LAYOUT))) for x in (shown, true))
    ground = np.float32([1, 0, 1])
    moved = turned(shown - shown[:, CENTRE].mean(axis=0) * ground, before - after)
    return np.asarray(moved + true[:, CENTRE].mean(axis=0) * ground, np.float32)


def ways(encoder: MAMPEncoder, pairs: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Rows [n, E] of each way of embedding pairs."""
    recordings = [Skeleton(pair, MODEL_LAYOUT.name, fps=FPS) for pair in pairs]
    alone = [encoder.encode([Skeleton(pair[[i]], MODEL_LAYOUT.name, fps=FPS) for pair in pairs]) for i in (0, 1)]
    mean = np.mean(alone, axis=0)
    numbers = np.stack([relation(pair, np.ones(pair.shape[:-1], bool), MODEL_LAYOUT) for pair in pairs])
    return {
        "together": np.asarray(encoder.encode(recordings, preprocessing={"apart": False})),
        "mean": mean,
        "relation": numbers,
        "apart": np.asarray(encoder.encode(recordings, preprocessing={"apart": True})),
        "side by side": np.concatenate([mean, numbers], axis=1),
    }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("interactions", "couples"))
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--weights", default="openmocap")
    args = parser.parse_args()
    pairs, labels, train = {"interactions": interactions, "couples": couples}[args.what](args.data)
    print(json.dumps({"pairs": len(pairs), "train": int(train.sum()), "classes": len(set(labels))}))
    targets = {"class": labels}
    if args.what == "interactions":
        action, kind = np.array([label.rsplit(", ", 1) for label in labels]).T
        targets |= {"action": action, "relation": kind}
    for name, x in ways(MAMPEncoder.from_pretrained(args.weights), pairs).items():
        for target, values in targets.items():
            hits = Probe(x[train], values[train]).hits(x[~train], values[~train])
            found = {probe: with_interval(hit) for probe, hit in hits.items()}
            print(json.dumps({"weights": args.weights, "way": name, "of": target, **found}), flush=True)


if __name__ == "__main__":
    main()
