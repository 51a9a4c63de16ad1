"""What an ablation consists of: a recipe with every combination of some values, and how each is evaluated."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mamp.errors import ConfigError
from mamp.evaluate.registry import get_protocol
from mamp.options import nearest, override, parse, settings, show
from mamp.train.config import TrainConfig
from mamp.train.grids import get_grid
from mamp.train.readout import ReadoutSettings
from mamp.train.recipes import get_recipe

Changes = Mapping[str, str | Sequence[str]]
UNFIT = re.compile(r"[^\w.+-]+")  # for the name of a folder
SET_BY_US = {"run.seed": "the seeds", "run.stop_after": "nothing, since every run is to reach its end"}
UNTRAINED = "untrained"


@dataclass(frozen=True)
class Arm:
    """What is compared.

    Attributes:
        name: Name of its folder: ``target=motion,masking=random``.
        values: Value of each field that is varied, by dotted name.
        config: The run, but for its seed.
        recipe: The recipe that it is made from.
        weights: What is evaluated in place of a run: ``untrained`` (the encoder of ``config`` before the first step),
            or weights by name.
    """

    name: str
    values: dict[str, str]
    config: TrainConfig
    recipe: str
    weights: str | None = None


@dataclass(frozen=True)
class Column:
    """One way in which every arm is evaluated.

    Attributes:
        name: Name of its folder: ``PROTOCOL``, or ``PROTOCOL-SET`` on another set than that of pre-training.
        protocol: Name of the protocol.
        data: Store of labelled clips.
        settings: Fields of the protocol's configuration that are changed, by dotted name.
    """

    name: str
    protocol: str
    data: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """Whether the protocol trains, which takes its time."""
        return hasattr(get_protocol(self.protocol).config, "epochs")


@dataclass(frozen=True)
class Plan:
    """An ablation.

    Attributes:
        recipe: The base recipe.
        data: Store of the clips of pre-training; none where nothing is trained.
        output: Folder of the ablation; a run is in ``ARM/seed=N``.
        arms: The first is what the others are compared with.
        seeds: Of every arm.
        columns: How every arm is evaluated.
        changes: What is changed of the recipe in all arms, as typed.
        split_protocol: Split of the labelled sets, where they have several.
        readout: How a readout is fitted to each encoder before it is evaluated; none is fitted without.
    """

    recipe: str
    data: Path | None
    output: Path
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    columns: tuple[Column, ...]
    changes: dict[str, list[str]] = field(default_factory=dict)
    split_protocol: str | None = None
    readout: ReadoutSettings | None = None

    def runs(self) -> list[tuple[Arm, int]]:
        """Every run: all arms of a seed before the next seed, so that a part of the table is a fair one."""
        return [(arm, seed) for seed in self.seeds for arm in self.arms]

    def folder(self, arm: Arm, seed: int) -> Path:
        """Folder of a run."""
        return self.output / arm.name / f"seed={seed}"

    def evaluation(self, arm: Arm, seed: int, column: Column) -> Path:
        """Folder of an evaluation of a run."""
        return self.folder(arm, seed) / "evaluate" / column.name

    def config(self, arm: Arm, seed: int) -> TrainConfig:
        """Configuration of a run."""
        return override(arm.config, {"run.seed": str(seed)})

    def weights(self, arm: Arm, seed: int) -> str:
        """What is evaluated of a run."""
        if arm.weights not in (None, UNTRAINED):
            return str(arm.weights)
        folder = self.folder(arm, seed)
        return str(folder if self.readout is None else folder / "readout")

    def commands(self, arm: Arm, seed: int) -> list[str]:
        """The command lines that do the same as a run and its evaluations."""
        folder, weights = self.folder(arm, seed), self.weights(arm, seed)
        given = {name: " ".join(words) for name, words in self.changes.items()} | arm.values
        words = ["python", "-m", "mamp.train", arm.recipe, "--data", str(self.data), "--output", str(folder)]
        for name, value in given.items():
            words += [f"--{name}", *(value.split() or [""])]
        lines = [[*words, "--run.seed", str(seed)]]
        if self.readout is not None:
            dim = str(self.readout.dim)
            lines.append(["mamp", "readout", weights, "--weights", str(folder), "--data", str(self.data), "--dim", dim])
        for column in self.columns:
            words = ["python", "-m", "mamp.evaluate", column.protocol, "--weights", weights, "--data", str(column.data)]
            words += ["--output", str(self.evaluation(arm, seed, column)), "--seeds", str(seed)]
            words += ["--split-protocol", self.split_protocol] if self.split_protocol else []
            lines.append([*words, *(word for name, value in column.settings.items() for word in (f"--{name}", value))])
        return [shlex.join(line) for line in lines]


def make_plan(
    recipe: str,
    data: Path,
    output: Path,
    grids: Sequence[str] = (),
    vary: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    protocols: Sequence[str] = (),
    eval_data: Sequence[Path] = (),
    changes: Changes | None = None,
    split_protocol: str | None = None,
    readout: ReadoutSettings | None = None,
) -> Plan:
    """Plan an ablation; ``grids``, ``vary`` and ``changes`` are those of :func:`make_arms`.

    Every arm is evaluated by every protocol on each store of ``eval_data``, or on that of pre-training without any.

    Raises:
        ConfigError: Nothing is varied, or something is unknown, given twice, or makes no sense.
    """
    arms, shared = make_arms(recipe, grids, vary, changes)
    columns = []
    for store in eval_data or [data]:
        suffix = "" if store.resolve() == data.resolve() else f"-{store.resolve().name}"
        columns += [Column(protocol + suffix, protocol, store) for protocol in protocols]
    _check_unique("seeds", [str(seed) for seed in seeds])
    _check_unique("evaluations", [column.name for column in columns])
    return Plan(arms[0].recipe, data, output, arms, tuple(seeds), tuple(columns), shared, split_protocol, readout)


def make_arms(
    recipe: str, grids: Sequence[str] = (), vary: Sequence[str] = (), changes: Changes | None = None
) -> tuple[tuple[Arm, ...], dict[str, list[str]]]:
    """Make an arm of every combination of the values of all fields that are varied.

    Args:
        recipe: Name of the base recipe.
        grids: Names of :data:`mamp.train.grids.GRIDS`.
        vary: ``FIELD=a,b,...`` each; a value of several words has spaces between them.
        changes: What is changed of the recipe in all arms, by dotted name.

    Returns:
        The arms, and the changes that all of them share: the given ones, and those that a grid needs.

    Raises:
        ConfigError: Nothing is varied, or something is unknown, given twice, or makes no sense.
    """
    words = {name: [value] if isinstance(value, str) else list(value) for name, value in (changes or {}).items()}
    given: dict[str, list[str]] = {}
    varied: dict[str, list[str]] = {}
    for grid in map(get_grid, grids):
        given |= {name: [value] for name, value in grid.given.items()}
        _vary(varied, grid.field, list(grid.values.values()))
    for text in vary:
        name, equals, values = text.partition("=")
        if not equals:
            raise ConfigError(f"vary: expected FIELD=a,b,..., found {text!r}.")
        _vary(varied, name.strip(), [value.strip() for value in values.split(",")])
    if not varied:
        raise ConfigError("nothing is varied: name a grid, or a field and its values (FIELD=a,b).")
    for name, instead in (dict.fromkeys(varied, "the values to vary") | SET_BY_US).items():
        if name in words or (name in varied and name in SET_BY_US):
            raise ConfigError(f"{name}: expected it to be set by {instead}.")
    shared = {name: value for name, value in given.items() if name not in varied} | words
    combinations = itertools.product(*varied.values())
    arms = tuple(_arm(recipe, shared, dict(zip(varied, one, strict=True))) for one in combinations)
    _check_unique("arms", [arm.name for arm in arms])
    return arms, shared


def _check_unique(what: str, names: Sequence[str]) -> None:
    """Raise if a name is there twice."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{what}: expected each once, found {', '.join(twice)} more than once.")


