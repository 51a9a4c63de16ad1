"""What is evaluated: pretrained weights, fresh weights of the same architecture, or the poses themselves."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from mamp.config import MAMPConfig, Preprocessing
from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError
from mamp.hub import describe, fingerprint
from mamp.options import with_values

POSES, UNTRAINED = "poses", "untrained"
DEFAULT = "openmocap"


@dataclass(frozen=True)
class Representation:
    """What turns clips into features.

    Attributes:
        name: What results call it; of a folder, no more than its last parts.
        kind: ``pretrained``, ``untrained`` (fresh weights of the trial's seed, without a readout, which is nothing that
            one can have without training), or ``poses`` (no encoder).
        fingerprint: Of pretrained weights; none for the others.
        config: Architecture of the encoder, and what it expects of its input. For poses, of the encoder with whose
            preprocessing they are normalised.
        encoder: The encoder, in evaluation mode; none for poses.
    """

    name: str
    kind: Literal["pretrained", "untrained", "poses"]
    fingerprint: str | None
    config: MAMPConfig
    encoder: MAMPEncoder | None

    def describe(self) -> dict[str, Any]:
        """What the results say of the weights: plain values, fit for JSON, the same for every seed."""
        encoder = self.encoder
        return {
            "name": self.name,
            "kind": self.kind,
            "fingerprint": self.fingerprint,
            "parameters": None if encoder is None else sum(value.numel() for value in encoder.parameters()),
            "config": {"preprocessing": self.config.to_dict()["preprocessing"]}
            if encoder is None
            else self.config.to_dict(),
        }


def load_representation(weights: str, seed: int = 0, overrides: dict[str, Any] | None = None) -> Representation:
    """Find what a name of weights stands for.

    Args:
        weights: Anything that :meth:`mamp.MAMPEncoder.from_pretrained` takes; ``untrained`` or ``untrained:NAME`` for
            fresh weights with the architecture and preprocessing of NAME; ``poses`` for no encoder.
        seed: Seed of fresh weights.
        overrides: Fields of the encoder's configuration by dotted name, for fresh weights.

    Raises:
        WeightsError: The weights cannot be found or loaded.
        ConfigError: An override is unknown, impossible, or given for weights that are not fresh.
    """
    kind, _, name = weights.partition(":")
    if kind == UNTRAINED:
        config = with_values(_config_of(name or DEFAULT).replace(readout_dim=None), overrides or {})
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            encoder = MAMPEncoder(config).eval()
        label = UNTRAINED if not name else f"{UNTRAINED}:{label_of(name)}"
        return Representation(label, "untrained", None, config, encoder)
    if overrides:
        raise ConfigError(
            f"encoder.{next(iter(overrides))}: the architecture of {weights!r} is given; only fresh weights can have "
            f"another one: the weights {UNTRAINED}:{weights}, or the protocol scratch."
        )
    if weights == POSES:
        return Representation(POSES, "poses", None, _config_of(DEFAULT), None)
    encoder = MAMPEncoder.from_pretrained(weights)
    return Representation(label_of(weights), "pretrained", fingerprint(encoder), encoder.config, encoder)


def label_of(weights: str) -> str:
    """Name of weights in results: as typed, but of a folder with an absolute path only the last parts."""
    path = Path(weights)
    if not path.is_absolute():
        return weights
    parts = path.parts[1:-1] if path.name == "encoder" and len(path.parts) > 2 else path.parts[1:]
    return "/".join(parts[-2:])


def _config_of(name: str) -> MAMPConfig:
    """Architecture and preprocessing of weights, which need not be on this machine when their name is known."""
    found = describe(name)["config"]
    return MAMPEncoder.from_pretrained(name).config if found is None else MAMPConfig.from_dict(found)


def preprocessing_of(name: str) -> Preprocessing:
    """The preprocessing that weights expect, which need not be on this machine when their name is known."""
    return _config_of(name).preprocessing


def with_preprocessing(encoder: MAMPEncoder, preprocessing: Preprocessing) -> MAMPEncoder:
    """A copy of an encoder that expects clips which are preprocessed otherwise; the layout stays."""
    wanted = dataclasses.replace(preprocessing, layout=encoder.config.preprocessing.layout)
    with torch.random.fork_rng(devices=[]):
        copy = MAMPEncoder(encoder.config.replace(preprocessing=wanted)).to(encoder.device, encoder.dtype)
    copy.load_state_dict(encoder.state_dict())
    return copy.train(encoder.training)
