"""Average the weights of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import torch

from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError


def average_encoders(encoders: Sequence[MAMPEncoder]) -> MAMPEncoder:
    """A new encoder without readout with the mean of the weights of several (Wortsman et al. 2022).

    Useful only for runs that started from the same weights. An encoder given twice counts twice.

    Raises:
        ConfigError: Their configurations differ.
    """
    plain = [encoder.without_readout() for encoder in encoders]
    for number, one in enumerate(plain[1:], 2):
        mine, other = (asdict(e.config.replace(pooling="mean")) for e in (plain[0], one))
        different = [f"{name} {mine[name]} and {other[name]}" for name in mine if mine[name] != other[name]]
        if different:
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
