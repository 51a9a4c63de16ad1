"""``results.md``: one evaluation as a page, with the headline first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from mamp.outputs import flatten


def show(value: float | None, digits: int = 1) -> str:
    """A number in per cent; a dash for ``None`` and NaN."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def show_headline(headline: dict[str, Any]) -> str:
    """``75.2 [71.3, 79.0]``, or ``75.2 ± 1.1 (3 seeds) [71.3, 79.0]`` of several trials."""
    text = show(headline["mean"])
    if headline.get("std") is not None:
        text += f" ± {show(headline['std'])} ({headline['trials']} seeds)"
    interval = headline.get("interval")
    return text if interval is None else f"{text} [{show(interval[0])}, {show(interval[1])}]"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]], text: int = 1) -> list[str]:
    """Lines of a table whose first ``text`` columns are text and whose other columns are numbers."""
    clean = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in (header, *rows)]
    lines = ["| " + " | ".join(row) + " |" for row in clean]
    return [lines[0], "|" + "|".join([*["---"] * text, *["---:"] * (len(header) - text)]) + "|", *lines[1:]]


def result_page(found: dict[str, Any]) -> str:
    """The page of what ``results.json`` says."""
    head, data, weights = found["headline"], found["data"], found["weights"]
    split = f", {data['protocol']}" if data.get("protocol") else ""
    lines = [f"# {found['protocol']}: {weights['name']} on {data['name']}{split}", ""]
    lines += [f"**{head['metric']} {show_headline(head)}** {head['unit']}", "", *_headline_notes(found)]
    lines += ["", "## Metrics", "", *_metrics(found)]
    for title, rows in found.get("tables", {}).items():
        lines += ["", f"## {title}", "", *markdown_table(rows[0], rows[1:])]
    if found["classes"]:
        rows = [[row["class"], show(row["recall"]), show(row["precision"]), row["count"]] for row in found["classes"]]
        lines += ["", "## Classes", "", *markdown_table(["class", "recall", "precision", "test clips"], rows)]
        if len(found["trials"]) > 1:
            lines += ["", f"Test clips are counted once in each of the {len(found['trials'])} trials."]
    if found["worst_confusions"]:
        rows = [[row["class"], row["predicted"], row["clips"], show(row["share"])] for row in found["worst_confusions"]]
        header = ["class", "taken for", "clips", "% of the class"]
        lines += ["", "## Most frequent confusions", "", *markdown_table(header, rows, text=2)]
    lines += pictures(found["pictures"])
    lines += ["", "## How it was made", "", *_provenance(found)]
    return "\n".join(lines) + "\n"


def pictures(names: Sequence[str]) -> list[str]:
    """Lines that show pictures beside the page."""
    return [f"\n![{name.removesuffix('.png')}]({quote(name)})" for name in names]


def _headline_notes(found: dict[str, Any]) -> list[str]:
    """What the numbers of the headline mean."""
    head, lines = found["headline"], []
    if head.get("std") is not None:
        lines.append(f"Mean ± standard deviation over {head['trials']} seeds.")
    if head["interval"] is not None:
        lines.append(f"In brackets: {head['level']:.0%} interval over {head['interval_over']}.")
    best = found["best"]
    if best is not None:
        lines.append(
            f"The headline is the final epoch. The {best['chosen']}, has {best['metric']} {show(best['mean'])}: "
            "not a result, since it was chosen by what it is measured with."
        )
    return [*lines, *found["notes"]]


def _metrics(found: dict[str, Any]) -> list[str]:
    """Every metric in every trial, and the mean."""
    trials, metrics = found["trials"], found["metrics"]
    header = [f"metric, {found['headline']['unit']}", *(f"seed {trial['seed']}" for trial in trials)]
    rows = [[name, *(show(trial["metrics"].get(name)) for trial in trials)] for name in metrics]
    if len(trials) > 1:
        header += ["mean", "std"]
        rows = [[*row, show(metrics[row[0]]["mean"]), show(metrics[row[0]]["std"])] for row in rows]
    return markdown_table(header, rows)


def _provenance(found: dict[str, Any]) -> list[str]:
    """Weights, data, settings, versions."""
    here = found["environment"]
    facts = {
        "weights": _flat(found["weights"]),
        "data": _flat({name: value for name, value in found["data"].items() if not isinstance(value, (list, dict))}),
        "settings": _flat(found["settings"]),
        "command": f"`{' '.join(map(str, found['arguments']))}`" if found["arguments"] else "",
        "versions": f"mamp {here['mamp']}, torch {here['torch']}, numpy {here['numpy']}, Python {here['python']}",
        "machine": ", ".join(filter(None, [found["device"], here["system"], *here["gpus"]])),
        "finished": found["finished"],
    }
    return [f"- {name}: {value}" for name, value in facts.items() if value]


def _flat(values: dict[str, Any]) -> str:
    """Nested fields as ``name value, ...``; those without a value are left out."""
    words = {
        name: " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        for name, value in flatten(values).items()
    }
    return ", ".join(f"{name} {value}" for name, value in words.items() if value not in (None, ""))
