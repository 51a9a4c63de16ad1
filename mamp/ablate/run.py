"""Run an ablation: train each arm with each seed, fit a readout if asked, evaluate, and compare with the first arm.

Runs are done one at a time, in ``OUTPUT/ARM/seed=N``, as ``python -m mamp.train`` and ``python -m mamp.evaluate`` do
them. What is finished is not done again; a run that fails does not stop the others.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mamp.ablate.plan import UNTRAINED, Arm, Column, Plan
from mamp.data import ClipStore
from mamp.encoder import MAMPEncoder
from mamp.errors import MAMPError, TrainingError
from mamp.evaluate.comparison import compare_arms
from mamp.evaluate.registry import get_protocol
from mamp.evaluate.result import LEVEL
from mamp.evaluate.runner import evaluate
from mamp.options import override
from mamp.outputs import plain
from mamp.train.checkpoint import list_checkpoints
from mamp.train.engine import train
from mamp.train.loop import StoppedError
from mamp.train.readout import add_readout
from mamp.train.record import differences, environment
from mamp.train.report import describe_run, is_run, read_run_file
from mamp.train.start import check_device, check_store, interrupt_saves

logger = logging.getLogger(__name__)

FORMAT = 1
FINISHED, FAILED, PENDING = "finished", "failed", "pending"


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
                        outcome.evaluations[column.name] = evaluate_run(plan, outcome, column, where)
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
    if plan.readout is not None and not _is_newer(folder / "readout", encoder):
        logger.info("%s: fitting the readout", where)
        fit_readout(plan, folder)


def fit_readout(plan: Plan, folder: Path) -> None:
    """Fit the readout of a run to the clips of pre-training, and save the encoder with it."""
    assert plan.data is not None and plan.readout is not None
    encoder = MAMPEncoder.from_pretrained(folder / "encoder")
    add_readout(encoder, ClipStore(plan.data), plan.readout).save_pretrained(folder / "readout")


def _is_newer(weights: Path, than: Path) -> bool:
    """Whether a folder holds weights that are as new as a file."""
    path = weights / "model.safetensors"
    return path.exists() and path.stat().st_mtime_ns >= than.stat().st_mtime_ns


def evaluate_run(plan: Plan, outcome: Outcome, column: Column, where: str) -> dict[str, Any]:
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


def is_finished(folder: Path) -> bool:
    """Whether a run is at its end, and its encoder is that of its last step.

    The encoder is written after the last checkpoint; where it is older, the run was killed in between, and one call of
    ``train`` puts it right.
    """
    checkpoints = list_checkpoints(folder / "checkpoints")
    if not is_run(folder) or not checkpoints:
        return False
    run, last = describe_run(folder), checkpoints[-1]
    at_end = run["finished"] and int(last.stem.removeprefix("step-")) == run["total_steps"]
    return bool(at_end and _is_newer(folder / "encoder", last))


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
        "data": plan.data and {"name": plan.data.resolve().name, "sha256": ClipStore(plan.data).info.get("sha256")},
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
