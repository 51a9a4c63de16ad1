"""The trials of an evaluation, and ``predictions.npz``: the prediction for each test clip of each trial."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import DataError


@dataclass
class Trial:
    """One seed of a protocol.

    Attributes:
        seed: Its seed.
        clips: Names of the n test clips, each once.
        labels: [n] their classes.
        predicted: [n] predicted classes (not clusters), if the protocol predicts any.
        scores: [n, K] scores of the classes, if it has them.
        metrics: In per cent, the headline among them.
        best: ``epoch`` of the best epoch, chosen on the test clips, and its metrics.
        history: One entry an epoch: ``epoch``, ``loss``, ``top1``, ...
        values: [n] what each clip contributes to the headline, from 0 to 1, if that is not whether it was classified
            correctly but an average precision, for example. Their mean is the headline.
        intervals: Intervals of metrics that have their own (over episodes, for example), in per cent, by metric.
    """

    seed: int
    clips: list[str]
    labels: NDArray[Any]
    predicted: NDArray[Any] | None
    scores: NDArray[Any] | None
    metrics: dict[str, float]
    best: dict[str, float] | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    values: NDArray[Any] | None = None
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise unless every array has one entry for each clip."""
        for name in ("labels", "predicted", "scores", "values"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.clips):
                raise DataError(f"{name}: expected one entry for each of {len(self.clips)} clips, found {len(given)}.")

    def classes(self) -> NDArray[np.int64] | None:
        """Predicted classes [n], from the scores if they are not given."""
        if self.predicted is not None:
            return np.asarray(self.predicted, np.int64)
        return None if self.scores is None else np.asarray(self.scores).argmax(axis=1)

    def clip_values(self, headline: str) -> NDArray[np.float64] | None:
        """What each clip contributes to the headline [n], from 0 to 1; ``None`` if it is not a mean over clips."""
        if self.values is not None:
            return np.asarray(self.values, np.float64)
        predicted = self.classes()
        if headline != "top1" or predicted is None:
            return None
        return np.asarray(predicted == np.asarray(self.labels), np.float64)


@dataclass(frozen=True)
class Predictions:
    """A row for each clip of each trial, R rows in all.

    Attributes:
        seeds: [S] seed of each trial.
        classes: [K] names of the classes.
        trial: [R] number of the trial, 0 to S - 1.
        clip: [R] name of the clip.
        label: [R] its class.
        predicted: [R] predicted class, if there is one.
        scores: [R, K] scores of the classes, if there are any; float32.
        value: [R] what the clip contributes to the headline, from 0 to 1, if that is a mean over clips.
    """

    seeds: NDArray[Any]
    classes: NDArray[Any]
    trial: NDArray[Any]
    clip: NDArray[Any]
    label: NDArray[Any]
    predicted: NDArray[Any] | None = None
    scores: NDArray[Any] | None = None
    value: NDArray[Any] | None = None

    @classmethod
    def of(cls, trials: Sequence[Trial], headline: str, classes: Sequence[str]) -> Predictions:
        """Concatenate trials."""
        scores = [None if trial.scores is None else np.asarray(trial.scores, np.float32) for trial in trials]
        return cls(
            seeds=np.array([trial.seed for trial in trials], np.int64),
            classes=np.array(list(classes), np.str_),
            trial=np.repeat(np.arange(len(trials)), [len(trial.clips) for trial in trials]),
            clip=np.array([name for trial in trials for name in trial.clips], np.str_),
            label=np.concatenate([np.asarray(trial.labels, np.int64) for trial in trials]),
            predicted=_together([trial.classes() for trial in trials]),
            scores=_together(scores),
            value=_together([trial.clip_values(headline) for trial in trials]),
        )

    def to_bytes(self) -> bytes:
        """The contents of the file."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{name: array for name, array in self.__dict__.items() if array is not None})
        return buffer.getvalue()

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read the file.

        Raises:
            DataError: It is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(**{name: arrays[name] for name in arrays.files})
        except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: expected the predictions of an evaluation ({error}).") from None

    def by_clip(self) -> tuple[list[tuple[str, int]], NDArray[np.float64]] | None:
        """The clips, and what each contributes to the headline in each trial.

        Returns:
            Names of the clips in sorted order, each with the number of earlier clips of that name, and [S, n] values
            from 0 to 1, NaN if a trial does not have the clip; ``None`` if the headline is not a mean over clips.
        """
        if self.value is None:
            return None
        keys, seen = [], Counter[tuple[int, str]]()
        for trial, name in zip(self.trial.tolist(), self.clip.tolist(), strict=True):
            keys.append((name, seen[trial, name]))
            seen[trial, name] += 1
        clips = sorted(set(keys))
        place = {key: number for number, key in enumerate(clips)}
        values = np.full((len(self.seeds), len(clips)), np.nan)
        values[self.trial, [place[key] for key in keys]] = self.value
        return clips, values


def _together(parts: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """Concatenated arrays, if every trial has one."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None
