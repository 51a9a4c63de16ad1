"""``Embedder``: recordings to embeddings, in any process or machine that it is sent to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mamp.embedding import EncodeOptions
from mamp.encoder import MAMPEncoder
from mamp.errors import MAMPError
from mamp.hub import fingerprint
from mamp.inference import embed_recordings
from mamp.skeleton import Skeleton
from mamp.sources import Source


class Embedded(NamedTuple):
    """What became of one recording: an embedding, or why there is none."""

    name: str
    embedding: NDArray[np.float32] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Embedder:
    """Embeds sources with names, a batch a call. Pickling leaves weights that have a name where they are.

    Args:
        weights: Name or folder of the weights, or an encoder.
        options: Of :meth:`mamp.MAMPEncoder.encode`.
        device: Where weights that have a name are put.
        revision: Of weights on the Hub.
    """

    weights: str | MAMPEncoder = "openmocap"
    options: EncodeOptions = field(default_factory=EncodeOptions)
    device: str = "cpu"
    revision: str | None = None

    @cached_property
    def encoder(self) -> MAMPEncoder:
        """The encoder, loaded when it is used."""
        if isinstance(self.weights, MAMPEncoder):
            return self.weights
        return MAMPEncoder.from_pretrained(self.weights, revision=self.revision, device=self.device)

    @cached_property
    def fingerprint(self) -> str:
        """Of the weights."""
        return fingerprint(self.encoder)

    @cached_property
    def identity(self) -> str:
        """What the embedding of a recording depends on, beside the recording."""
        facts = asdict(self.options) | {
            "fingerprint": self.fingerprint,
            "device": self.encoder.device.type,
            "config": self.encoder.config.to_dict(),
        }
        return json.dumps(facts, sort_keys=True, default=str)

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def __call__(self, sources: Sequence[tuple[str, Source]]) -> list[Embedded]:
        """Read and embed; what fails does not keep the others from it."""
        results: dict[int, Embedded] = {}
        read: dict[int, Skeleton] = {}
        for number, (name, source) in enumerate(sources):
            try:
                read[number] = source.load()
            except (MAMPError, OSError) as error:
                results[number] = Embedded(name, error=str(error))
            except Exception as error:  # one file must not stop thousands of others
                results[number] = Embedded(name, error=f"unexpected {type(error).__name__}: {error}")
        for number, result in self._embed(read).items():
            name = sources[number][0]
            if isinstance(result, MAMPError):
                results[number] = Embedded(name, error=str(result))
            else:
                results[number] = Embedded(name, result)
        return [results[number] for number in range(len(sources))]

    def _embed(self, read: dict[int, Skeleton]) -> dict[int, NDArray[np.float32] | MAMPError]:
        """Embed recordings together; when one of them cannot be, one by one to find out which."""
        try:
            arrays = embed_recordings(self.encoder, list(read.values()), self.options)
            return dict(zip(read, arrays, strict=True))
        except MAMPError as error:
            if len(read) == 1:
                return dict.fromkeys(read, error)
            return {key: value for one in read for key, value in self._embed({one: read[one]}).items()}
