"""Weights beside each other on the development sets: mean rank, mean accuracy, and errors against those of raw poses.

    python benchmarks/arms.py --sets nw-ucla=... cad60-1=... cad60-2=... --weights poses openmocap ... --output judged
    python benchmarks/judge.py judged/ablation.json

Reads what ``arms.py --weights`` has written. Sets that differ by a number after a dash are folds of one set (CAD-60:
leave one subject out), of which the mean is taken. *1-NN* is the better of standardised and raw embeddings, for all
alike. A rank is that among the weights here, in each set and probe; its mean is over all of them. The error that is
left is that of 1-NN relative to ``poses``, mean over sets.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from mamp.evaluate.page import markdown_table

POSES = "poses"
FOLD = re.compile(r"-\d+$")


def accuracies(paths: list[Path]) -> dict[str, dict[tuple[str, str], float]]:
    """Mean over folds and seeds by weights, set and probe; 1-NN is the better of the two."""
    folds: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for path in paths:
        for column in json.loads(path.read_text(encoding="utf-8"))["evaluations"]:
            name, probe = column["name"].split(" ", 1)
            for row in column["arms"]:
                folds[row["arm"], FOLD.sub("", name), probe].append(row["mean"])
    found: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for (weights, name, probe), values in folds.items():
        key = (name, "1-NN" if probe == "raw" else probe)
        found[weights][key] = max(found[weights].get(key, 0.0), float(np.mean(values)))
    return found


def mean_ranks(scores: np.ndarray) -> np.ndarray:
    """Mean over columns of the rank of each row [R, C], 1 for the largest; equal ones share theirs."""
    better = (scores[None] > scores[:, None]).sum(axis=1)
    equal = (scores[None] == scores[:, None]).sum(axis=1)
    return np.asarray((better + (equal + 1) / 2).mean(axis=1))


def table(found: dict[str, dict[tuple[str, str], float]]) -> str:
    """A row for each of the weights, the best rank first, in Markdown."""
    columns = list(next(iter(found.values())))
    names = list(found)
    scores = np.array([[found[name][column] for column in columns] for name in names])
    nearest = [number for number, (_, probe) in enumerate(columns) if probe == "1-NN"]
    ranks = mean_ranks(scores)
    errors = 100 - scores[:, nearest]
    left = 100 * (errors / errors[names.index(POSES)]).mean(axis=1) if POSES in names else np.full(len(names), np.nan)
    rows = [
        [names[row], f"{ranks[row]:.1f}", f"{scores[row].mean():.1f}", f"{left[row]:.0f} %", *scores[row].round(1)]
        for row in np.argsort(ranks)
    ]
    return "\n".join(
        markdown_table(["weights", "mean rank", "mean", "error left", *(" ".join(column) for column in columns)], rows)
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ablations", nargs="+", type=Path, metavar="JSON", help="of the same sets, other weights each")
    print(table(accuracies(parser.parse_args().ablations)))


if __name__ == "__main__":
    main()
