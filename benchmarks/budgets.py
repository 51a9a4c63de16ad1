"""How arms of ``arms.py`` compare as the clips they see grow: a table and a picture with a logarithmic axis.

    python benchmarks/arms.py STORE --sets ... --arms motion joints "motion, random masks" --epochs 2 --seeds 0 1 2 \\
        --output budgets/2    # and --epochs 8 --output budgets/8, --epochs 32 --output budgets/32
    python benchmarks/budgets.py 8192=budgets/2 32768=budgets/8 131072=budgets/32 --picture docs/images/budgets.png

Each point is the mean over data sets and seeds of a probe, top-1 accuracy in %; its line reaches from the lowest seed
to the highest.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from mamp.evaluate.page import markdown_table

Found = dict[str, dict[str, np.ndarray]]  # values [sets, seeds] of each probe of each arm


def read(folder: Path) -> Found:
    """What an ablation of ``arms.py`` measured."""
    ablation = json.loads((folder / "ablation.json").read_text(encoding="utf-8"))
    found: Found = {}
    for number, arm in enumerate(ablation["arms"]):
        probes: dict[str, list[list[float]]] = {}
        for column in ablation["evaluations"]:
            probe = column["name"].rsplit(" ", 1)[1]
            probes.setdefault(probe, []).append(column["arms"][number]["values"])
        found[arm["name"]] = {probe: np.array(values) for probe, values in probes.items()}
    return found


def table(budgets: dict[int, Found]) -> str:
    """A row for each budget and arm: the mean over sets of each probe, and the largest distance of a seed from it."""
    probes = list(next(iter(next(iter(budgets.values())).values())))
    rows = []
    for clips, found in budgets.items():
        for arm, values in found.items():
            seeds = [values[probe].mean(axis=0) for probe in probes]
            cells = [f"{each.mean():.1f} ± {np.abs(each - each.mean()).max():.1f}" for each in seeds]
            rows.append([f"{clips:,}", arm, len(seeds[0]), *(cells if len(seeds[0]) > 1 else [c[:4] for c in cells])])
    return "\n".join(markdown_table(["clips", "arm", "seeds", *probes], rows))


def draw(budgets: dict[int, Found], path: Path) -> None:
    """A panel for each probe."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    arms = list(next(iter(budgets.values())))
    probes = list(next(iter(next(iter(budgets.values())).values())))
    figure, panels = plt.subplots(1, len(probes), figsize=(3.6 * len(probes), 3.4), layout="constrained", squeeze=False)
    for panel, probe in zip(panels[0], probes, strict=True):
        for place, arm in enumerate(arms):
            there = [clips for clips in budgets if arm in budgets[clips]]
            seeds = [budgets[clips][arm][probe].mean(axis=0) for clips in there]
            middle = np.array([each.mean() for each in seeds])
            reach = [middle - [each.min() for each in seeds], [each.max() for each in seeds] - middle]
            x = np.array(there) * 1.03 ** (place - (len(arms) - 1) / 2)  # side by side
            panel.errorbar(x, middle, reach, label=arm, marker="o", markersize=4, capsize=2)
        panel.set_xscale("log", base=2)
        panel.set_xticks(list(budgets), [f"{clips:,}" for clips in budgets])
        panel.minorticks_off()
        panel.set_title(probe)
        panel.set_xlabel("clips seen in training")
    panels[0][0].set_ylabel("accuracy, mean of the sets, %")
    panels[0][-1].legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def main() -> None:
    """Print the table, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("budgets", nargs="+", metavar="CLIPS=FOLDER")
    parser.add_argument("--picture", type=Path, help="PNG to write")
    args = parser.parse_args()
    pairs = (word.split("=", 1) for word in args.budgets)
    budgets = {int(clips): read(Path(folder)) for clips, folder in pairs}
    print(table(budgets))
    if args.picture:
        draw(budgets, args.picture)


if __name__ == "__main__":
    main()
