"""``MAMPClassifier``: predict the action of recordings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mamp.config import MAMPConfig
from mamp.encoder import MAMPEncoder
from mamp.errors import RecordingError, WeightsError
from mamp.heads import Classifier, Head
from mamp.hub import resolve_files
from mamp.hub.heads import HEAD_NAME, read_head, save_classifier
from mamp.hub.paths import local_path
from mamp.preprocessing import prepare_clip
from mamp.readers.ntu import CLASSES as NTU_CLASSES
from mamp.readers.pku import CLASSES as PKU_CLASSES
from mamp.skeleton import Skeleton


class Prediction(NamedTuple):
    """Prediction for N recordings; without the first axis for a single one.

    Attributes:
        labels: [N] names of the most likely classes.
        probabilities: [N, K] float32; rows sum to 1.
    """

    labels: list[str] | str
    probabilities: NDArray[np.float32]


class MAMPClassifier(Classifier):
    """Pretrained encoder with the head of a linear probe or of fine-tuning.

    ``classifier(x)`` maps a tensor of normalised clips [B, M, T, V, C] to logits [B, K]; ``classifier.predict`` maps
    recordings to labels and probabilities, including preprocessing.

    Args:
        config: Architecture and preprocessing of the encoder.
        head: The head.
        classes: [K] names of the classes.
    """

    def __init__(self, config: MAMPConfig, head: Head, classes: Sequence[str]) -> None:
        super().__init__(config, head)
        self.classes = tuple(classes)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | PathLike[str],
        *,
        revision: str | None = None,
        device: str | torch.device = "cpu",
    ) -> MAMPClassifier:
        """Load a classifier, in evaluation mode.

        Args:
            name_or_path: Folder written by ``python -m mamp.evaluate finetune`` or ``linear`` (``seed=N/classifier``,
                or the folder of results if it has one seed), by :meth:`save_pretrained`, or by ``mamp convert`` from a
                published linear or fine-tuned checkpoint.
            revision: Revision of named weights.
            device: Device of the weights.

        Raises:
            WeightsError: There is no classifier, or its files do not match.
        """
        folder = _folder(local_path(name_or_path, "name_or_path"), name_or_path, revision)
        encoder = MAMPEncoder.from_pretrained(folder, device=device)
        head, record = read_head(folder, encoder.config)
        with torch.random.fork_rng(devices=[]):
            found = cls(encoder.config, head, _class_names(record, head.num_classes))
        found.load_state_dict(encoder.state_dict() | {f"head.{name}": x for name, x in head.state_dict().items()})
        return found.to(encoder.device).eval()

    def save_pretrained(self, directory: str | PathLike[str]) -> None:
        """Write encoder, head and class names for :meth:`from_pretrained`; ``MAMPEncoder`` loads the encoder."""
        save_classifier(self.encoder(), self.head, directory, self.classes)

    def encoder(self) -> MAMPEncoder:
        """A copy of the encoder."""
        with torch.random.fork_rng(devices=[]):
            encoder = MAMPEncoder(self.config).to(self.temp_embed.device, self.temp_embed.dtype)
        state = self.state_dict()
        encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
        return encoder.eval()

    def predict(self, recordings: Skeleton | Iterable[Skeleton], *, batch_size: int = 32) -> Prediction:
        """Predict the actions of recordings of any length and layout.

        As in the published test protocols, one clip from the middle of each recording is classified.

        Args:
            recordings: A recording, or an iterable of them.
            batch_size: Number of recordings held at a time.

        Raises:
            RecordingError: A recording is empty.
            LayoutError: A recording cannot be converted to the joints of the model.
        """
        if isinstance(recordings, Skeleton):
            labels, probabilities = self.predict([recordings], batch_size=batch_size)
            return Prediction(labels[0], probabilities[0])
        was_training = self.training
        self.eval()
        try:
            parts = [np.zeros((0, len(self.classes)), np.float32), *self._probabilities(recordings, batch_size)]
        finally:
            self.train(was_training)
        probabilities = np.concatenate(parts)
        return Prediction([self.classes[k] for k in probabilities.argmax(axis=1)], probabilities)

    @torch.no_grad()
    def _probabilities(self, recordings: Iterable[Skeleton], batch_size: int) -> Iterator[NDArray[np.float32]]:
        coming, device = iter(recordings), self.temp_embed.device
        while batch := list(islice(coming, batch_size)):
            x, present = prepare_batch(batch, self.config)
            scores = self(x.to(device), None if present is None else present.to(device))
            yield scores.float().softmax(dim=1).cpu().numpy()


def prepare_batch(recordings: Sequence[Skeleton], config: MAMPConfig) -> tuple[Tensor, Tensor | None]:
    """Test clips [B, M, T, V, C], padded with zeros, and who is present [B, M] if only those people count."""
    expected = config.preprocessing
    for recording in recordings:
        if not isinstance(recording, Skeleton):
            raise RecordingError(
                f"expected a mamp.Skeleton, found {type(recording).__name__}. Read files with mamp.load(path)."
            )
    found = [torch.from_numpy(prepare_clip(recording, expected, config.num_frames)[0]) for recording in recordings]
    x = torch.nn.utils.rnn.pad_sequence(found, batch_first=True)
    if expected.absent_person != "none":
        return x, None
    count = torch.tensor([len(clip) for clip in found])
    return x, torch.arange(x.shape[1]) < count[:, None]


def _folder(path: Path, name: str | PathLike[str], revision: str | None) -> Path:
    """Find the folder with ``head.json``, or else that of the encoder."""
    places = [path, path / "classifier", *sorted(path.glob("seed=*/classifier"))]
    known = [place for place in places if (place / HEAD_NAME).is_file()]
    if len(known) > 1 and known[0] != path:
        raise WeightsError(f"{path}: expected one classifier, found several: {', '.join(map(str, known))}. Name one.")
    return known[0] if known else resolve_files(name, revision=revision).config.parent


def _class_names(record: dict[str, Any], count: int) -> list[str]:
    """Names of the classes from ``head.json`` or the data set it names; numbers for outputs without a name.

    Published heads can have more outputs than classes: 60 for the 51 of PKU-MMD.
    """
    data = str(record.get("data") or "")
    known = NTU_CLASSES if data.startswith("ntu") else PKU_CLASSES if data.startswith("pku") else ()
    names = record.get("classes") or known[:count]
    return [str(names[k]) if k < len(names) else str(k) for k in range(count)]
