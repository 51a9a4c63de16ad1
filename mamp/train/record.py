"""``run.json``: how a run was set, and with which versions and on which machine it ran."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mamp
from mamp.data import ClipStore
from mamp.errors import ConfigError, TrainingError
from mamp.outputs import changed_fields, claim, plain
from mamp.train.checkpoint import list_checkpoints
from mamp.train.config import TrainConfig
from mamp.train.distributed import World
from mamp.train.report import read_run_file


def write_run_file(
    config: TrainConfig, data: Path, output: Path, recipe: str | None = None, at_a_time: int | None = None
) -> None:
    """Write ``run.json``, or check that a folder with checkpoints is that of the same run.

    Args:
        config: The run.
        data: Its store.
        output: Its folder.
        recipe: What its configuration was made from.
        at_a_time: Clips that a device takes at a time; sums depend on it in the last bit, so that a resumed run keeps
            it.

    Raises:
        TrainingError: The folder holds a run of another configuration or of other clips, or cannot be written.
    """
    meta = json.loads((data / "meta.json").read_text(encoding="utf-8"))
    record = {
        "recipe": recipe,
        "config": plain(config.to_dict()),
        "data": str(data),
        "data_sha256": meta.get("sha256"),
        "data_columns": columns_digest(data),
        "data_clips": meta.get("num_clips"),
        "clips_at_a_time": at_a_time,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "arguments": sys.argv[1:],
        **environment(),
    }
    path, found, different = output / "run.json", None, []
    if path.exists() and list_checkpoints(output / "checkpoints"):  # before the first one there is nothing to resume
        found = read_run_file(output)
        different = differences(found["config"], record["config"])
        for name, what in (("data_sha256", "clips"), ("data_columns", "names, labels or splits of the clips")):
            if found.get(name, record[name]) != record[name]:
                different.append(f"the {what}: {found['data']} then, {data} now")
    claim(path, record, found, different, "run", TrainingError)


def recorded_per_device(output: Path, config: TrainConfig, world: World) -> int | None:
    """Clips at a time of the run that is resumed, if there is one and the configuration leaves that open."""
    if config.optim.per_device_batch is not None or not list_checkpoints(output / "checkpoints"):
        return None
    share = config.optim.batch_size // world.size
    found = read_run_file(output).get("clips_at_a_time", share)  # versions that did not write it took all at once
    return found if found and share % found == 0 else None


def columns_digest(data: Path) -> str:
    """Sum of what a store says of its clips beside their positions."""
    total = hashlib.sha256()
    for name, values in sorted(ClipStore(data).columns.items()):
        total.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return total.hexdigest()


# What may change on the way: the mathematics of a step does not depend on it.
FREE = ("run", "data.workers", "optim.per_device_batch")


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Dotted names of the fields in which two configurations differ, without those that may change on the way.

    A field that the version that wrote ``found`` did not know is taken to be at its default.
    """
    with suppress(ConfigError, TypeError):  # written by a newer version: compared as it is
        found = plain(TrainConfig(**found).to_dict())
    return changed_fields(found, wanted, FREE)


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
