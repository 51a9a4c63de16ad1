"""The stages of a reproduction, and the configuration of each."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mamp.data import ClipStore
from mamp.errors import ConfigError, DataError
from mamp.evaluate.recipes import RECIPES, EvaluationRecipe
from mamp.evaluate.registry import get_protocol
from mamp.options import override
from mamp.outputs import flatten
from mamp.prepare.dataset import Dataset
from mamp.prepare.ntu import NTU
from mamp.prepare.ntu import get_protocol as get_split
from mamp.prepare.pku import PKU, read_label_file
from mamp.readers import ntu
from mamp.reproduce.paper import EVALUATIONS, PAPER, Benchmark, Evaluation, get_benchmark
from mamp.train.config import TrainConfig
from mamp.train.recipes import get_recipe

RECORD = "reproduction.json"
SMALL = 0.1  # below this budget the encoder is small too
FEW = 4  # fewest labelled clips of a class, and batches of an epoch, in a small run
STEPS = 60  # fewest steps of a small evaluation
SMALL_FINETUNING = {"hidden": "256", "lr": "3e-3", "drop_path": "0", "dropout": "0"}  # learns something in few steps


class Counts(NamedTuple):
    """Clips of a split."""

    train: int
    test: int
    classes: int


@dataclass(frozen=True)
class Stage:
    """One step of the reproduction.

    Attributes:
        name: Its folder below the output.
        split: Split of the clips; none for the preparation.
        evaluation: The number of the paper; none for preparation and pre-training.
    """

    name: str
    split: str | None = None
    evaluation: Evaluation | None = None


PREPARE = Stage("store")


@dataclass(frozen=True)
class Plan:
    """A reproduction.

    Attributes:
        name: Name of the benchmark.
        raw: Its raw files; ``None`` with ``prepared``.
        output: Folder for all results.
        splits: Splits of the benchmark; all by default.
        budget: Share of the published schedules. Below 1, schedules are shorter and batches fit the clips; below 0.1
            the encoder is small too. Anything but 1 only checks that the stages run.
        device: ``auto`` takes a GPU if there is one.
        workers: Processes that read raw files; all cores by default.
        prepared: A prepared store of the benchmark, which replaces the preparation.
        processes: Processes of ``torchrun`` that share training and evaluation.
    """

    name: str
    raw: Path | None
    output: Path
    splits: tuple[str, ...] = ()
    budget: float = 1.0
    device: str = "auto"
    workers: int | None = None
    prepared: Path | None = None
    processes: int = 1

    def __post_init__(self) -> None:
        known = tuple(self.benchmark.splits)
        object.__setattr__(self, "splits", self.splits or known)
        if unknown := [split for split in self.splits if split not in known]:
            raise ConfigError(f"splits: {self.name} has {', '.join(known)}; found {', '.join(unknown)}.")
        if (self.raw is None) == (self.prepared is None):
            raise ConfigError("expected raw files or a prepared store, one of them.")
        if not 0 < self.budget <= 1:
            raise ConfigError(f"budget: expected a share above 0 and up to 1, found {self.budget:g}.")

    @property
    def benchmark(self) -> Benchmark:
        """The data set."""
        return get_benchmark(self.name)

    @cached_property
    def dataset(self) -> Dataset:
        """The raw files."""
        assert self.raw is not None
        return self.benchmark.open(self.raw)

    @property
    def store(self) -> Path:
        """The prepared clips."""
        return self.prepared or self.folder(PREPARE)

    def folder(self, stage: Stage) -> Path:
        """Folder of a stage."""
        return self.output / stage.name

    def pretraining(self, split: str) -> Stage:
        """The stage that trains the encoder of a split."""
        return Stage(f"{split}/pretrain", split)

    def done(self) -> dict[str, float]:
        """Seconds of the finished stages in ``reproduction.json`` whose results exist, by name.

        Raises:
            DataError: The file is damaged.
        """
        path = self.output / RECORD
        try:
            noted: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))["stages"]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: expected the record of a reproduction, found it damaged ({error!r}).") from None
        stages = {stage.name: stage for stage in self.stages()}
        return {name: seconds for name, seconds in noted.items() if name not in stages or self._is_made(stages[name])}

    def _is_made(self, stage: Stage) -> bool:
        made = "meta.json" if stage.split is None else "encoder/config.json"
        return (self.folder(stage) / (made if stage.evaluation is None else "results.json")).exists()

    def evaluations(self, split: str) -> list[Evaluation]:
        """The numbers that the paper reports of a split."""
        return [EVALUATIONS[name] for name in PAPER[self.name, split]]

    def stages(self) -> list[Stage]:
        """All stages, in order."""
        stages = [] if self.prepared else [PREPARE]
        for split in self.splits:
            stages.append(self.pretraining(split))
            stages += [Stage(f"{split}/{one.name}", split, one) for one in self.evaluations(split)]
        return stages

    def counts(self, split: str) -> Counts:
        """Number of clips of a split, from the store or, before there is one, from the raw files."""
        if self.prepared or (self.store / "meta.json").exists():
            store = ClipStore(self.store)
            inside = store.columns[store.split_column(split)] == "train"
            return Counts(int(inside.sum()), int((~inside).sum()), len(np.unique(store.columns["label"])))
        return _counts_of(self.dataset, split)

    def recipe(self, split: str) -> str:
        """Name of the recipe of the pre-training."""
        return get_recipe(f"{self.name}-{split}").name

    def training(self, split: str) -> TrainConfig:
        """The published pre-training, cut to the budget."""
        config = get_recipe(self.recipe(split)).config
        config = replace(config, run=replace(config.run, device=self.device))
        if self.budget == 1 and self.benchmark.epochs is not None:
            steps = self.benchmark.epochs * (self.counts(split).train // config.optim.batch_size)
            config = replace(config, run=replace(config.run, stop_after=max(1, steps)))
        if self.budget == 1:
            return config
        optim = replace(
            config.optim,
            epochs=config.optim.epochs * self.budget,
            warmup_epochs=config.optim.warmup_epochs * self.budget,
            batch_size=_fitting(config.optim.batch_size, self.counts(split).train),
        )
        config = replace(config, optim=optim, data=replace(config.data, workers=0))
        if self.budget >= SMALL:
            return config
        return replace(
            config,
            encoder=config.encoder.replace(dim_feat=64, depth=2, num_heads=4, num_frames=40),
            objective=replace(config.objective, decoder_dim_feat=64, decoder_depth=1),
        )

    def evaluation_recipe(self, stage: Stage) -> EvaluationRecipe | None:
        """The published settings of an evaluation; ``None`` for 1-NN, and for a budget below 1."""
        assert stage.split is not None and stage.evaluation is not None
        recipe = RECIPES[self.recipe(stage.split)]
        return recipe if self.budget == 1 and stage.evaluation.protocol in recipe.settings else None

    def overrides(self, stage: Stage) -> dict[str, str]:
        """Fields that an evaluation changes in its protocol or recipe."""
        assert stage.split is not None and stage.evaluation is not None
        config, share = get_protocol(stage.evaluation.protocol).config, stage.evaluation.share
        changed = {} if share is None else {"share": f"{share:g}"}
        recipe = self.evaluation_recipe(stage)
        if recipe is not None:
            published = override(config, recipe.settings[stage.evaluation.protocol])
            if published.batch_size // self.processes % published.norm_clips:
                changed["norm_clips"] = "none"  # a process has fewer clips than a GPU of the published runs
        if self.budget == 1 or not hasattr(config, "epochs"):
            return changed
        train, _, classes = self.counts(stage.split)
        if share is not None:
            share = min(max(share, FEW * classes / train), 1.0)
            changed = {"share": f"{share:.4g}", "balanced": "true"}
            train = int(train * share)
        batch_size = _fitting(config.batch_size, train)
        epochs = max(config.epochs * self.budget, -(-STEPS // (train // batch_size)))
        changed |= {
            "epochs": f"{epochs:g}",
            "warmup_epochs": f"{config.warmup_epochs * self.budget:g}",
            "batch_size": str(batch_size),
            "eval_every": str(max(1, round(epochs / 2))),
            "workers": "0",
        }
        if self.budget < SMALL and hasattr(config, "hidden"):
            changed |= SMALL_FINETUNING
        return changed

    def command(self, stage: Stage) -> str:
        """The equivalent command."""
        folder = self.folder(stage)
        if stage.split is None:
            return f"python -m mamp.prepare {self.name} {self.raw} {folder}"
        if stage.evaluation is None:
            published, config = get_recipe(self.recipe(stage.split)).config, self.training(stage.split)
            options = _options(dataclasses.asdict(published), dataclasses.asdict(config))
            return f"python -m mamp.train {self.recipe(stage.split)} --data {self.store} --output {folder}{options}"
        options = "".join(f" --{name} {value}" for name, value in self.overrides(stage).items())
        device = "" if self.device == "auto" else f" --device {self.device}"
        recipe = self.evaluation_recipe(stage)
        what = f"--split-protocol {stage.split}" if recipe is None else f"--recipe {recipe.name}"
        return (
            f"python -m mamp.evaluate {stage.evaluation.protocol} {what} --weights "
            f"{self.folder(self.pretraining(stage.split))} --data {self.store} --output {folder}{options}{device}"
        )


def _counts_of(dataset: Dataset, split: str) -> Counts:
    """Number of clips in raw files."""
    names = [item.path.name.partition(".")[0] for item in dataset.list_items().items]
    if isinstance(dataset, NTU):
        facts, rule = list(map(ntu.parse_name, names)), get_split(dataset.benchmark, split)
        rows = [(rule.split(fact[rule.column]) == "train", fact["label"]) for fact in facts]
    else:
        assert isinstance(dataset, PKU)
        inside = dataset.train.get(split, frozenset())
        rows = [(name in inside, row[0]) for name in names for row in read_label_file(dataset.labels[name])]
    train = sum(first for first, _ in rows)
    return Counts(train, len(rows) - train, len({label for _, label in rows}))


def _fitting(batch_size: int, clips: int) -> int:
    """A batch size that gives an epoch a few batches."""
    return max(2, min(batch_size, clips // FEW))


def _options(before: dict[str, object], after: dict[str, object]) -> str:
    old, new = flatten(before), flatten(after)
    return "".join(f" --{name} {value}" for name, value in new.items() if old.get(name) != value)
