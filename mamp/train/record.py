"""What a run leaves behind beside its weights: ``run.json`` and ``metrics.jsonl``."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

import mamp
from mamp.errors import TrainingError
from mamp.train.config import TrainConfig

if TYPE_CHECKING:
    from mamp.train.engine import Trainer


class Metrics:
    """Averages between lines of ``metrics.jsonl``, and the progress bar."""

    def __init__(self, trainer: Trainer, bar: tqdm[Any]) -> None:
        self.trainer, self.bar = trainer, bar
        self.sums: dict[str, float] = {}
        self.count, self.since = 0, time.perf_counter()

    def add(self, values: dict[str, float]) -> None:
        """Take the numbers of one step."""
        trainer = self.trainer
        self.bar.update(1)
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        if trainer.step % trainer.config.run.log_every and trainer.step < trainer.total_steps:
            return
        now = time.perf_counter()
        line = {name: value / self.count for name, value in self.sums.items()} | {"lr": values["lr"]}
        clips_per_second = trainer.config.optim.batch_size * self.count / (now - self.since)
        line = {
            "step": trainer.step,
            "epoch": round(trainer.step / trainer.steps_per_epoch, 4),
            "clips": trainer.step * trainer.config.optim.batch_size,
            **line,
            "clips_per_second": round(clips_per_second, 2),
            "time": round(time.time(), 1),
        }
        self.bar.set_postfix(loss=f"{line['loss']:.4f}", clips_s=f"{clips_per_second:.0f}")
        if trainer.world.is_main:
            with (trainer.output / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        self.sums, self.count, self.since = {}, 0, now


def drop_later_metrics(path: Path, step: int) -> None:
    """Remove lines that were written after the checkpoint from which a run goes on."""
    if path.exists():
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        lines = [line for line in lines if json.loads(line)["step"] <= step]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        temporary.replace(path)


def write_run_file(config: TrainConfig, data: Path, output: Path) -> None:
    """Write the resolved configuration and the environment beside the run; refuse to continue another run.

    Raises:
        TrainingError: The folder holds a run of another configuration, or cannot be written.
    """
    path = output / "run.json"
    wanted = json.loads(json.dumps(config.to_dict()))
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))["config"]
        different = [
            f"{part}.{name}"
            for part in wanted
            if part != "run"
            for name in wanted[part]
            if found.get(part, {}).get(name) != wanted[part][name]
        ]
        if different:
            raise TrainingError(
                f"{output}: holds a run of another configuration (different: {', '.join(different)}). Choose another "
                "--output, or remove the folder to start over."
            )
        return
    record = {
        "config": wanted,
        "data": str(data),
        "mamp": mamp.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise TrainingError(f"{output}: cannot write here ({error}). Choose another --output.") from None
