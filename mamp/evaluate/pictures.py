"""Pictures of a result: confusion matrix, recall by class, and training curves. Needs matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mamp.figures import GROUPS, LIGHT, new_figure, style_chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = 30  # with more classes than this, their names are not legible
WRITTEN = 20  # with more than this, the numbers in the matrix are not legible


def draw_result(found: dict[str, Any], classes: Sequence[str]) -> dict[str, bytes]:
    """Draw what ``results.json`` says, as PNG by file name.

    Raises:
        ImportError: matplotlib is not installed.
    """
    pictures = {}
    title = f"{found['protocol']}: {found['weights']['name']} on {found['data']['name']}"
    if found["confusion"] is not None:
        pictures["confusion.png"] = draw_confusion(np.array(found["confusion"]), classes, title)
        pictures["classes.png"] = draw_classes(found["classes"], title)
    curves = {trial["seed"]: trial["history"] for trial in found["trials"] if len(trial["history"]) > 1}
    if curves:
        pictures["history.png"] = draw_history(curves, title)
    return pictures


def draw_confusion(confusion: Any, classes: Sequence[str], title: str) -> bytes:
    """Share of each true class (row) that is predicted as each class (column), from counts [K, K]."""
    total = confusion.sum(axis=1, keepdims=True)
    share = np.divide(100 * confusion, total, out=np.zeros(confusion.shape), where=total > 0)
    size = float(np.clip(0.35 * len(classes) + 2.5, 5, 14))
    figure = new_figure(figsize=(size + 1, size), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axis, shrink=0.8, label="% of the true class")
    axis.set(xlabel="predicted class", ylabel="true class")
    axis.set_title(title, fontsize=10)
    if len(classes) <= NAMED:
        places = range(len(classes))
        axis.set_xticks(places, [_short(name) for name in classes], rotation=90, fontsize=8)
        axis.set_yticks(places, [_short(name) for name in classes], fontsize=8)
    if len(classes) <= WRITTEN:
        for true, said in zip(*np.nonzero(share >= 0.5), strict=True):
            color = "white" if share[true, said] > 55 else "black"
            axis.text(said, true, f"{share[true, said]:.0f}", ha="center", va="center", fontsize=7, color=color)
    return _png(figure)


def draw_classes(rows: Sequence[dict[str, Any]], title: str) -> bytes:
    """Recall of each class as a bar and precision as a mark, in order of recall."""
    rows = sorted((row for row in rows if row["count"]), key=lambda row: row["recall"])
    figure = new_figure(figsize=(7, float(np.clip(0.22 * len(rows) + 1.2, 3, 30))), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(rows))
    axis.barh(places, [row["recall"] for row in rows], color=LIGHT.accent, alpha=0.75, label="recall")
    axis.plot([row["precision"] for row in rows], places, "k|", markersize=7, label="precision")
    axis.set_yticks(places, [f"{_short(row['class'])} ({row['count']})" for row in rows], fontsize=8)
    axis.set(xlim=(0, 101), ylim=(-0.6, len(rows) - 0.4), xlabel="per cent")
    axis.set_title(title, fontsize=10)
    style_chart(axis, grid="x")
    axis.legend(fontsize=8, loc="lower right")
    return _png(figure)


def draw_history(curves: dict[int, list[dict[str, float]]], title: str) -> bytes:
    """Losses and accuracies over the epochs, a line for each seed."""
    names = list(dict.fromkeys(name for lines in curves.values() for line in lines for name in line))
    losses = [name for name in names if "loss" in name]
    others = [name for name in names if name not in losses and ("top" in name or "mean_class" in name)]
    kinds = [(kind, label) for kind, label in ((losses, "loss"), (others, "per cent")) if kind]
    figure = new_figure(figsize=(8, 3 * len(kinds) + 0.5), layout="constrained")
    axes = figure.subplots(len(kinds), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (kind, unit) in zip(axes, kinds, strict=True):
        for number, name in enumerate(kind):
            for seed, lines in curves.items():
                points = [(line["epoch"], line[name]) for line in lines if name in line]
                label = name if seed == next(iter(curves)) else None
                axis.plot(
                    *zip(*points, strict=True),
                    color=GROUPS[number % len(GROUPS)],
                    alpha=0.8,
                    linewidth=1.2,
                    label=label,
                )
        axis.set_ylabel(unit)
        style_chart(axis)
        axis.legend(fontsize=8)
    axes[-1].set_xlabel("epoch")
    axes[0].set_title(title, fontsize=10)
    return _png(figure)


def draw_arms(arms: Sequence[dict[str, Any]], title: str) -> bytes:
    """Arms of an ablation below one another: mean, interval and the values of the seeds, in per cent."""
    figure = new_figure(figsize=(8, 0.45 * len(arms) + 1.3), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(arms))[::-1]
    for place, arm in zip(places, arms, strict=True):
        if arm["interval"] is not None:
            axis.plot(arm["interval"], [place, place], color=LIGHT.accent, linewidth=2, alpha=0.6)
        axis.plot(arm["values"], [place] * len(arm["values"]), "o", color=LIGHT.faint, markersize=4)
        axis.plot([arm["mean"]], [place], "|", color=LIGHT.accent, markersize=14, markeredgewidth=2)
    axis.set_yticks(places, [arm["arm"] for arm in arms], fontsize=8)
    axis.set(xlabel="per cent: mean (bar), seeds (points), interval (line)", ylim=(-0.6, len(arms) - 0.4))
    axis.set_title(title, fontsize=10)
    style_chart(axis, grid="x")
    return _png(figure)


def _short(name: str) -> str:
    return name if len(name) <= 28 else name[:26] + "..."


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
