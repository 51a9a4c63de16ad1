"""What a run leaves behind beside its weights: ``run.json`` and ``metrics.jsonl``."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

import mamp
from mamp.errors import ConfigError, TrainingError
from mamp.train.checkpoint import list_checkpoints
from mamp.train.config import TrainConfig
from mamp.train.report import read_run_file

if TYPE_CHECKING:
    from mamp.train.loop import Loop


class Metrics:
    """Averages between lines of ``metrics.jsonl``, the progress bar, and TensorBoard where the run has one."""

    def __init__(self, loop: Loop, bar: tqdm[Any]) -> None:
        self.loop, self.bar = loop, bar
        self.sums: dict[str, float] = {}
        self.count, self.since = 0, time.perf_counter()
        self.board = loop.open_board() if loop.world.is_main else None

    def add(self, values: dict[str, float]) -> None:
        """Take the numbers of one step."""
        self._add(values)
        loop = self.loop
        if self.board is not None and (loop.step % loop.run.checkpoint_every == 0 or loop.step >= loop.total_steps):
            loop.draw(self.board)
            self.since = time.perf_counter() if self.count == 0 else self.since

    def close(self) -> None:
        """Finish what is open."""
        if self.board is not None:
            self.board.close()

    def _add(self, values: dict[str, float]) -> None:
        loop = self.loop
        self.bar.update(1)
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        if loop.step % loop.run.log_every and not loop.ends:
            return
        now = time.perf_counter()
        line = {name: value / self.count for name, value in self.sums.items()} | {"lr": values["lr"]}
        clips_per_second = loop.optim.batch_size * self.count / (now - self.since)
        line = {
            "step": loop.step,
            "total_steps": loop.total_steps,
            "epoch": round(loop.epoch, 4),
            "clips": loop.step * loop.optim.batch_size,
            **line,
            "clips_per_second": round(clips_per_second, 2),
            "time": round(time.time(), 1),
        }
        self.bar.set_postfix(loss=f"{line['loss']:.4f}", clips_s=f"{clips_per_second:.0f}")
        if loop.world.is_main:
            with (loop.output / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if self.board is not None:
            self.board.scalars(line)
        self.sums, self.count, self.since = {}, 0, now


def drop_later_metrics(path: Path, step: int) -> None:
    """Remove lines that were written after the checkpoint from which a run goes on."""
    if path.exists():
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        lines = [line for line in lines if json.loads(line)["step"] <= step]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        temporary.replace(path)


def write_run_file(config: TrainConfig, data: Path, output: Path, recipe: str | None = None) -> None:
    """Write the resolved configuration and the environment beside the run; refuse to continue another run.

    Args:
        config: The run.
        data: Its store.
        output: Its folder.
        recipe: What its configuration was made from.

    Raises:
        TrainingError: The folder holds a run of another configuration or other data, or cannot be written.
    """
    path = output / "run.json"
    wanted = json.loads(json.dumps(config.to_dict()))
    meta = json.loads((data / "meta.json").read_text(encoding="utf-8"))
    if path.exists() and list_checkpoints(
        output / "checkpoints"
    ):  # before the first one there is nothing to go on with
        found = read_run_file(output)
        different = differences(found["config"], wanted)
        if found.get("data_sha256", meta.get("sha256")) != meta.get("sha256"):
            different.append(f"the clips: {found['data']} then, {data} now")
        if different:
            raise TrainingError(
                f"{output}: holds a run of another configuration (different: {', '.join(different)}). Choose another "
                "--output, or remove the folder to start over."
            )
        return
    record = {
        "recipe": recipe,
        "config": wanted,
        "data": str(data),
        "data_sha256": meta.get("sha256"),
        "data_clips": meta.get("num_clips"),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "arguments": sys.argv[1:],
        **environment(),
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            path.with_suffix(".tmp").unlink(missing_ok=True)
        raise TrainingError(f"{output}: cannot write here ({error}). Choose another --output.") from None


SPREAD = ("data.workers", "optim.per_device_batch")


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Dotted names of the fields in which two configurations differ, but for those that may change on the way.

    These are ``run``, and how the work is spread: the mathematics of a step does not depend on it.
    A field that the version that wrote ``found`` did not know is taken to be at its default.
    """
    with suppress(ConfigError, TypeError):  # written by a newer version: compared as it is
        found = json.loads(json.dumps(TrainConfig(**found).to_dict()))
    return [name for name in changed_fields(found, wanted) if not name.startswith("run.") and name not in SPREAD]


def changed_fields(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Dotted names of the fields in which two nested mappings differ."""
    here, there = _flatten(wanted), _flatten(found)
    missing = object()
    return [name for name in {**here, **there} if here.get(name, missing) != there.get(name, missing)]


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def environment() -> dict[str, Any]:
    """The versions and the machine that a run ran with; the git commit when the package runs from a checkout."""
    cuda = torch.cuda.is_available()
    return {
        "mamp": mamp.__version__,
        "git": git_commit(Path(mamp.__file__).resolve().parents[1]),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
        "cuda": torch.version.cuda if cuda else None,
    }


def git_commit(root: Path) -> str | None:
    """Commit of the checkout whose top folder is ``root``, with ``+changes`` when its files differ; else ``None``."""
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", "mamp") else "")
    except (OSError, subprocess.SubprocessError):
        return None
