"""Ablations: train each arm with each seed, fit a readout if asked, evaluate, and compare the arms with the first.

Runs are done one at a time, in ``OUTPUT/ARM/seed=N``, as ``python -m mamp.train`` and ``python -m mamp.evaluate`` do
them. What is finished is not done again; a run that fails does not stop the others.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mamp.data import ClipStore
from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError, DataError, MAMPError, TrainingError
from mamp.evaluate.comparison import ablation_page, compare_arms
from mamp.evaluate.registry import get_protocol
from mamp.evaluate.result import LEVEL
from mamp.evaluate.runner import evaluate
from mamp.options import nearest, override, parse, settings
from mamp.options import show as show_value
from mamp.outputs import dump_json, plain, write_whole
from mamp.train.checkpoint import list_checkpoints
from mamp.train.config import TrainConfig
from mamp.train.engine import train
from mamp.train.estimate import estimate
from mamp.train.grids import get_grid
from mamp.train.loop import StoppedError
from mamp.train.readout import ReadoutSettings, add_readout
from mamp.train.recipes import get_recipe
from mamp.train.record import differences, environment
from mamp.train.report import describe_run, is_run, read_run_file
from mamp.train.start import check_device, check_store, interrupt_saves, silence

logger = logging.getLogger(__name__)

Changes = Mapping[str, str | Sequence[str]]
FORMAT = 1
UNTRAINED = "untrained"
FINISHED, FAILED, PENDING = "finished", "failed", "pending"
SMALL_RUN = 600.0  # seconds
FIRST_STEPS, MORE_STEPS = 2, 14
UNFIT = re.compile(r"[^\w.+-]+")  # for the name of a folder
SET_BY_US = {"run.seed": "--seeds", "run.stop_after": "nothing, since every run is to reach its end"}


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
        readout: How a readout is fitted to each encoder, if one is.

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
    combinations = itertools.product(*varied.values())
    arms = [_arm(base.name, base.config, fixed, dict(zip(varied, one, strict=True))) for one in combinations]
    columns = []
    for store in eval_data or [data]:
        suffix = "" if store.resolve() == data.resolve() else f"-{store.resolve().name}"
        columns += [Column(protocol + suffix, protocol, store) for protocol in protocols]
    _check_unique("arms", [arm.name for arm in arms])
    _check_unique("seeds", [str(seed) for seed in seeds])
    _check_unique("evaluations", [column.name for column in columns])
    return Plan(base.name, data, output, tuple(arms), tuple(seeds), tuple(columns), fixed, split_protocol, readout)


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


def _arm(recipe: str, base: TrainConfig, fixed: Changes, values: dict[str, str]) -> Arm:
    """The arm of some values."""
    kinds = {setting.name: setting for setting in settings(base)}
    shown = {name: show_value(parse(kinds[name], [value])) for name, value in values.items()}
    last = [name.rpartition(".")[2] for name in values]
    names = last if len(set(last)) == len(last) else list(values)
    folder = ",".join(f"{name}={UNFIT.sub('-', value)}" for name, value in zip(names, shown.values(), strict=True))
    try:
        config = override(base, {**fixed, **values})
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}") from None
    return Arm(folder, shown, config, recipe)


def _check_unique(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{what}: expected each once, found {', '.join(twice)} more than once.")


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        arm: Its arm.
        seed: Its seed.
        folder: Its folder.
        state: ``finished``, ``failed``, or ``pending`` when the ablation was stopped before its end.
        loss: Last loss of pre-training.
        error: What went wrong, in training or in an evaluation.
        evaluations: What ``results.json`` of each evaluation says, by the name of the column.
    """

    arm: Arm
    seed: int
    folder: Path
    state: str = PENDING
    loss: float | None = None
    error: str | None = None
    evaluations: dict[str, dict[str, Any]] = field(default_factory=dict)


