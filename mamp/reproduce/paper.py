"""What the paper reports, and on which data; nothing here was measured with this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mamp.config import suggest
from mamp.errors import ConfigError
from mamp.prepare.dataset import Dataset
from mamp.prepare.ntu import NTU
from mamp.prepare.pku import PKU


@dataclass(frozen=True)
class Benchmark:
    """A data set of the paper.

    Attributes:
        name: What the user types; with a split, the name of the recipe.
        title: Its name in words.
        open: Its raw files.
        splits: Training and test clips of each split, by the official lists; ``None`` where these do not give them.
        epochs: Epochs of the schedule after which the published evaluation takes the encoder; ``None``: at its end.
    """

    name: str
    title: str
    open: Callable[[Path], Dataset]
    splits: Mapping[str, tuple[int, int] | None]
    epochs: int | None = None


BENCHMARKS = {
    one.name: one
    for one in (
        Benchmark("ntu60", "NTU RGB+D 60", lambda raw: NTU(raw, 60), {"xsub": (40091, 16487), "xview": (37646, 18932)}),
        Benchmark(
            "ntu120", "NTU RGB+D 120", lambda raw: NTU(raw, 120), {"xsub": (63026, 50919), "xset": (54468, 59477)}
        ),
        Benchmark("pku1", "PKU-MMD I", lambda raw: PKU(raw, 1), {"xsub": None}, 301),
        Benchmark("pku2", "PKU-MMD II", lambda raw: PKU(raw, 2), {"xsub": None}, 301),
    )
}


@dataclass(frozen=True)
class Evaluation:
    """One number of the paper's table.

    Attributes:
        name: Its folder.
        protocol: Protocol of :mod:`mamp.evaluate`.
        title: What the page calls it.
        share: Share of the labels, for ``semi``.
    """

    name: str
    protocol: str
    title: str
    share: float | None = None


EVALUATIONS = {
    one.name: one
    for one in (
        Evaluation("linear", "linear", "linear"),
        Evaluation("finetune", "finetune", "fine-tuned"),
        Evaluation("semi-1", "semi", "semi-supervised, 1 % of the labels", 0.01),
        Evaluation("semi-10", "semi", "semi-supervised, 10 % of the labels", 0.1),
        Evaluation("knn", "knn", "1-NN"),
    )
}

# Top-1 accuracy in %, joint stream. The 1-NN numbers are from one later paper, the others quoted by several.
PAPER: dict[tuple[str, str], dict[str, float]] = {
    ("ntu60", "xsub"): {"linear": 84.9, "finetune": 93.1, "semi-1": 66.0, "semi-10": 88.0, "knn": 62.0},
    ("ntu60", "xview"): {"linear": 89.1, "finetune": 97.5, "semi-1": 68.7, "semi-10": 91.5, "knn": 70.0},
    ("ntu120", "xsub"): {"linear": 78.6, "finetune": 90.0},
    ("ntu120", "xset"): {"linear": 79.1, "finetune": 91.3},
    ("pku1", "xsub"): {"linear": 92.2},
    ("pku2", "xsub"): {"linear": 53.8},
}
# The same for the checkpoints that the authors released, as their repository reports them.
RELEASED: dict[tuple[str, str], dict[str, float]] = {
    ("ntu60", "xsub"): {"linear": 85.0, "finetune": 93.0},
    ("ntu60", "xview"): {"linear": 89.0, "finetune": 97.5},
    ("ntu120", "xsub"): {"linear": 78.1, "finetune": 89.8},
    ("ntu120", "xset"): {"linear": 79.5, "finetune": 91.5},
}


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
        ConfigError: There is none.
    """
    if name not in BENCHMARKS:
        raise ConfigError(
            f"unknown benchmark {name!r}.{suggest(name, list(BENCHMARKS))} Known: {', '.join(BENCHMARKS)}."
        )
    return BENCHMARKS[name]
