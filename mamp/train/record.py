"""``run.json``: the configuration of a run, and the versions and machine it ran with."""

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
    """Write ``run.json``, or check that the checkpoints in the folder belong to the same run.

    Args:
        config: The run.
        data: Store of clips.
        output: Folder of the run.
        recipe: Name of its recipe.
        at_a_time: Clips per micro-batch, kept when resuming because rounding depends on it.

    Raises:
        TrainingError: The folder holds a run with another configuration or other clips, or cannot be written.
    """
    meta = json.loads((data / "meta.json").read_text(encoding="utf-8"))
    record = {
        "recipe": recipe,
        "config": plain(config.to_dict()),
        "folder": str(output.resolve()),
        "data": str(data),
        "data_sha256": meta.get("sha256"),
        "data_columns": columns_digest(data),
        "data_clips": meta.get("num_clips"),
        "data_fps": float(np.median(ClipStore(data).columns["fps"])),
        "clips_at_a_time": at_a_time,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "arguments": sys.argv[1:],
        **environment(),
    }
    path, found, different = output / "run.json", None, []
    if path.exists() and list_checkpoints(output / "checkpoints"):  # otherwise there is nothing to resume
        found = read_run_file(output)
        different = differences(_moved(found, record), record["config"])
        for name, what in (("data_sha256", "clips"), ("data_columns", "names, labels or splits of the clips")):
            if found.get(name, record[name]) != record[name]:
                different.append(f"the {what}: {found['data']} then, {data} now")
    claim(path, record, found, different, "run", TrainingError)


def _moved(found: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """The configuration that was found, with weights that moved with the folder where they are now.

    The stages of a run start from weights inside the folder of the whole run.
    """
    there, here = dict(found["config"]), record["config"]
    for name in ("init", "teacher"):
        if "folder" not in found or not there.get(name) or not here[name]:
            continue
        with suppress(ValueError):  # on another drive
            if os.path.relpath(there[name], found["folder"]) == os.path.relpath(here[name], record["folder"]):
                there[name] = here[name]
    return there


def recorded_per_device(output: Path, config: TrainConfig, world: World) -> int | None:
    """Clips per micro-batch of the run to resume, if any and if the configuration does not set them."""
    if config.optim.per_device_batch is not None or not list_checkpoints(output / "checkpoints"):
        return None
    share = config.optim.batch_size // world.size
    found = read_run_file(output).get("clips_at_a_time", share)  # older versions did not accumulate
    return found if found and share % found == 0 else None


def columns_digest(data: Path) -> str:
    """SHA-256 of the index of a store."""
    total = hashlib.sha256()
    for name, values in sorted(ClipStore(data).columns.items()):
        total.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return total.hexdigest()


# Fields that may change when resuming, since they do not affect a step.
FREE = ("run", "data.workers", "optim.per_device_batch")


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Dotted names of the fields in which two configurations differ, except those in :data:`FREE`.

    Fields missing from ``found``, which an older version may have written, have their defaults.
    """
    with suppress(ConfigError, TypeError):  # of a newer version: compared as it is
        found = plain(TrainConfig(**found).to_dict())
    return changed_fields(found, wanted, FREE)


def environment() -> dict[str, Any]:
    """Versions and machine of a run, with the git commit if the package is a checkout."""
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
    """Commit of the checkout at ``root``, ``+changes`` if files were modified; ``None`` if it is no checkout."""
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", "mamp") else "")
    except (OSError, subprocess.SubprocessError):
        return None
