"""What is evaluated: pretrained weights, random weights of the same architecture, or the poses themselves."""

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
        name: Name in the results; of a folder, only the last parts.
        kind: ``pretrained``, ``untrained`` (random weights of the trial's seed, without a readout, which is fitted
            after training), or ``poses`` (no encoder).
        fingerprint: Fingerprint of pretrained weights, else none.
        config: Architecture and preprocessing of the encoder; for poses, of the encoder whose preprocessing normalises
            them.
        encoder: The encoder in evaluation mode; none for poses.
    """

    name: str
    kind: Literal["pretrained", "untrained", "poses"]
    fingerprint: str | None
    config: MAMPConfig
    encoder: MAMPEncoder | None

    def describe(self) -> dict[str, Any]:
        """The weights as plain values for JSON, the same for every seed."""
        config, parameters = self.config.to_dict(), None
        if self.encoder is None:
            config = {"preprocessing": config["preprocessing"]}
        else:
            parameters = sum(value.numel() for value in self.encoder.parameters())
        facts = {"name": self.name, "kind": self.kind, "fingerprint": self.fingerprint}
        return {**facts, "parameters": parameters, "config": config}


def load_representation(weights: str, seed: int = 0, overrides: dict[str, Any] | None = None) -> Representation:
    """Load the representation that a name of weights stands for.

    Args:
        weights: Anything that :meth:`mamp.MAMPEncoder.from_pretrained` takes; ``untrained`` or ``untrained:NAME`` for
            random weights with the architecture and preprocessing of NAME; ``poses`` or ``poses:NAME`` for no encoder,
            with the preprocessing of NAME.
        seed: Seed of random weights.
        overrides: Fields of the encoder's configuration by dotted name, for random weights.

    Raises:
        WeightsError: The weights cannot be found or loaded.
        ConfigError: An override is unknown, invalid, or given for weights that are not random.
    """
    kind, _, name = weights.partition(":")
    if kind == UNTRAINED:
        config = with_values(_config_of(name or DEFAULT).without_readout(), overrides or {})
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            encoder = MAMPEncoder(config).eval()
        label = UNTRAINED if not name else f"{UNTRAINED}:{label_of(name)}"
        return Representation(label, "untrained", None, config, encoder)
    if overrides:
        raise ConfigError(
            f"encoder.{next(iter(overrides))}: the architecture of {weights!r} is fixed; only random weights can have "
            f"another one: use the weights {UNTRAINED}:{weights}, or the protocol scratch."
        )
    if kind == POSES:
        label = POSES if not name else f"{POSES}:{label_of(name)}"
        return Representation(label, "poses", None, _config_of(name or DEFAULT), None)
    encoder = MAMPEncoder.from_pretrained(weights)
    return Representation(label_of(weights), "pretrained", fingerprint(encoder), encoder.config, encoder)


def label_of(weights: str) -> str:
    """Name of weights in results: as typed, but only the last parts of an absolute path."""
    path = Path(weights)
    if not path.is_absolute():
        return weights
    parts = path.parts[1:-1] if path.name == "encoder" and len(path.parts) > 2 else path.parts[1:]
    return "/".join(parts[-2:])


def _config_of(name: str) -> MAMPConfig:
    """Configuration of weights; those with a known name need not be on this machine."""
    found = describe(name)["config"]
    return MAMPEncoder.from_pretrained(name).config if found is None else MAMPConfig.from_dict(found)


def preprocessing_of(name: str) -> Preprocessing:
    """The preprocessing that weights expect; those with a known name need not be on this machine."""
    return _config_of(name).preprocessing


def with_preprocessing(encoder: MAMPEncoder, preprocessing: Preprocessing) -> MAMPEncoder:
    """A copy of an encoder that expects another preprocessing; the layout stays the same.

    People are placed apart only if it has a readout.
    """
    apart = preprocessing.apart and encoder.config.readout_dim is not None
    wanted = dataclasses.replace(preprocessing, layout=encoder.config.preprocessing.layout, apart=apart)
    with torch.random.fork_rng(devices=[]):
        copy = MAMPEncoder(encoder.config.replace(preprocessing=wanted)).to(encoder.device, encoder.dtype)
    copy.load_state_dict(encoder.state_dict())
    return copy.train(encoder.training)
