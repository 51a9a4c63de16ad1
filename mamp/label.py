"""``FewShotClassifier``: name what recordings show, from a few examples of each class, and say what is none of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mamp.classes import Classes, Head, fit_classes
from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError, DataError, RecordingError, WeightsError
from mamp.learnt import encoder_of, open_encoder, read_learnt, write_learnt
from mamp.rows import Part, Source, embed_each
from mamp.skeleton import Skeleton

UNKNOWN = "unknown"
NAME, WHAT = "label", "classifier"
ARRAYS = ("centre", "means", "weight", "bias")


@dataclass(frozen=True)
class Label:
    """What a recording, a person in it or a window shows.

    Attributes:
        file: Path or name of the recording.
        person: Index of the person; ``None`` for everybody.
        start: Seconds; ``None`` where the frame rate is unknown.
        end: Seconds.
        label: Name of the class, or ``"unknown"``.
        confidence: Probability of the label: of a class, given that it is one of them; of ``"unknown"``, that it is
            none.
        nearest: The likeliest class, also where the label is ``"unknown"``.
        known: Probability that it is one of the classes at all.
    """

    file: str
    person: int | None
    start: float | None
    end: float | None
    label: str
    confidence: float
    nearest: str
    known: float


class FewShotClassifier:
    """Names what recordings show, from a few examples of each class.

    >>> classifier = FewShotClassifier().fit(["walk.bvh", "run.bvh"], ["walk", "run"])
    >>> classifier.predict(["a.bvh", "b.bvh"])
    ['run', 'unknown']

    One example a class is enough, and so is one class. Whether nearest class means or a linear discriminant decides,
    how sure it is, and what is unknown is all learnt from the examples, by leaving some out (:mod:`mamp.classes`).

    Args:
        encoder: The encoder, or the name of its weights.
        head: ``"means"``, ``"discriminant"``, or ``"auto"``, the better of these on examples left out; or
            ``"logistic"`` (extra ``sklearn``).
        unknown: Call it unknown below this probability of being one of the classes at all, which supposes that as many
            recordings are of other classes as of these. 0 never does.
        batch_size: Recordings in memory at a time.
        device: Where to compute, if ``encoder`` is a name.

    Attributes:
        classes_: Names of the classes, sorted, after ``fit``.
        model_: The fitted :class:`mamp.classes.Classes`.
        counts_: Examples of each class.

    Raises:
        ConfigError: A setting makes no sense.
        WeightsError: The weights cannot be found or loaded.
    """

    classes_: list[str]
    model_: Classes
    counts_: list[int]

    def __init__(
        self,
        encoder: MAMPEncoder | str | PathLike[str] = "openmocap",
        *,
        head: Head | Literal["auto"] = "auto",
        unknown: float = 0.5,
        batch_size: int = 32,
        device: str = "cpu",
    ) -> None:
        if not isinstance(unknown, (int, float)) or not 0 <= unknown <= 1:
            raise ConfigError(f"unknown: expected a probability from 0 to 1, found {unknown!r}.")
        self.weights = None if isinstance(encoder, MAMPEncoder) else str(encoder)
        self.encoder = open_encoder(encoder, device)
        self.head, self.unknown, self.batch_size = head, float(unknown), batch_size

    def fit(self, recordings: Iterable[Source], labels: Iterable[str]) -> FewShotClassifier:
        """Learn the classes.

        Args:
            recordings: Examples: recordings or paths; any layouts and lengths.
            labels: Name of the class of each.

        Raises:
            DataError: There are no examples, not as many labels, or a class is called ``"unknown"``.
            MAMPError: An example cannot be read or embedded; the message names it.
        """
        sources, names = list(_several(recordings)), [str(label) for label in labels]
        if not sources or len(sources) != len(names):
            raise DataError(
                f"expected as many labels as recordings, at least one; found {len(names)} and {len(sources)}."
            )
        return self.fit_embeddings(np.concatenate([x for _, x in self._rows(sources)]), names)

    def fit_embeddings(self, x: NDArray[Any], labels: Sequence[str]) -> FewShotClassifier:
        """Learn the classes from embeddings [n, D] of these weights, ``encoder.encode(recordings)``.

        Raises:
            DataError: As in :meth:`fit`; or the embeddings are not of that width, or not finite.
        """
        x, names = self._checked(x), [str(label) for label in labels]
        if not len(x) or len(x) != len(names):
            raise DataError(f"expected as many labels as embeddings, at least one; found {len(names)} and {len(x)}.")
        if {UNKNOWN, ""} & set(names):
            raise DataError(f"expected names of classes, found {UNKNOWN!r} or an empty one; that is no class to learn.")
        classes, y = np.unique(names, return_inverse=True)
        model = fit_classes(x, y, self.head)
        self.classes_, self.model_, self.counts_ = classes.tolist(), model, np.bincount(y).tolist()
        return self

    def predict(self, recordings: Source | Iterable[Source]) -> list[str]:
        """Name of the class of each recording, or ``"unknown"``.

        Raises:
            MAMPError: Not fitted; or a recording cannot be read or embedded.
        """
        return [one.label for one in self.label(recordings)]

    def predict_proba(self, recordings: Source | Iterable[Source]) -> NDArray[np.float64]:
        """Probability [n, K] of each of ``classes_``, given that a recording is one of them; rows sum to 1."""
        empty = np.zeros((0, self.encoder.config.embedding_dim), np.float32)
        rows = [x for _, x in self._rows(_several(recordings))]
        return self._fitted().probabilities(np.concatenate([empty, *rows]))

    def label(
        self,
        recordings: Source | Iterable[Source],
        *,
        window: float | None = None,
        stride: float | None = None,
        people: bool = False,
    ) -> list[Label]:
        """Name what recordings show, or each of their windows and people.

        Args:
            recordings: Recordings or paths.
            window: Seconds of a window, each of which gets a label; examples should then be about as long. The whole
                recording by default.
            stride: Seconds from one window to the next; the window by default.
            people: A label for each person, as if alone; by default one for what everybody does.

        Raises:
            MAMPError: Not fitted; or a recording cannot be read or embedded.
        """
        self._fitted()
        rows = self._rows(_several(recordings), window=window, stride=stride, people=people)
        return [one for parts, x in rows for one in self.label_embeddings(parts, x)]

    def label_embeddings(self, parts: Sequence[Part], x: NDArray[Any]) -> list[Label]:
        """Labels of embeddings [n, D]; ``parts`` says what each is of."""
        model, x = self._fitted(), self._checked(x)
        probabilities, known = model.probabilities(x), model.known(x)
        found = []
        for part, row, share in zip(parts, probabilities, known.tolist(), strict=True):
            best = int(row.argmax())
            nearest, sure = self.classes_[best], share >= self.unknown
            confidence = float(row[best]) if sure else 1 - share
            found.append(Label(*part, nearest if sure else UNKNOWN, confidence, nearest, share))
        return found

    def save(self, directory: str | PathLike[str]) -> None:
        """Write ``label.json`` and ``label.safetensors`` into a folder, whole or not at all.

        The encoder is not in it: its name and its fingerprint are.

        Raises:
            WeightsError: Not fitted; the folder holds something else, or cannot be written.
        """
        model = self._fitted()
        record = {
            "classes": self.classes_,
            "examples": self.counts_,
            "weights": self.weights,
            "unknown": self.unknown,
            "head": model.head,
            "temperature": model.temperature,
            "known_at": model.known_at,
            "known_slope": model.known_slope,
            "left_out": model.left_out,
        }
        tensors = {name: torch.tensor(getattr(model, name), dtype=torch.float64) for name in ARRAYS}
        write_learnt(directory, NAME, WHAT, self.encoder, record, tensors)

    @classmethod
    def load(
        cls,
        directory: str | PathLike[str],
        encoder: MAMPEncoder | str | PathLike[str] | None = None,
        *,
        batch_size: int = 32,
        device: str = "cpu",
    ) -> FewShotClassifier:
        """Read what :meth:`save` wrote.

        Args:
            directory: The folder.
            encoder: The encoder, or the name of its weights; by default the name that the folder says.
            batch_size: Recordings in memory at a time.
            device: Where to compute.

        Raises:
            WeightsError: There is no classifier, it is damaged or of a newer version, or the encoder is another.
        """
        folder = Path(directory).expanduser()
        record, model = _read(folder)
        opened = encoder_of(folder, WHAT, record, encoder, device)
        loaded = cls(opened, unknown=record["unknown"], batch_size=batch_size)
        loaded.weights = record["weights"] if encoder is None or isinstance(encoder, MAMPEncoder) else str(encoder)
        loaded.head, loaded.model_ = model.head, model
        loaded.classes_, loaded.counts_ = record["classes"], record["examples"]
        return loaded

    def _rows(self, sources: Iterable[Source], **options: Any) -> Iterable[tuple[list[Part], NDArray[np.float32]]]:
        for _, found in embed_each(self.encoder, sources, batch_size=self.batch_size, **options):
            if isinstance(found, Exception):
                raise found
            yield found

    def _fitted(self) -> Classes:
        if not hasattr(self, "model_"):
            raise WeightsError("expected a classifier that was fitted, found one without classes; call fit first.")
        return self.model_

    def _checked(self, x: NDArray[Any]) -> NDArray[Any]:
        x, width = np.asarray(x), self.encoder.config.embedding_dim
        if x.ndim != 2 or x.shape[1] != width or not np.isfinite(x).all():
            raise DataError(f"expected finite embeddings [n, {width}] of these weights, found shape {list(x.shape)}.")
        return x


def _several(recordings: Source | Iterable[Source]) -> Iterable[Source]:
    if isinstance(recordings, Skeleton | str | PathLike):
        return [recordings]
    if not isinstance(recordings, Iterable):
        raise RecordingError(f"expected recordings or paths, found {type(recordings).__name__}.")
    return recordings


def _read(folder: Path) -> tuple[dict[str, Any], Classes]:
    """The two files of a classifier, checked against each other."""
    record, tensors = read_learnt(folder, NAME, WHAT, "FewShotClassifier.save or mamp label --save")
    try:
        arrays = {name: tensors[name].double().numpy() for name in ARRAYS}
        count, width = arrays["means"].shape
        shapes = {"centre": (width,), "means": (count, width), "weight": (count, width), "bias": (count,)}
        numbers = [float(record[name]) for name in ("temperature", "known_at", "known_slope", "unknown")]
        fits = all(arrays[name].shape == shape for name, shape in shapes.items())
        fits = fits and bool(np.isfinite(np.concatenate([*arrays.values(), numbers], axis=None)).all())
        if (
            not fits
            or numbers[0] <= 0
            or not count
            or len(record["classes"]) != count
            or len(record["examples"]) != count
        ):
            raise ValueError("sizes or values do not fit")
        facts = {name: record[name] for name in ("head", "temperature", "known_at", "known_slope", "left_out")}
        return record, Classes(**(arrays | facts))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder}: expected a classifier, found it damaged ({error!r}).") from None
