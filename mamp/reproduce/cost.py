"""What a reproduction costs on this machine, extrapolated from a few clips."""

from __future__ import annotations

import timeit
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mamp.config import MAMPConfig
from mamp.evaluate.finetune import FinetuneConfig, make_classifier
from mamp.evaluate.registry import get_protocol
from mamp.options import override
from mamp.prepare.build import dry_run
from mamp.reproduce.plan import Counts, Plan, Stage
from mamp.train.estimate import estimate as estimate_training
from mamp.train.estimate import show_bytes, show_time

TRIED = {"cpu": 4, "cuda": 24}  # clips in a trial batch; one in four has two people, as in NTU RGB+D


@dataclass(frozen=True)
class Cost:
    """What one stage costs; ``None`` if unknown.

    Attributes:
        stage: Its name.
        command: The equivalent command.
        seconds: Time on this machine.
        disk: Bytes written.
        memory: Bytes of the device (GPU) or the process (CPU).
        done: Whether the stage is finished.
    """

    stage: str
    command: str
    seconds: float | None = None
    disk: int | None = None
    memory: int | None = None
    done: bool = False


def costs(plan: Plan) -> list[Cost]:
    """Estimate every stage by training and evaluating on a few synthetic clips; writes nothing.

    Raises:
        MAMPError: The raw files cannot be found, or the device cannot be used.
    """
    per_clip: tuple[float, float] | None = None
    found, done = [], plan.done()
    for stage in plan.stages():
        command = plan.command(stage)
        if stage.name in done:
            found.append(Cost(stage.name, command, done=True))
        elif stage.split is None:
            tried = dry_run(plan.dataset, plan.folder(stage))
            found.append(Cost(stage.name, command, tried["seconds"], tried["bytes"]))
        elif stage.evaluation is None:
            found.append(_training_cost(plan, stage, command))
        else:
            counts, encoder = plan.counts(stage.split), plan.training(stage.split).encoder
            per_clip = per_clip or seconds_per_clip(encoder, counts.classes, plan.device)
            seconds = evaluation_cost(plan, stage, counts, *per_clip) / plan.processes
            found.append(Cost(stage.name, command, seconds))
    return found


def _training_cost(plan: Plan, stage: Stage, command: str) -> Cost:
    assert stage.split is not None
    config = plan.training(stage.split)
    training = estimate_training(config, None, clips=plan.counts(stage.split).train, devices=plan.processes)
    seconds = training.run_seconds
    if seconds is not None and config.run.stop_after is not None:
        seconds = config.run.stop_after * training.step_seconds
    checkpoint = 12 * (training.encoder_parameters + training.decoder_parameters)  # weights and two averages, float32
    return Cost(stage.name, command, seconds, (config.run.keep + 1) * checkpoint, training.peak_bytes)


def seconds_per_clip(config: MAMPConfig, classes: int, device: str = "auto") -> tuple[float, float]:
    """Time to encode a clip, and to train on it, measured on a few."""
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    count = TRIED["cuda" if name.startswith("cuda") else "cpu"]
    x = torch.randn(count, 2, config.num_frames, config.num_joints, config.dim_in, device=name)
    x[count // 4 :, 1] = 0
    model = make_classifier(config, FinetuneConfig(), classes).to(name)
    labels = torch.zeros(count, dtype=torch.long, device=name)

    def encode() -> None:
        with torch.no_grad():
            model.eval()(x).sum().item()

    def train() -> None:
        model.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model.train()(x), labels)
        loss.backward()
        loss.item()

    return _fastest(encode) / count, _fastest(train) / count


def _fastest(work: Callable[[], None], rounds: int = 3) -> float:
    return min(timeit.repeat(work, number=1, repeat=rounds))


def evaluation_cost(plan: Plan, stage: Stage, counts: Counts, encode: float, train: float) -> float:
    """Cost of an evaluation if encoding a clip costs ``encode`` and training on it costs ``train``."""
    assert stage.evaluation is not None
    protocol = stage.evaluation.protocol
    if protocol == "knn":
        return (counts.train + counts.test) * encode
    recipe = plan.evaluation_recipe(stage)
    published = {} if recipe is None else recipe.settings[protocol]
    config = override(get_protocol(protocol).config, {**published, **plan.overrides(stage)})
    trials = 1 if recipe is None else len(recipe.seeds.get(protocol, (0,)))
    share = getattr(config, "share", 1.0)
    step = encode if protocol == "linear" else train
    evaluations = max(1, round(config.epochs / config.eval_every))
    return float(trials * (config.epochs * counts.train * share * step + evaluations * counts.test * encode))


def costs_text(plan: Plan, found: list[Cost]) -> str:
    """The plan and its costs as text."""
    lines = [f"{plan.benchmark.title}, splits {', '.join(plan.splits)}, budget {plan.budget:g}", ""]
    for cost in found:
        told = [] if cost.seconds is None else [show_time(cost.seconds)]
        told += [] if cost.disk is None else [f"{show_bytes(cost.disk)} on disk"]
        told += [] if cost.memory is None else [f"{show_bytes(cost.memory)} of memory"]
        lines += [f"{cost.stage}: {'done' if cost.done else ', '.join(told) or 'unknown'}", f"    {cost.command}"]
    total = sum(cost.seconds or 0.0 for cost in found)
    lines += ["", f"{show_time(total)} in total, extrapolated from a few clips at the present load of this machine."]
    return "\n".join(lines)
