"""Run the stages of a reproduction in order; finished stages are skipped, interrupted ones resume."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mamp.data import ClipStore
from mamp.errors import ConfigError
from mamp.evaluate.result import read_results
from mamp.evaluate.runner import evaluate
from mamp.outputs import changed_fields, claim, dump_json, write_whole
from mamp.prepare.build import Settings, prepare
from mamp.reproduce.page import page
from mamp.reproduce.plan import RECORD, Plan, Stage
from mamp.train.distributed import World, world
from mamp.train.engine import train
from mamp.train.loop import StoppedError
from mamp.train.report import describe_run

logger = logging.getLogger(__name__)

PAGE = "reproduction.md"
WAIT = 5.0  # seconds between checks for a store that another process prepares


def reproduce(plan: Plan, say: Callable[[str], None] = logger.info) -> dict[str, Any]:
    """Run all stages that are not finished.

    Under ``torchrun`` all processes call it: they share training and evaluation; the main one prepares and writes.

    Args:
        plan: The plan.
        say: Called with a line before each stage.

    Returns:
        ``benchmark``, ``budget``, ``stages`` (seconds of each finished stage) and ``page``.

    Raises:
        MAMPError: A stage failed, or the output holds another reproduction.
        StoppedError: A signal stopped training after a checkpoint; the same call resumes it.
    """
    with world(plan.device) as here:
        record, stages = _Record(plan, here.is_main), plan.stages()
        for number, stage in enumerate(stages, 1):
            known = bool(here.sum([float(here.is_main and record.is_done(stage))])[0])
            if here.is_main:
                say(f"stage {number} of {len(stages)}, {stage.name}" + (": done before" if known else ""))
            if not known:
                began = time.perf_counter()
                _run(plan, stage, here)
                record.add(stage, time.perf_counter() - began)
    return record.facts | {"page": str(plan.output / PAGE)}


def _run(plan: Plan, stage: Stage, here: World) -> None:
    folder = plan.folder(stage)
    if stage.split is None:
        if here.is_main:
            prepare(plan.dataset, folder, Settings(plan.workers))
        while not (folder / "meta.json").exists():  # torchrun ends this process when the main one fails
            time.sleep(WAIT)
    elif stage.evaluation is None:
        config = plan.training(stage.split)
        train(config, plan.store, folder, recipe=plan.recipe(stage.split))
        if not here.sum([float(here.is_main and _at_end(folder, config.run.stop_after))])[0]:
            raise StoppedError(f"{folder}: stopped before the end; the same command resumes.")
    else:
        recipe = plan.evaluation_recipe(stage)
        evaluate(
            stage.evaluation.protocol,
            str(plan.folder(plan.pretraining(stage.split))),
            plan.store,
            folder,
            recipe=None if recipe is None else recipe.name,
            split_protocol=stage.split,
            overrides=plan.overrides(stage),
            device=plan.device,
            progress=here.is_main,
        )


def _at_end(folder: Path, stop_after: int | None) -> bool:
    run = describe_run(folder)
    return bool(run["finished"] or (stop_after is not None and run["step"] >= stop_after))


class _Record:
    """``reproduction.json``: what the folder reproduces, and the finished stages."""

    def __init__(self, plan: Plan, is_main: bool) -> None:
        self.plan, self.path, self.is_main = plan, plan.output / RECORD, is_main
        facts: dict[str, Any] = {"benchmark": plan.name, "budget": plan.budget}
        if plan.prepared is not None:
            facts["store"] = ClipStore(plan.prepared).info.get("sha256")
        self.facts = facts | {"stages": plan.done()}
        if is_main:
            found = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else None
            different = [] if found is None else changed_fields(found, facts, free=("stages",))
            claim(self.path, self.facts, found, different, "reproduction", ConfigError)

    def is_done(self, stage: Stage) -> bool:
        """Whether a stage is finished."""
        return stage.name in self.facts["stages"]

    def add(self, stage: Stage, seconds: float) -> None:
        """Record a finished stage, and write the page."""
        self.facts["stages"][stage.name] = round(seconds, 1)
        if self.is_main:
            write_whole(self.path, dump_json(self.facts) + "\n")
            write_whole(self.plan.output / PAGE, page(self.plan, results(self.plan), self.facts["stages"]))


def results(plan: Plan) -> dict[str, dict[str, Any]]:
    """``results.json`` of the finished evaluations, by the name of the stage."""
    folders = {stage.name: plan.folder(stage) for stage in plan.stages() if stage.evaluation is not None}
    return {name: read_results(folder) for name, folder in folders.items() if (folder / "results.json").exists()}
