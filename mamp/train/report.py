"""Report the state of a run from its folder: progress, loss, speed and configuration."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from mamp.errors import TrainingError
from mamp.figures import new_figure, save_figure, style_chart
from mamp.train.checkpoint import list_checkpoints

RECENT = 10  # lines over which the speed is taken


def describe_run(folder: str | Path) -> dict[str, Any]:
    """Progress, loss, speed and configuration of a run as JSON values, ``None`` if not known yet.

    ``loss`` is the mean over the last line of ``metrics.jsonl``, ``losses`` its terms, and ``curve`` the
    ``[step, loss]`` of every line.

    Raises:
        TrainingError: The folder is not that of a run, or ``run.json`` is damaged.
    """
    folder = Path(folder)
    record = read_run_file(folder)
    config = record["config"]
    lines = read_metrics(folder / "metrics.jsonl")
    last = lines[-1] if lines else {}
    step, total = last.get("step", 0), _total_steps(lines, config)
    speeds = [line["clips_per_second"] for line in lines[-RECENT:]]
    speed = statistics.median(speeds) if speeds else None
    finished = total is not None and step >= total
    left = None
    if total is not None and speed:
        left = round((total - step) * config["optim"]["batch_size"] / speed, 1)
    fixed = {"step", "total_steps", "epoch", "clips", "loss", "lr", "grad_norm", "clips_per_second", "time"}
    checkpoints = list_checkpoints(folder / "checkpoints")
    best, encoder = folder / "checkpoints" / "best.pt", folder / "encoder"
    return {
        "name": str(folder),
        "recipe": record.get("recipe"),
        "data": record.get("data"),
        "started": record.get("started"),
        "mamp": record.get("mamp"),
        "config": config,
        "step": step,
        "total_steps": total,
        "progress": round(step / total, 4) if total else None,
        "epoch": last.get("epoch", 0),
        "epochs": config["optim"]["epochs"],
        "finished": finished,
        "loss": last.get("loss"),
        "first_loss": lines[0]["loss"] if lines else None,
        "lowest_loss": min((line["loss"] for line in lines), default=None),
        "losses": {name: value for name, value in last.items() if name not in fixed},
        "lr": last.get("lr"),
        "grad_norm": last.get("grad_norm"),
        "clips_per_second": speed,
        "seconds_left": left,
        "checkpoints": [path.name for path in checkpoints],
        "best": best.name if best.exists() else None,
        "encoder": str(encoder) if (encoder / "config.json").exists() else None,
        "curve": [[line["step"], line["loss"]] for line in lines],
    }


def is_run(folder: str | Path) -> bool:
    """Whether a folder is that of a run."""
    return (Path(folder) / "run.json").is_file()


def read_run_file(folder: Path) -> dict[str, Any]:
    """Read ``run.json``; :class:`TrainingError` if it is missing or damaged."""
    path = folder / "run.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record["config"]["optim"], dict):
            raise KeyError("config.optim")
    except FileNotFoundError:
        raise TrainingError(f"{folder}: expected the folder of a run, found no run.json in it.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: expected what a run writes, found it damaged ({error!r}).") from None
    return record


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Complete lines of ``metrics.jsonl``, if any."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue  # cut: the run was killed, or is writing
    return lines


def _total_steps(lines: list[dict[str, Any]], config: dict[str, Any]) -> int | None:
    """Steps of the whole schedule."""
    if not lines:
        return None
    last = lines[-1]
    if "total_steps" in last:
        return int(last["total_steps"])
    # Of an older version: derived from the epochs, which are rounded to four digits.
    return round(config["optim"]["epochs"] * round(last["step"] / last["epoch"])) if last["epoch"] else None


def plot_run(folder: str | Path, png: str | Path) -> Path:
    """Plot loss, learning rate and speed of a run; returns the path of the file.

    Raises:
        MissingExtraError: matplotlib is not installed.
        TrainingError: The folder is not that of a run or has no metrics yet, or the file cannot be written.
    """
    figure = new_figure(figsize=(9, 7), layout="constrained")
    folder = Path(folder)
    run, lines = describe_run(folder), read_metrics(folder / "metrics.jsonl")
    if not lines:
        raise TrainingError(f"{folder}: there is nothing to draw before the first line of metrics.jsonl.")
    steps = [line["step"] for line in lines]
    loss, rate, speed = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 1))
    for axis in (loss, rate, speed):
        style_chart(axis)
    for name in ("loss", *(run["losses"] if len(run["losses"]) > 1 else ())):
        loss.plot(steps, [line.get(name) for line in lines], label=name, linewidth=1.2)
    loss.legend()
    rate.plot(steps, [line["lr"] for line in lines], linewidth=1.2)
    speed.plot(steps, [line["clips_per_second"] for line in lines], linewidth=1.2)
    for axis, label in ((loss, "loss"), (rate, "learning rate"), (speed, "clips per second")):
        axis.set_ylabel(label)
    speed.set_ylim(bottom=0)
    speed.set_xlabel("step")
    loss.set_title(f"{folder.name}: step {run['step']} of {run['total_steps']}, loss {run['loss']:.4f}")
    return save_figure(figure, Path(png), TrainingError)
