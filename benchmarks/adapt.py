"""What adapting weights to labelled examples does to nearest neighbours (mamp/adapt.py).

    python benchmarks/adapt.py DATA_DIR [--sets nw-ucla msr-action3d ...] [--shots 2 5 10] [--seeds 10] [--cache DIR]

DATA_DIR, sets, examples and queries are those of ``benchmarks/label.py``: in each draw two thirds of the classes have
examples. Prints Markdown rows, one for each number of examples: mean over the draws, and a 95 % interval of the mean
difference. Neighbours are those by cosine, embeddings centred on the mean of the examples.

examples    queries whose nearest example is of their class
search      queries of these classes whose nearest other query is of their class
others      the same, of and among the queries of the classes that have no examples
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from label import SETS, Columns, choose, features

from mamp import MAMPEncoder
from mamp.classes import SHRINKAGE, class_scaling, unit


def nearest_right(x: np.ndarray, y: np.ndarray, among: np.ndarray, names: np.ndarray) -> float:
    """Share of queries [n, D] whose nearest of ``among`` [m, D] is of their class; themselves do not count."""
    cosine = x @ among.T
    if x is among:
        np.fill_diagonal(cosine, -np.inf)
    return float((names[cosine.argmax(axis=1)] == y).mean())


def draw(data: Columns, examples: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """[2, 3] the numbers of a row, before and after."""
    x, y = data["x"].astype(np.float64), data["y"]
    known, unknown, chosen = choose(y, examples, shots, seed)
    scaling = class_scaling(x[chosen], y[chosen], SHRINKAGE)
    assert scaling is not None
    inside, outside = (~examples & np.isin(y, some) for some in (known, unknown))
    rows = []
    for change in (np.eye(x.shape[1]), scaling):
        z = unit((x - x[chosen].mean(axis=0)) @ change)
        own, other = z[inside], z[outside]
        rows.append(
            [
                nearest_right(own, y[inside], z[chosen], y[chosen]),
                nearest_right(own, y[inside], own, y[inside]),
                nearest_right(other, y[outside], other, y[outside]),
            ]
        )
    return 100 * np.array(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--shots", type=int, nargs="+", default=[2, 5, 10])
    parser.add_argument("--seeds", type=int, default=10, help="draws [%(default)s]")
    parser.add_argument("--weights", default="openmocap")
    parser.add_argument("--cache", type=Path, help="folder in which embeddings are kept")
    args = parser.parse_args()
    encoder = MAMPEncoder.from_pretrained(args.weights)
    print("| set | examples a class | nearest example | search | search, other classes |")
    print("|---|---:|---:|---:|---:|")
    for name in args.sets:
        data = features(args.data / f"{name}.npz", encoder, args.cache)
        for shots in args.shots:
            found = np.stack([draw(data, SETS[name](data), shots, seed) for seed in range(args.seeds)])
            (before, after), change = found.mean(axis=0), found[:, 1] - found[:, 0]
            error = 1.96 * change.std(axis=0, ddof=1) / np.sqrt(args.seeds)
            cells = [
                f"{a:.1f} to {b:.1f} ({b - a:+.1f} ± {e:.1f})" for a, b, e in zip(before, after, error, strict=True)
            ]
            print(f"| {name} | {shots} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