def _vary(varied: dict[str, list[str]], name: str, values: list[str]) -> None:
    known = settings(TrainConfig())
    if name not in {setting.name for setting in known}:
        raise ConfigError(f"vary: unknown field {name!r}.{nearest(name, known)}")
    if name in varied:
        raise ConfigError(f"{name}: expected to be varied once, found it varied twice.")
    if len(values) < 2:
        raise ConfigError(f"{name}: expected at least two values to compare, found {', '.join(values)!r}.")
    varied[name] = values


def _arm(recipe: str, shared: Changes, values: dict[str, str]) -> Arm:
    base = get_recipe(recipe)
    if base.after is not None and "init" not in {**shared, **values}:
        raise ConfigError(
            f"{base.name} goes on from a run of {base.after}, which is not varied with it. Expected init, found none: "
            f"give the folder of such a run, or none, or vary {base.after}."
        )
    kinds = {setting.name: setting for setting in settings(base.config)}
    shown = {name: show(parse(kinds[name], [value])) for name, value in values.items()}
    last = [name.rpartition(".")[2] for name in values]
    names = last if len(set(last)) == len(last) else list(values)
    folder = ",".join(f"{name}={UNFIT.sub('-', value)}" for name, value in zip(names, shown.values(), strict=True))
    try:
        return Arm(folder, shown, override(base.config, {**shared, **values}), base.name)
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}") from None
