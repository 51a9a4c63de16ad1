"""Average the weights of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import torch

from mamp.config import MAMPConfig
from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError


def average_encoders(encoders: Sequence[MAMPEncoder], readout: bool = False) -> MAMPEncoder:
    """A new encoder with the mean of the weights of several (Wortsman et al. 2022), configured as the first of them.

    Useful only for runs that started from the same weights. An encoder given twice counts twice.

    Args:
        encoders: The encoders.
        readout: Average their readouts, too, which suits encoders that learnt to give the same embeddings; without it
            the result has none.

    Raises:
        ConfigError: Their configurations differ, other than in how people are placed, and without readouts in pooling.
    """
    plain = list(encoders) if readout else [encoder.without_readout() for encoder in encoders]
    for number, one in enumerate(plain[1:], 2):
        if different := differences(plain[0].config, one.config):
            raise ConfigError(
                f"average: weights {number} cannot be averaged with the first ones, which have another "
                f"{'; '.join(different)}. Average runs that went on from the same weights."
            )
    states = [one.state_dict() for one in plain]
    mean = {
        name: torch.stack([s[name].to(value).double() for s in states]).mean(0) for name, value in states[0].items()
    }
    with torch.random.fork_rng(devices=[]):
        result = MAMPEncoder(plain[0].config).to(plain[0].device, plain[0].dtype)
    result.load_state_dict(mean)
    return result.eval()


def differences(first: MAMPConfig, other: MAMPConfig) -> list[str]:
    """The fields, with both values, whose difference forbids to average the weights of two encoders."""
    mine, theirs = (asdict(_that_matters(config)) for config in (first, other))
    return [f"{name} {mine[name]} and {theirs[name]}" for name in mine if mine[name] != theirs[name]]


def _that_matters(config: MAMPConfig) -> MAMPConfig:
    """A configuration without what weights do not depend on; readouts depend on the pooling."""
    pooling = "mean" if config.readout_dim is None else config.pooling
    return config.replace(pooling=pooling, preprocessing=replace(config.preprocessing, apart=False))