def run_plan(plan: Plan) -> tuple[list[Outcome], bool]:
    """Do all that is not done yet. A run that fails is noted, and the others go on.

    Returns:
        What came of each run, in the order of :meth:`Plan.runs`, and whether the ablation was stopped by a signal.

    Raises:
        ConfigError: A protocol is unknown, the device cannot be used, or the clips are placed otherwise than expected.
        DataError: A store is missing or damaged.
        TrainingError: A folder holds a run of another configuration.
    """
    for column in plan.columns:
        override(get_protocol(column.protocol).config, column.settings)
    check_device(plan.arms[0].config.run.device)
    if plan.data is not None:
        for arm in plan.arms:
            check_store(arm.config, plan.data)
    check_folders(plan)
    outcomes = [Outcome(arm, seed, plan.folder(arm, seed)) for arm, seed in plan.runs()]
    for number, outcome in enumerate(outcomes, 1):
        where = f"{outcome.arm.name}, seed {outcome.seed} ({number} of {len(outcomes)})"
        try:
            with _failures_noted(outcome, where), interrupt_saves():
                _make_weights(plan, outcome, where)
                for column in plan.columns:
                    with _failures_noted(outcome, f"{where}, {column.name}"):
                        outcome.evaluations[column.name] = _evaluate(plan, outcome, column, where)
                outcome.state = FAILED if outcome.error else FINISHED
        except StoppedError:
            return outcomes, True
    return outcomes, False


def check_folders(plan: Plan) -> None:
    """Raise if a folder of the plan holds a run of another configuration, seed or data; nothing is started then.

    Raises:
        DataError: The store is missing or damaged.
        TrainingError: A folder is that of another run.
    """
    sha256 = None if plan.data is None else ClipStore(plan.data).info.get("sha256")
    for arm, seed in plan.runs():
        folder = plan.folder(arm, seed)
        if not (folder / "run.json").exists() or not list_checkpoints(folder / "checkpoints"):
            continue  # before the first checkpoint there is nothing to go on with
        found = read_run_file(folder)
        different = differences(found["config"], plain(plan.config(arm, seed).to_dict()))
        if found["config"].get("run", {}).get("seed") != seed:
            different.append("run.seed")
        if found.get("data_sha256", sha256) != sha256:
            different.append(f"the clips: {found.get('data')} then, {plan.data} now")
        if different:
            raise TrainingError(
                f"{folder}: holds a run of another configuration (different: {', '.join(different)}). Choose another "
                "output folder, or remove this one to start over."
            )


@contextmanager
def _failures_noted(outcome: Outcome, where: str) -> Iterator[None]:
    """Note an error of this run, and let the others go on."""
    try:
        yield
    except StoppedError:
        raise
    except (MAMPError, OSError, torch.OutOfMemoryError) as error:
        outcome.state = FAILED
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        outcome.error = reason if outcome.error is None else f"{outcome.error}; {reason}"
        logger.error("%s: failed: %s", where, reason)


def _make_weights(plan: Plan, outcome: Outcome, where: str) -> None:
    """Train a run to its end and fit its readout, unless they are there."""
    arm, folder, data = outcome.arm, outcome.folder, plan.data
    if data is None or arm.weights not in (None, UNTRAINED):
        return
    encoder = folder / "encoder" / "model.safetensors"
    if arm.weights == UNTRAINED:
        if not encoder.exists():
            torch.manual_seed(outcome.seed)
            MAMPEncoder(arm.config.encoder).eval().save_pretrained(encoder.parent)
    else:
        done = is_finished(folder)
        logger.info("%s: %s", where, "trained already" if done else "training")
        if not done:
            train(plan.config(arm, outcome.seed), data, folder, recipe=arm.recipe)
        if not is_finished(folder):
            raise StoppedError(f"{folder}: stopped; the same command goes on.")
        outcome.loss = describe_run(folder)["loss"]
    readout = folder / "readout" / "model.safetensors"
    if plan.readout is None or (readout.exists() and readout.stat().st_mtime_ns >= encoder.stat().st_mtime_ns):
        return
    logger.info("%s: fitting the readout", where)
    add_readout(MAMPEncoder.from_pretrained(encoder.parent), ClipStore(data), plan.readout).save_pretrained(
        readout.parent
    )


