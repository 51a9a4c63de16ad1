"""Labels from a few examples: accuracy, calibration, and how well what is of no known class is found.

    python benchmarks/label.py DATA_DIR [--sets nw-ucla msr-action3d ...] [--shots 1 5 10] [--seeds 20] [--poses]

DATA_DIR holds packed corpora (mamp/prepare/packed.py). In each draw a third of the classes is unknown: it has no
examples, and its clips are among the queries. Examples and queries are of different people (NW-UCLA: examples from
views 1 and 2, queries from view 3; Bandai-Namco, whose actors are not named: of different styles). Prints
Markdown rows, one for each number of examples: mean over the draws, and a 95 % interval of that mean over draws (the
draw of classes and examples, not of people). ``--poses`` takes body-centred joint positions at 30 moments in place of
embeddings.

accuracy    of queries of known classes, nothing called unknown
ECE         expected calibration error of their probabilities, 15 bins of equal width; and with the temperature 1
AUROC       of the probability of being known, queries of known against those of unknown classes
kept        queries of known classes that are not called unknown
found       queries of unknown classes that are
right       queries of both kinds that get the right label, "unknown" included, each kind counted half
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from sklearn.metrics import roc_auc_score

from mamp import MAMPEncoder, Skeleton
from mamp.classes import HEADS, Classes, fit_classes
from mamp.posture import body_centred, one_person
from mamp.prepare.packed import read_packed

Columns = dict[str, np.ndarray]
# Which clips examples are drawn from; queries are the others.
SETS: dict[str, Callable[[Columns], np.ndarray]] = {
    "nw-ucla": lambda columns: columns["view"] < 3,
    "msr-action3d": lambda columns: columns["subject"] % 2 == 1,
    "cad60": lambda columns: columns["subject"] % 2 == 1,
    "citi-daily": lambda columns: columns["subject"] % 2 == 1,
    "bandai-namco": lambda columns: np.unique(columns["style"], return_inverse=True)[1] % 2 == 1,
}
SAMPLE = {"cad60": 80, "bandai-namco": 60}  # clips of a class, of sets that are large


def pose_features(recording: Skeleton) -> np.ndarray:
    """Body-centred joint positions at 30 moments, what was not tracked at the pelvis, as one vector."""
    poses = np.nan_to_num(body_centred(one_person(recording, 0)))
    return rearrange(poses[np.linspace(0, len(poses) - 1, 30).round().astype(int)], "t v c -> (t v c)")


def features(path: Path, encoder: MAMPEncoder | None, cache: Path | None) -> Columns:
    """Embeddings, or poses without an encoder, ``x`` [n, D], classes ``y`` [n], and the columns of a set."""
    kept = None if cache is None else cache / f"{'label' if encoder else 'poses'}-{path.stem}.npz"
    if kept is not None and kept.exists():
        return dict(np.load(kept))
    recordings = [one for one in read_packed(path) if np.isfinite(one.positions).all(axis=-1).any()]
    names = np.array([str(one.info.get("label", one.info.get("content"))) for one in recordings])
    if path.stem in SAMPLE:
        order = np.random.default_rng(0).permutation(len(names))
        chosen = np.sort(np.concatenate([order[names[order] == one][: SAMPLE[path.stem]] for one in np.unique(names)]))
        recordings, names = [recordings[i] for i in chosen], names[chosen]
    found: Columns = {key: np.array([one.info[key] for one in recordings]) for key in recordings[0].info}
    x = encoder.encode(recordings) if encoder else np.stack([pose_features(one) for one in recordings])
    found |= {"x": np.asarray(x), "y": np.unique(names, return_inverse=True)[1]}
    if kept is not None:
        np.savez(kept, **found)
    return found


def calibration_error(probabilities: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error of the largest probability [n], against whether it was right [n]."""
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [abs(float((right[place == k] - probabilities[place == k]).sum())) for k in range(bins)]
    return sum(gaps) / len(right)


def choose(y: np.ndarray, examples: np.ndarray, shots: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Known and unknown classes of a draw, and the rows of the examples, ``shots`` of each known class in its order."""
    rng = np.random.default_rng([seed, shots])
    usable = [k for k in np.unique(y) if (examples & (y == k)).sum() >= shots and (~examples & (y == k)).any()]
    classes = rng.permutation(usable)
    unknown, known = classes[: len(classes) // 3], classes[len(classes) // 3 :]
    chosen = [rng.permutation(np.flatnonzero(examples & (y == k)))[:shots] for k in known]
    return known, unknown, np.concatenate(chosen)


def draw(data: Columns, examples: np.ndarray, shots: int, seed: int, head: Any = "auto") -> dict[str, float]:
    """One draw of known classes and their examples: all numbers of a row."""
    x, y = data["x"], data["y"]
    known, unknown, chosen = choose(y, examples, shots, seed)
    model = fit_classes(x[chosen], np.repeat(np.arange(len(known)), shots), head)
    place = {k: i for i, k in enumerate(known)}
    inside, outside = ~examples & np.isin(y, known), ~examples & np.isin(y, unknown)
    return score(model, x[inside], np.array([place[k] for k in y[inside]]), x[outside])


def score(model: Classes, x: np.ndarray, y: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """All numbers of a row, in per cent, from queries [n, D] of classes [n], and queries of no known class."""
    probabilities = model.probabilities(x)
    right = probabilities.argmax(axis=1) == y
    plain = replace(model, temperature=1.0).probabilities(x)
    inside, outside = model.known(x), model.known(other)
    truth = np.repeat([1, 0], [len(inside), len(outside)])
    numbers = {
        "accuracy": right.mean(),
        "ECE": calibration_error(probabilities.max(axis=1), right),
        "ECE without": calibration_error(plain.max(axis=1), right),
        "AUROC": roc_auc_score(truth, np.concatenate([inside, outside])),
        "kept": (inside >= 0.5).mean(),
        "found": (outside < 0.5).mean(),
        "right": ((right & (inside >= 0.5)).mean() + (outside < 0.5).mean()) / 2,
        "discriminant": model.head == "discriminant",
        "temperature": model.temperature / 100,
    }
    return {name: 100 * float(value) for name, value in numbers.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--seeds", type=int, default=20, help="draws [%(default)s]")
    parser.add_argument("--head", choices=("auto", *HEADS), default="auto")
    parser.add_argument("--poses", action="store_true", help="joint positions in place of embeddings")
    parser.add_argument("--weights", default="openmocap")
    parser.add_argument("--cache", type=Path, help="folder in which features are kept")
    args = parser.parse_args()
    encoder = None if args.poses else MAMPEncoder.from_pretrained(args.weights)
    shown = ("accuracy", "ECE", "ECE without", "AUROC", "kept", "found", "right", "discriminant", "temperature")
    print("| set | examples |", " | ".join(shown), "|")
    print("|---|---:|" + "---:|" * len(shown))
    for name in args.sets:
        data = features(args.data / f"{name}.npz", encoder, args.cache)
        examples = SETS[name](data)
        for shots in args.shots:
            rows = [draw(data, examples, shots, seed, args.head) for seed in range(args.seeds)]
            cells = []
            for key in shown:
                values = np.array([row[key] for row in rows])
                half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
                digits = 2 if key == "temperature" else 1
                cells.append(f"{values.mean():.{digits}f} ± {half:.{digits}f}")
            print(f"| {name} | {shots} |", " | ".join(cells), "|", flush=True)
        facts = {"set": name, "clips": len(data["y"]), "classes": len(np.unique(data["y"]))}
        print("<!--", json.dumps(facts | {"from": int(examples.sum())}), "-->", flush=True)


if __name__ == "__main__":
    main()
