"""Run an ablation: train and evaluate what is not done yet, one run at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mamp.ablate.plan import Arm, Column, Plan, check_folders
from mamp.errors import MAMPError
from mamp.evaluate.registry import get_protocol
from mamp.evaluate.result import read_results
from mamp.evaluate.runner import evaluate
from mamp.train.checkpoint import list_checkpoints
from mamp.train.engine import train
from mamp.train.loop import StoppedError
from mamp.train.report import describe_run, is_run
from mamp.train.start import check_device, check_store, interrupt_saves

logger = logging.getLogger(__name__)

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
        get_protocol(column.protocol)
    check_device(plan.arms[0].config.run.device)
    for arm in plan.arms:
        check_store(arm.config, plan.data)
    check_folders(plan)
    outcomes = [Outcome(arm, seed, plan.folder(arm, seed)) for arm, seed in plan.runs()]
    for number, outcome in enumerate(outcomes, 1):
        where = f"{outcome.arm.name}, seed {outcome.seed} ({number} of {len(outcomes)})"
        try:
            with _failures_noted(outcome, where):
                _train(plan, outcome, where)
                for column in plan.columns:
                    _evaluate(plan, outcome, column, where)
                outcome.state = FAILED if outcome.error else FINISHED
        except StoppedError:
            return outcomes, True
    return outcomes, False


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


def _train(plan: Plan, outcome: Outcome, where: str) -> None:
    """Train a run to its end, unless it is there."""
    if is_finished(outcome.folder):
        logger.info("%s: trained already", where)
    else:
        logger.info("%s: training", where)
        with interrupt_saves():
            train(plan.config(outcome.arm, outcome.seed), plan.data, outcome.folder, recipe=plan.recipe)
        if not is_finished(outcome.folder):
            raise StoppedError(f"{outcome.folder}: stopped; the same command goes on.")
    outcome.loss = describe_run(outcome.folder)["loss"]


def _evaluate(plan: Plan, outcome: Outcome, column: Column, where: str) -> None:
    """Evaluate the encoder of a run; what is there is read back."""
    with _failures_noted(outcome, f"{where}, {column.name}"):
        output = plan.evaluation(outcome.arm, outcome.seed, column)
        known = (output / "results.json").exists()
        logger.info("%s: %s%s", where, column.name, " evaluated already" if known else "")
        with interrupt_saves():
            found = evaluate(
                column.protocol,
                str(outcome.folder),
                column.data,
                output,
                seeds=(outcome.seed,),
                split_protocol=plan.split_protocol,
                device=outcome.arm.config.run.device,
            )
        if not found:
            raise StoppedError(f"{output}: stopped; the same command goes on.")
        outcome.evaluations[column.name] = found


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


def collect(plan: Plan) -> list[Outcome]:
    """What is there of an ablation, without running anything."""
    outcomes = [Outcome(arm, seed, plan.folder(arm, seed)) for arm, seed in plan.runs()]
    for outcome in outcomes:
        if is_finished(outcome.folder):
            outcome.loss = describe_run(outcome.folder)["loss"]
            for column in plan.columns:
                output = plan.evaluation(outcome.arm, outcome.seed, column)
                if (output / "results.json").exists():
                    outcome.evaluations[column.name] = read_results(output)
            outcome.state = FINISHED if len(outcome.evaluations) == len(plan.columns) else PENDING
    return outcomes