def _evaluate(plan: Plan, outcome: Outcome, column: Column, where: str) -> dict[str, Any]:
    """Evaluate the encoder of a run; what is there is read back."""
    output = plan.evaluation(outcome.arm, outcome.seed, column)
    known = (output / "results.json").exists()
    logger.info("%s: %s%s", where, column.name, " evaluated already" if known else "")
    found = evaluate(
        column.protocol,
        plan.weights(outcome.arm, outcome.seed),
        column.data,
        output,
        seeds=(outcome.seed,),
        split_protocol=plan.split_protocol,
        overrides=column.settings,
        device=outcome.arm.config.run.device,
    )
    if not found:
        raise StoppedError(f"{output}: stopped; the same command goes on.")
    return found


def estimate_seconds(plan: Plan, arm: Arm) -> tuple[float, bool]:
    """About how long a run of an arm takes, and whether its evaluations are in that.

    Large runs are extrapolated from a few steps. Of a run of minutes, start, checkpoints, readout and evaluation are a
    large part: the first steps and everything after the last one are really done then, in a temporary folder.
    """
    assert plan.data is not None
    rough = estimate(arm.config, check_store(arm.config, plan.data)).run_seconds or 0.0
    if rough > SMALL_RUN:
        return rough, False
    with tempfile.TemporaryDirectory(prefix="mamp-dry-run-") as place, silence():
        trial = dataclasses.replace(plan, output=Path(place), arms=(arm,))
        try:
            return _try_run(trial, arm, plan.data), True
        except MAMPError:
            return rough, False  # what is wrong with the run will be said by the run


def _try_run(plan: Plan, arm: Arm, data: Path) -> float:
    """Seconds of a run: a first piece, a second one that tells what a step takes, and what follows the last step."""
    folder, seed = plan.folder(arm, plan.seeds[0]), plan.seeds[0]
    spent = []
    for stop in FIRST_STEPS, MORE_STEPS:
        began = time.perf_counter()
        train(override(plan.config(arm, seed), {"run.stop_after": str(stop)}), data, folder, recipe=arm.recipe)
        spent.append(time.perf_counter() - began)
    run = describe_run(folder)
    steps = run["step"] - FIRST_STEPS
    step = max(spent[1] - spent[0], 0.0) / (steps - FIRST_STEPS) if steps > FIRST_STEPS else 0.0
    seconds = spent[0] + max(run["total_steps"] - FIRST_STEPS, 0) * step
    began = time.perf_counter()
    if plan.readout is not None:
        encoder = add_readout(MAMPEncoder.from_pretrained(folder), ClipStore(data), plan.readout)
        encoder.save_pretrained(folder / "readout")
    outcome = Outcome(arm, seed, folder)
    for column in plan.columns:
        if not hasattr(get_protocol(column.protocol).config, "epochs"):  # those that train take what they take
            _evaluate(plan, outcome, column, arm.name)
    return seconds + time.perf_counter() - began


def is_finished(folder: Path) -> bool:
    """Whether a run is at its end, and its encoder is that of its last step.

    The encoder is written after the last checkpoint; where it is older, the run was killed in between, and one call of
    ``train`` puts it right.
    """
    weights = folder / "encoder" / "model.safetensors"
    checkpoints = list_checkpoints(folder / "checkpoints")
    if not is_run(folder) or not checkpoints or not weights.exists():
        return False
    run, last = describe_run(folder), checkpoints[-1]
    at_end = run["finished"] and int(last.stem.removeprefix("step-")) == run["total_steps"]
    return bool(at_end and weights.stat().st_mtime_ns >= last.stat().st_mtime_ns)


