"""The result of an evaluation: its trials, and the files it writes.

``results.json`` has everything except the predictions, ``results.md`` is a page to read, ``predictions.npz`` has a row
for each test clip of each trial, and ``confusion.png``, ``classes.png`` and ``history.png`` are drawn if matplotlib is
installed. ``results.json`` is written last: if it is there, the other files are complete.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import DataError
from mamp.evaluate.page import result_page
from mamp.evaluate.predictions import Predictions, Trial
from mamp.evaluate.scores import bootstrap_interval, confusion_matrix, mean_and_deviation, per_class_of
from mamp.outputs import dump_json, write_whole
from mamp.train.record import environment

FORMAT = 1
LEVEL = 0.95
BEST_EPOCH = "best epoch, chosen on the test clips"
WORST = 10  # confusions in the list


@dataclass
class Result:
    """The result of a protocol.

    Attributes:
        protocol: Its name.
        headline: Name of the main metric.
        weights: Name, kind, fingerprint.
        data: Name, checksum, split, classes, counts; see ``Labelled.describe``.
        settings: The resolved configuration.
        trials: One for each seed.
        notes: What a reader should know, one sentence each.
        device: Where it ran.
        interval: Interval of the headline in its unit, if the protocol has its own (over episodes, for example).
        interval_over: What the interval covers, and how.
        unit: Unit of the metrics.
        tables: Further tables by title: the header and rows, of which the first column is text.
    """

    protocol: str
    headline: str
    weights: dict[str, Any]
    data: dict[str, Any]
    settings: dict[str, Any]
    trials: list[Trial]
    notes: list[str] = field(default_factory=list)
    device: str | None = None
    interval: tuple[float, float] | None = None
    interval_over: str = "test clips, by bootstrap"
    unit: str = "per cent"
    tables: dict[str, list[list[Any]]] = field(default_factory=dict)


def write_result(result: Result, output: Path) -> dict[str, Any]:
    """Write the files of a result, each whole or not at all, and return what ``results.json`` says.

    Raises:
        DataError: There is no trial, a trial lacks the headline, or the folder cannot be written.
    """
    output = Path(output)
    if not result.trials or any(result.headline not in trial.metrics for trial in result.trials):
        raise DataError(f"{result.protocol}: expected trials that each have the metric {result.headline!r}.")
    classes = _classes(result)
    predictions = Predictions.of(result.trials, result.headline, classes)
    found = _to_dict(result, classes, predictions)
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "results.json").unlink(missing_ok=True)
        write_whole(output / "predictions.npz", predictions.to_bytes())
        found["pictures"] = _draw(found, classes, output)
        write_whole(output / "results.md", result_page(found))
        write_whole(output / "results.json", dump_json(found) + "\n")
    except OSError as error:
        raise DataError(f"{output}: cannot write the results here ({error}). Choose another output folder.") from None
    return found


def read_results(path: Path) -> dict[str, Any]:
    """What ``results.json`` says, of a folder or of the file itself.

    Raises:
        DataError: There is none, or it is damaged, or of another format.
    """
    path = Path(path)
    path = path / "results.json" if path.is_dir() else path
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        number = found["format"]
        if number == FORMAT:
            found["headline"]["mean"], found["protocol"], found["weights"]["name"], found["data"]["name"]
    except FileNotFoundError:
        raise DataError(f"{path}: expected results of python -m mamp.evaluate, found none.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected results of an evaluation, found them damaged ({error!r}).") from None
    if number != FORMAT:
        raise DataError(f"{path}: expected format {FORMAT}, found {number!r}; evaluate again with this version.")
    return found


def _to_dict(result: Result, classes: list[str], predictions: Predictions) -> dict[str, Any]:
    """Everything that ``results.json`` says, except the names of the pictures."""
    trials = result.trials
    names = dict.fromkeys(name for trial in trials for name in trial.metrics)
    metrics = {name: _summary([trial.metrics[name] for trial in trials if name in trial.metrics]) for name in names}
    if len(trials) == 1:
        for name, own in trials[0].intervals.items():
            metrics[name]["interval"] = list(own)
    interval, values = result.interval, predictions.by_clip()
    if interval is None and values is not None:
        interval = bootstrap_interval(values[1], LEVEL)  # over the test clips, all trials' values of a clip together
    confusion = _confusion(trials, len(classes))
    return {
        "format": FORMAT,
        "protocol": result.protocol,
        "headline": {
            "metric": result.headline,
            "unit": result.unit,
            **metrics[result.headline],
            "interval": None if interval is None else list(interval),
            "level": LEVEL,
            "interval_over": None if interval is None else result.interval_over,
        },
        "metrics": metrics,
        "best": _best(trials, result.headline),
        "trials": [
            {
                "seed": trial.seed,
                "test_clips": len(trial.clips),
                "metrics": trial.metrics,
                "best": trial.best and {"chosen": BEST_EPOCH, **trial.best},
                "history": trial.history,
            }
            for trial in trials
        ],
        "weights": result.weights,
        "data": result.data,
        "settings": result.settings,
        "classes": None if confusion is None else _class_rows(confusion, classes),
        "confusion": None if confusion is None else confusion.tolist(),
        "worst_confusions": None if confusion is None else _worst(confusion, classes),
        "tables": result.tables,
        "notes": list(result.notes),
        "device": result.device,
        "environment": environment(),
        "arguments": sys.argv[1:],
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "pictures": [],
    }


def _summary(values: list[float]) -> dict[str, Any]:
    mean, deviation = mean_and_deviation(values)
    return {"mean": mean, "std": deviation, "trials": len(values)}


def _best(trials: list[Trial], headline: str) -> dict[str, Any] | None:
    """The best epochs of all trials, which are not a result, since they were chosen on the test clips."""
    found = [trial.best[headline] for trial in trials if trial.best is not None and headline in trial.best]
    return {"chosen": BEST_EPOCH, "metric": headline, **_summary(found)} if found else None


def _classes(result: Result) -> list[str]:
    """Names of the classes; their numbers where they have none."""
    given = result.data.get("classes")
    if isinstance(given, (list, tuple)):
        return [str(name) for name in given]
    numbers = [values for trial in result.trials for values in (trial.labels, trial.classes()) if values is not None]
    return [str(number) for number in range(int(np.concatenate(numbers).max()) + 1)]


def _confusion(trials: list[Trial], classes: int) -> NDArray[np.int64] | None:
    """Clips of all trials, true class by predicted class; ``None`` unless all trials predict classes."""
    pairs = [(trial.labels, trial.classes()) for trial in trials]
    if any(predicted is None for _, predicted in pairs):
        return None
    return np.sum([confusion_matrix(labels, predicted, classes) for labels, predicted in pairs], axis=0)


def _class_rows(confusion: NDArray[np.int64], classes: list[str]) -> list[dict[str, Any]]:
    """Recall, precision and number of test clips of each class, over all trials."""
    table = per_class_of(confusion)
    rows = zip(classes, table.recall.tolist(), table.precision.tolist(), table.count.tolist(), strict=True)
    return [dict(zip(("class", "recall", "precision", "count"), row, strict=True)) for row in rows]


def _worst(confusion: NDArray[np.int64], classes: list[str]) -> list[dict[str, Any]]:
    """The pairs of classes that are confused most often, by clips."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:WORST]
    return [
        {
            "class": classes[true],
            "predicted": classes[predicted],
            "clips": int(wrong[true, predicted]),
            "share": 100 * float(wrong[true, predicted] / confusion[true].sum()),
        }
        for true, predicted in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[true, predicted]
    ]


def _draw(found: dict[str, Any], classes: list[str], output: Path) -> list[str]:
    """Draw the pictures and return their names; none without matplotlib."""
    try:
        from mamp.evaluate.pictures import draw_result

        pictures = draw_result(found, classes)
    except ImportError:
        return []
    for name, content in pictures.items():
        write_whole(output / name, content)
    return list(pictures)
