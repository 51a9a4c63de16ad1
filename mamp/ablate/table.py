"""The table of an ablation: arms by evaluations, over seeds, each arm against the first."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.ablate.plan import Arm, Column, Plan
from mamp.ablate.run import FAILED, FINISHED, Outcome
from mamp.data import ClipStore
from mamp.errors import DataError
from mamp.evaluate.page import markdown_table, show
from mamp.evaluate.predictions import Predictions
from mamp.evaluate.result import LEVEL
from mamp.evaluate.scores import bootstrap_difference, bootstrap_interval, mean_and_deviation
from mamp.outputs import dump_json, write_whole
from mamp.train.record import environment

FORMAT = 1


def tabulate(plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What an ablation found, as plain values.

    Intervals are from a bootstrap over test clips and seeds. The difference of an arm to the first is paired by clip.
    """
    columns = {column.name: _column(plan, outcomes, column) for column in plan.columns}
    return {
        "format": FORMAT,
        "recipe": plan.recipe,
        "data": {"name": plan.data.resolve().name, "sha256": ClipStore(plan.data).info.get("sha256")},
        "changes": {name: " ".join(words) for name, words in plan.changes.items()},
        "seeds": list(plan.seeds),
        "arms": [{"name": arm.name, "values": arm.values} for arm in plan.arms],
        "evaluations": [column for column in columns.values() if column is not None],
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


def _column(plan: Plan, outcomes: Sequence[Outcome], column: Column) -> dict[str, Any] | None:
    """One evaluation of all arms; ``None`` when no run has it."""
    done = [outcome for outcome in outcomes if column.name in outcome.evaluations]
    if not done:
        return None
    first = done[0].evaluations[column.name]
    rows = [_row(plan, [outcome for outcome in done if outcome.arm == arm], arm, column) for arm in plan.arms]
    base = rows[0]
    cells = [row[0] for row in rows]
    for cell, values in rows[1:]:
        if cell["mean"] is None or base[0]["mean"] is None:
            continue
        cell["difference"] = cell["mean"] - base[0]["mean"]
        if values is not None and base[1] is not None and values[0] == base[1][0]:
            interval = bootstrap_difference(values[1], base[1][1], LEVEL, trials=True)[1]
            cell["difference_interval"] = list(interval)
    return {
        "name": column.name,
        "protocol": column.protocol,
        "metric": first["headline"]["metric"],
        "data": {key: first["data"].get(key) for key in ("name", "sha256", "protocol", "test_clips")},
        "arms": cells,
    }


Values = tuple[list[tuple[str, int]], NDArray[np.float64]]


def _row(plan: Plan, done: Sequence[Outcome], arm: Arm, column: Column) -> tuple[dict[str, Any], Values | None]:
    """One arm in one evaluation, and what each clip adds to the headline with each seed, if it is a mean over clips."""
    cell: dict[str, Any] = {
        "arm": arm.name,
        "seeds": [outcome.seed for outcome in done],
        "values": [outcome.evaluations[column.name]["headline"]["mean"] for outcome in done],
        "mean": None,
        "std": None,
        "interval": None,
        "difference": None,
        "difference_interval": None,
    }
    if not done:
        return cell, None
    cell["mean"], cell["std"] = mean_and_deviation(cell["values"])
    tables = [
        Predictions.read(plan.evaluation(outcome.arm, outcome.seed, column) / "predictions.npz").by_clip()
        for outcome in done
    ]
    known = [table for table in tables if table is not None]
    if len(known) < len(tables) or any(clips != known[0][0] for clips, _ in known):
        return cell, None
    values = np.concatenate([part for _, part in known])
    cell["interval"] = list(bootstrap_interval(values, LEVEL, trials=True))
    return cell, (known[0][0], values)


def _notes(plan: Plan, outcomes: Sequence[Outcome]) -> list[str]:
    """What a reader should know."""
    notes = []
    seen = plan.arms[0].config.data.split is None
    if seen and any(column.data.resolve() == plan.data.resolve() for column in plan.columns):
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


def ablation_page(found: dict[str, Any]) -> str:
    """``ablation.md``: the table, what the numbers are, and how they were made."""
    arms = [arm["name"] for arm in found["arms"]]
    lines = [f"# Ablation of {found['recipe']} on {found['data']['name']}", "", *comparison(found)]
    lines += ["", f"Mean ± standard deviation over seeds ({len(found['seeds'])} where nothing else is said)."]
    lines.append(
        f"In brackets: {found['level']:.0%} interval, bootstrap over test clips and seeds; few seeds tell little "
        f"of how much seeds differ. Differences are to {arms[0]}, in percentage points, paired by clip."
    )
    lines += ["", *(f"- {note}" for note in found["notes"])] if found["notes"] else []
    lines += [f"\n![{name.removesuffix('.png')}]({name})" for name in found["pictures"]]
    header = ["arm", "seed", "state", "last loss of pre-training"]
    rows = [[run["arm"], run["seed"], run["state"], show(run["loss"], 4)] for run in found["runs"]]
    lines += ["", "## Runs", "", *markdown_table(header, rows)]
    if len({arm["values"].get("objective.target") for arm in found["arms"]}) > 1:
        lines += ["", "Losses of different targets are not comparable."]
    here = found["environment"]
    changes = ", ".join(f"{name} {value}" for name, value in found["changes"].items()) or "none"
    lines += ["", "## How it was made", "", f"- changes of the recipe in all arms: {changes}"]
    lines += [f"- command: `{' '.join(found['arguments'])}`"] if found["arguments"] else []
    lines.append(f"- versions: mamp {here['mamp']}, torch {here['torch']}, numpy {here['numpy']}")
    return "\n".join(lines) + "\n"


def comparison(found: dict[str, Any]) -> list[str]:
    """Lines of the table: a row an arm, two columns an evaluation."""
    columns = found["evaluations"]
    if not columns:
        return ["Nothing was evaluated."]
    header = ["arm"]
    for column in columns:
        data = column["data"]
        split = f", {data['protocol']}" if data["protocol"] else ""
        header += [f"{column['protocol']} {column['metric']}, {data['name']}{split}", "difference"]
    rows = []
    for number, arm in enumerate(found["arms"]):
        cells = [column["arms"][number] for column in columns]
        expected = len(found["seeds"])
        rows.append([arm["name"], *(text for cell in cells for text in _cells(cell, expected, number == 0))])
    return markdown_table(header, rows)


def _cells(cell: dict[str, Any], expected: int, first: bool) -> tuple[str, str]:
    """Result and difference of an arm as text."""
    if cell["mean"] is None:
        return "-", "-"
    text = show(cell["mean"])
    text += "" if cell["std"] is None else f" ± {show(cell['std'])}"
    text += "" if len(cell["seeds"]) == expected else f" ({len(cell['seeds'])} seeds)"
    text += _bracket(cell["interval"], "")
    if first or cell["difference"] is None:
        return text, "" if first else "-"
    return text, f"{cell['difference']:+.1f}" + _bracket(cell["difference_interval"], "+")


def _bracket(interval: Sequence[float] | None, sign: str) -> str:
    return "" if interval is None else f" [{interval[0]:{sign}.1f}, {interval[1]:{sign}.1f}]"


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