def tabulate(plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What an ablation found, as plain values.

    Intervals are from a bootstrap over test clips and seeds. The difference of an arm to the first is paired by clip.
    """
    columns = []
    for column in plan.columns:
        folders: dict[str, list[Path]] = {arm.name: [] for arm in plan.arms}
        for outcome in outcomes:
            if column.name in outcome.evaluations:
                folders[outcome.arm.name].append(plan.evaluation(outcome.arm, outcome.seed, column))
        columns.append(compare_arms(column.name, column.protocol, folders))
    return {
        "format": FORMAT,
        "recipe": plan.recipe,
        "data": None
        if plan.data is None
        else {"name": plan.data.resolve().name, "sha256": ClipStore(plan.data).info.get("sha256")},
        "changes": {name: " ".join(words) for name, words in plan.changes.items()},
        "seeds": list(plan.seeds),
        "arms": [{"name": arm.name, "values": arm.values} for arm in plan.arms],
        "evaluations": [column for column in columns if column is not None],
        "runs": [
            {
                "arm": outcome.arm.name,
                "seed": outcome.seed,
                "state": outcome.state,
                "loss": outcome.loss,
                "error": outcome.error,
                "evaluated": sorted(outcome.evaluations),
            }
            for outcome in outcomes
        ],
        "complete": all(outcome.state == FINISHED for outcome in outcomes),
        "notes": _notes(plan, outcomes),
        "level": LEVEL,
        "environment": environment(),
        "arguments": sys.argv[1:],
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "pictures": [],
    }


def write_tables(plan: Plan, found: dict[str, Any]) -> None:
    """Write ``ablation.json``, ``ablation.md`` and ``ablation.png`` (with matplotlib) into the folder of the ablation.

    Raises:
        DataError: The folder cannot be written.
    """
    try:
        plan.output.mkdir(parents=True, exist_ok=True)
        found["pictures"] = _draw(found, plan.output)
        write_whole(plan.output / "ablation.md", ablation_page(found))
        write_whole(plan.output / "ablation.json", dump_json(found) + "\n")
    except OSError as error:
        raise DataError(f"{plan.output}: cannot write the tables here ({error}).") from None


def _notes(plan: Plan, outcomes: Sequence[Outcome]) -> list[str]:
    """What a reader should know."""
    notes = []
    seen = None if plan.data is None or plan.arms[0].config.data.split is not None else plan.data.resolve()
    if any(column.data.resolve() == seen for column in plan.columns):
        notes.append("Pre-training saw the test clips too (data.split is none), without their labels.")
    for arm in plan.arms:
        objective = arm.config.objective
        if objective.masking == "motion" and objective.motion_aware_tau <= 0:
            notes.append(f"{arm.name}: motion_aware_tau is {objective.motion_aware_tau:g}, which masks at random.")
    notes += [
        f"{outcome.arm.name}, seed {outcome.seed}: {outcome.error}" for outcome in outcomes if outcome.state == FAILED
    ]
    left = sum(outcome.state not in (FINISHED, FAILED) for outcome in outcomes)
    if left:
        notes.append(f"{left} of {len(outcomes)} runs are not done yet; the same command goes on.")
    return notes


def _draw(found: dict[str, Any], output: Path) -> list[str]:
    """Draw each evaluation; nothing without matplotlib."""
    try:
        from mamp.evaluate.pictures import draw_arms

        names = []
        for column in found["evaluations"]:
            rows = [(c["arm"], c["mean"], c["interval"], c["values"]) for c in column["arms"] if c["mean"] is not None]
            title = f"{column['protocol']} {column['metric']} on {column['data']['name']}, per cent"
            name = f"ablation-{column['name']}.png"
            write_whole(output / name, draw_arms(rows, title))
            names.append(name)
        return names
    except ImportError:
        return []
