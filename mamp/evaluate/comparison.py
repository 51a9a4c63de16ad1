"""Compare the arms of an ablation: each evaluation over its seeds, and its difference to the first arm.

Intervals are from a bootstrap over test clips and seeds; differences are paired by test clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mamp.errors import DataError
from mamp.evaluate.page import markdown_table, pictures, show
from mamp.evaluate.result import LEVEL, read_results
from mamp.evaluate.results_table import Cell
from mamp.evaluate.scores import bootstrap_difference
from mamp.outputs import dump_json, write_whole


def compare_arms(name: str, protocol: str, folders: Mapping[str, Sequence[Path]]) -> dict[str, Any] | None:
    """One evaluation of all arms as plain values; ``None`` if no arm has results.

    Args:
        name: Name of the evaluation.
        protocol: Its protocol.
        folders: Folders of results by arm, one for each seed; those without results are left out. The other arms are
            compared with the first.
    """
    cells = {}
    for arm, paths in folders.items():
        known = [path for path in paths if (path / "results.json").exists()]
        found = [read_results(path) for path in known]
        cells[arm] = Cell(known, found, found[0]["headline"]["metric"] if found else "")
    first = next((cell.found[0] for cell in cells.values() if cell.found), None)
    if first is None:
        return None
    base = next(iter(cells.values()))
    return {
        "name": name,
        "protocol": protocol,
        "metric": first["headline"]["metric"],
        "data": {key: first["data"].get(key) for key in ("name", "sha256", "protocol", "test_clips")},
        "arms": [_arm(arm, cell, None if cell is base else base) for arm, cell in cells.items()],
    }


def _arm(arm: str, cell: Cell, base: Cell | None) -> dict[str, Any]:
    """One arm in one evaluation, compared with the first arm."""
    numbers: dict[str, Any] = cell.to_dict() if cell.found else {"mean": None, "std": None, "interval": None}
    found = {
        "arm": arm,
        "seeds": [trial["seed"] for one in cell.found for trial in one["trials"]],
        "values": [one["headline"]["mean"] for one in cell.found],
        **{name: numbers[name] for name in ("mean", "std", "interval")},
        "difference": None,
        "difference_interval": None,
    }
    if base is None or not base.found or not cell.found:
        return found
    found["difference"] = found["mean"] - base.to_dict()["mean"]
    ours, theirs = cell.clip_values(), base.clip_values()
    if ours is not None and theirs is not None and ours[0] == theirs[0]:
        found["difference_interval"] = list(bootstrap_difference(ours[1], theirs[1], LEVEL, trials=True)[1])
    return found


def ablation_page(found: dict[str, Any]) -> str:
    """``ablation.md``: the table, what the numbers are, and how they were made."""
    arms = [arm["name"] for arm in found["arms"]]
    on = "" if found["data"] is None else f" on {found['data']['name']}"
    lines = [f"# Ablation of {found['recipe']}{on}", "", *comparison_table(found["evaluations"], len(found["seeds"]))]
    lines += ["", f"Mean ± standard deviation over seeds ({len(found['seeds'])} unless stated otherwise)."]
    lines.append(
        f"In brackets: {found['level']:.0%} interval, bootstrap over test clips and seeds; few seeds say little about "
        f"how much seeds differ. Differences are to {arms[0]}, in percentage points, paired by clip."
    )
    lines += ["", *(f"- {note}" for note in found["notes"])] if found["notes"] else []
    lines += pictures(found["pictures"])
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


def comparison_table(evaluations: Sequence[Mapping[str, Any]], seeds: int) -> list[str]:
    """Lines of the table in Markdown: a row for each arm, two columns for each evaluation.

    Args:
        evaluations: From :func:`compare_arms`.
        seeds: Number of seeds of an arm; other numbers are stated in the table.
    """
    if not evaluations:
        return ["Nothing was evaluated."]
    header, rows = ["arm"], [[cell["arm"]] for cell in evaluations[0]["arms"]]
    for one in evaluations:
        split = f", {one['data']['protocol']}" if one["data"]["protocol"] else ""
        name = "" if one["name"] == one["protocol"] else f"{one['name']}: "
        header += [f"{name}{one['protocol']} {one['metric']}, {one['data']['name']}{split}", "difference"]
        for number, (row, cell) in enumerate(zip(rows, one["arms"], strict=True)):
            row += [_value(cell, seeds), "" if number == 0 and cell["mean"] is not None else _difference(cell)]
    return markdown_table(header, rows)


def _value(cell: Mapping[str, Any], seeds: int) -> str:
    if cell["mean"] is None:
        return "-"
    text = show(cell["mean"])
    text += "" if cell["std"] is None else f" ± {show(cell['std'])}"
    text += "" if len(cell["seeds"]) == seeds else f" ({len(cell['seeds'])} seeds)"
    return text + _bracket(cell["interval"], "")


def _difference(cell: Mapping[str, Any]) -> str:
    difference, interval = cell["difference"], cell["difference_interval"]
    return "-" if difference is None else f"{difference:+.1f}{_bracket(interval, '+')}"


def _bracket(interval: Sequence[float] | None, sign: str) -> str:
    return "" if interval is None else f" [{interval[0]:{sign}.1f}, {interval[1]:{sign}.1f}]"


def write_ablation(found: dict[str, Any], output: Path) -> None:
    """Write ``ablation.json``, ``ablation.md`` and, with matplotlib, a picture of each evaluation into a folder.

    Raises:
        DataError: The folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with suppress(ImportError):
            from mamp.evaluate.pictures import draw_arms

            for column in found["evaluations"]:
                title = f"{column['protocol']} {column['metric']} on {column['data']['name']}, per cent"
                picture = draw_arms([arm for arm in column["arms"] if arm["mean"] is not None], title)
                found["pictures"].append(f"ablation-{column['name']}.png")
                write_whole(output / found["pictures"][-1], picture)
        write_whole(output / "ablation.md", ablation_page(found))
        write_whole(output / "ablation.json", dump_json(found) + "\n")
    except OSError as error:
        raise DataError(f"{output}: cannot write the tables here ({error}).") from None
