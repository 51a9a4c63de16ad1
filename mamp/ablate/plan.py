"""What an ablation runs: its arms, its seeds, and how each run is evaluated."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mamp.data import ClipStore
from mamp.errors import ConfigError, TrainingError
from mamp.options import nearest, override, parse, settings, show
from mamp.train.checkpoint import list_checkpoints
from mamp.train.config import TrainConfig
from mamp.train.grids import get_grid
from mamp.train.recipes import get_recipe
from mamp.train.record import differences
from mamp.train.report import read_run_file

Changes = Mapping[str, str | Sequence[str]]
UNFIT = re.compile(r"[^\w.+-]+")  # for the name of a folder
SET_BY_US = {"run.seed": "--seeds", "run.stop_after": "nothing, since every run is to reach its end"}


@dataclass(frozen=True)
class Arm:
    """One combination of the values that are varied.

    Attributes:
        name: ``target=motion,masking=random``: name of its folder.
        values: Value of each field that is varied, by dotted name.
        config: The run, but for its seed.
    """

    name: str
    values: dict[str, str]
    config: TrainConfig


@dataclass(frozen=True)
class Column:
    """One way in which every run is evaluated.

    Attributes:
        name: ``PROTOCOL``, or ``PROTOCOL-SET`` on another set than that of pre-training.
        protocol: Name of the protocol.
        data: Store of labelled clips.
    """

    name: str
    protocol: str
    data: Path


@dataclass(frozen=True)
class Plan:
    """An ablation.

    Attributes:
        recipe: The base recipe.
        data: Store of the clips of pre-training.
        output: Folder of the ablation; a run is in ``ARM/seed=N``.
        arms: The first is what the others are compared with.
        seeds: Of every arm.
        columns: How every run is evaluated.
        changes: What is changed of the recipe in all arms, as typed.
        split_protocol: Split of the labelled sets, where they have several.
    """

    recipe: str
    data: Path
    output: Path
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    columns: tuple[Column, ...]
    changes: dict[str, list[str]] = field(default_factory=dict)
    split_protocol: str | None = None

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

    def commands(self, arm: Arm, seed: int) -> list[str]:
        """The command lines that do the same as a run and its evaluations."""
        given = {name: " ".join(words) for name, words in self.changes.items()} | arm.values
        words = ["python", "-m", "mamp.train", self.recipe, "--data", str(self.data)]
        words += ["--output", str(self.folder(arm, seed))]
        for name, value in given.items():
            words += [f"--{name}", *(value.split() or [""])]
        lines = [shlex.join([*words, "--run.seed", str(seed)])]
        for column in self.columns:
            words = ["python", "-m", "mamp.evaluate", column.protocol, "--weights", str(self.folder(arm, seed))]
            words += ["--data", str(column.data), "--output", str(self.evaluation(arm, seed, column))]
            words += ["--seeds", str(seed)]
            words += ["--split-protocol", self.split_protocol] if self.split_protocol else []
            lines.append(shlex.join(words))
        return lines


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
) -> Plan:
    """Put an ablation together; every combination of the values of all fields that are varied is an arm.

    Args:
        recipe: The base recipe.
        data: Store of the clips of pre-training.
        output: Folder of the ablation.
        grids: Names of :data:`mamp.train.grids.GRIDS`.
        vary: ``FIELD=a,b,...`` each; a value of several words has spaces between them.
        seeds: Of every arm.
        protocols: Of ``python -m mamp.evaluate``.
        eval_data: Stores of labelled clips; that of pre-training when there are none.
        changes: What is changed of the recipe in all arms, by dotted name.
        split_protocol: Split of the labelled sets.

    Raises:
        ConfigError: Nothing is varied, or something is unknown, given twice, or makes no sense.
    """
    base = get_recipe(recipe)
    words = {name: [value] if isinstance(value, str) else list(value) for name, value in (changes or {}).items()}
    given: dict[str, list[str]] = {}
    varied: dict[str, list[str]] = {}
    for grid in map(get_grid, grids):
        given |= {name: [value] for name, value in grid.given.items()}
        _add_field(varied, grid.field, list(grid.values.values()))
    for text in vary:
        name, equals, values = text.partition("=")
        if not equals:
            raise ConfigError(f"--vary: expected FIELD=a,b,... found {text!r}.")
        _add_field(varied, name.strip(), [value.strip() for value in values.split(",")])
    if not varied:
        raise ConfigError("nothing is varied: name a grid with --grid, or fields with --vary FIELD=a,b.")
    for name, instead in (dict.fromkeys(varied, "--grid or --vary") | SET_BY_US).items():
        if name in words or (name in varied and name in SET_BY_US):
            raise ConfigError(f"--{name}: expected it to be set by {instead}.")
    fixed = {name: value for name, value in given.items() if name not in varied} | words
    arms = [_arm(base.config, fixed, dict(zip(varied, values, strict=True))) for values in _product(varied)]
    _check_unique("arms", [arm.name for arm in arms])
    _check_unique("seeds", [str(seed) for seed in seeds])
    columns = _columns(protocols, data, eval_data)
    return Plan(base.name, data, output, tuple(arms), tuple(seeds), columns, fixed, split_protocol)


def _product(varied: Mapping[str, list[str]]) -> itertools.product[tuple[str, ...]]:
    return itertools.product(*varied.values())


def _add_field(varied: dict[str, list[str]], name: str, values: list[str]) -> None:
    """Note what is varied of a field."""
    known = settings(TrainConfig())
    if name not in {setting.name for setting in known}:
        raise ConfigError(f"--vary: unknown field {name!r}.{nearest(name, known)}")
    if name in varied:
        raise ConfigError(f"{name}: expected one grid or --vary for a field, found two.")
    if len(values) < 2:
        raise ConfigError(f"{name}: expected at least two values to compare, found {', '.join(values)!r}.")
    varied[name] = values


def _arm(base: TrainConfig, fixed: Changes, values: dict[str, str]) -> Arm:
    """The arm of some values."""
    kinds = {setting.name: setting for setting in settings(base)}
    shown = {name: show(parse(kinds[name], [value])) for name, value in values.items()}
    last = [name.rpartition(".")[2] for name in values]
    names = last if len(set(last)) == len(last) else list(values)
    parts = [f"{name}={UNFIT.sub('-', value)}" for name, value in zip(names, shown.values(), strict=True)]
    config = override(base, {**fixed, **values})
    objective = config.objective
    if objective.target == "joints" and objective.joints_weight:
        raise ConfigError(
            f"{','.join(parts)}: objective.joints_weight is {objective.joints_weight:g}, which goes beside the target "
            "motion only; give --objective.joints_weight 0."
        )
    return Arm(",".join(parts), shown, config)


def _columns(protocols: Sequence[str], data: Path, eval_data: Sequence[Path]) -> tuple[Column, ...]:
    """Each protocol on each labelled set."""
    columns = []
    for store in eval_data or [data]:
        suffix = "" if store.resolve() == data.resolve() else f"-{store.resolve().name}"
        columns += [Column(protocol + suffix, protocol, store) for protocol in protocols]
    _check_unique("evaluations", [column.name for column in columns])
    return tuple(columns)


def _check_unique(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{what}: expected each once, found {', '.join(twice)} more than once.")


def check_folders(plan: Plan) -> None:
    """Raise if a folder of the plan holds a run of another configuration, seed or data; nothing is started then.

    Raises:
        DataError: The store is missing or damaged.
        TrainingError: A folder is that of another run.
    """
    sha256 = ClipStore(plan.data).info.get("sha256")
    for arm, seed in plan.runs():
        folder = plan.folder(arm, seed)
        if not (folder / "run.json").exists() or not list_checkpoints(folder / "checkpoints"):
            continue  # before the first checkpoint there is nothing to go on with
        found = read_run_file(folder)
        different = differences(found["config"], json.loads(json.dumps(plan.config(arm, seed).to_dict())))
        if found["config"].get("run", {}).get("seed") != seed:
            different.append("run.seed")
        if found.get("data_sha256", sha256) != sha256:
            different.append(f"the clips: {found.get('data')} then, {plan.data} now")
        if different:
            raise TrainingError(
                f"{folder}: holds a run of another configuration (different: {', '.join(different)}). Choose another "
                "--output, or remove the folder to start over."
            )
