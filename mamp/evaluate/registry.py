"""The protocols by name."""

from __future__ import annotations

from mamp.config import suggest
from mamp.errors import ConfigError
from mamp.evaluate import cluster, ensemble, fewshot, finetune, forecast, frozen, knn, linear, segment
from mamp.evaluate.protocol import Protocol

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        linear.PROTOCOL,
        frozen.PROTOCOL,
        *finetune.PROTOCOLS,
        knn.PROTOCOL,
        fewshot.PROTOCOL,
        cluster.PROTOCOL,
        segment.PROTOCOL,
        ensemble.PROTOCOL,
        forecast.PROTOCOL,
    )
}


def get_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        ConfigError: There is none.
    """
    if name not in PROTOCOLS:
        raise ConfigError(
            f"unknown protocol {name!r}.{suggest(name, list(PROTOCOLS))} The protocols are {', '.join(PROTOCOLS)}."
        )
    return PROTOCOLS[name]
