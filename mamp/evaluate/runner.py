"""One evaluation from names to results: open, check, run, write; go on where a run was stopped."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mamp.errors import ConfigError, DataError
from mamp.evaluate.data import Labelled, open_labelled
from mamp.evaluate.protocol import Job, Protocol
from mamp.evaluate.registry import get_protocol
from mamp.evaluate.result import dump_json, read_results, replace_file, write_result
from mamp.evaluate.source import POSES, UNTRAINED, Source, load_source
from mamp.options import override
from mamp.train.distributed import world

RECORD = "evaluation.json"


def evaluate(
    protocol: str,
    weights: str,
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    seeds: Sequence[int] = (0,),
    *,
    split_protocol: str | None = None,
    overrides: Mapping[str, str | Sequence[str]] | None = None,
    encoder_overrides: Mapping[str, Any] | None = None,
    device: str = "auto",
    cache: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Evaluate weights on a store by a protocol.

    The same call again goes on with an evaluation that was stopped, and of one that is finished returns the results.

    Args:
        protocol: Name of the protocol; see :data:`mamp.evaluate.registry.PROTOCOLS`.
        weights: What to evaluate; see :func:`mamp.evaluate.source.load_source`.
        data: Store of labelled clips, made by ``python -m mamp.prepare``.
        output: Folder of the results.
        seeds: One trial for each.
        split_protocol: Which split of a set that has several.
        overrides: Fields of the protocol's configuration by dotted name, as words of a command line.
        encoder_overrides: Values of fields of the encoder's configuration by dotted name, for fresh weights.
        device: ``auto`` takes a GPU where there is one.
        cache: Where features are kept; ``features`` beside the output by default.
        progress: Show progress bars.

    Returns:
        What ``results.json`` says; under ``torchrun`` empty in all processes but the main one.

    Raises:
        MAMPError: Something named cannot be found, does not fit the rest, or the output holds another evaluation.
        StoppedError: A signal stopped a protocol that trains; it saved first.
    """
    chosen = get_protocol(protocol)
    config = override(chosen.config, overrides or {})
    weights, seeds, path = _weights_for(chosen, weights), _checked(seeds), Path(output)
    changed = dict(encoder_overrides or {})
    with world(device) as here:
        finished = False
        with here.together():
            if here.is_main:
                source, labelled = _open(weights, seeds[0], changed, data, split_protocol)
                finished = _claim(path, _identity(chosen, config, source, labelled), seeds, chosen.free)
        if here.sum([float(finished)])[0]:
            return read_results(path) if here.is_main else {}
        _, labelled = _open(weights, seeds[0], changed, data, split_protocol)
        kept = None if cache is None else Path(cache)
        job = Job(labelled, weights, path, seeds, config, here, progress, changed, kept)
        result = dataclasses.replace(chosen.run(job), protocol=chosen.name)
        if not here.is_main:
            return {}
        write_result(result, path)
        return read_results(path)


def _weights_for(protocol: Protocol, weights: str) -> str:
    """The weights, fresh ones where the protocol needs them."""
    if weights == POSES and not protocol.poses:
        raise ConfigError(
            f"{protocol.name}: expected weights of an encoder, found {POSES!r}; protocols on frozen "
            "features can do with poses."
        )
    fresh = weights.partition(":")[0] == UNTRAINED
    return weights if fresh or not protocol.fresh else f"{UNTRAINED}:{weights}"


def _checked(seeds: Sequence[int]) -> tuple[int, ...]:
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds: expected different whole numbers from 0 on, found {', '.join(map(str, seeds))}.")
    return tuple(seeds)


def _open(
    weights: str, seed: int, changed: dict[str, Any], data: str | os.PathLike[str], split_protocol: str | None
) -> tuple[Source, Labelled]:
    source = load_source(weights, seed, changed)
    return source, open_labelled(data, split_protocol, source.config.preprocessing.layout)


def _identity(protocol: Protocol, config: Any, source: Source, data: Labelled) -> dict[str, Any]:
    """What makes an evaluation the one it is; names of weights and data are told but not compared."""
    found = {
        "protocol": protocol.name,
        "weights": source.describe(),
        "data": data.describe(),
        "settings": dataclasses.asdict(config),
    }
    return dict(json.loads(dump_json(found)))


def _claim(output: Path, wanted: dict[str, Any], seeds: tuple[int, ...], free: tuple[str, ...]) -> bool:
    """Make the folder that of this evaluation; return whether it is finished.

    Raises:
        ConfigError: It is that of another evaluation.
        DataError: It cannot be written.
    """
    path, results = output / RECORD, output / "results.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Remove the folder, or choose another --output.") from None
    if found is None and results.exists():
        raise ConfigError(f"{output}: holds other results; choose another --output, or remove the folder.")
    if found is not None:
        different = _differences(found["evaluation"], wanted, free)
        if different:
            raise ConfigError(
                f"{output}: holds an evaluation with other settings (different: {', '.join(different)}). Choose "
                "another --output, or remove the folder to start over."
            )
        if found["seeds"] == list(seeds) and results.exists():
            return True
    try:
        output.mkdir(parents=True, exist_ok=True)
        results.unlink(missing_ok=True)
        replace_file(path, (dump_json({"evaluation": wanted, "seeds": list(seeds)}) + "\n").encode())
    except OSError as error:
        raise DataError(f"{output}: cannot write here ({error}). Choose another --output.") from None
    return False


def _differences(found: dict[str, Any], wanted: dict[str, Any], free: tuple[str, ...]) -> list[str]:
    """Dotted names of what differs, but for names and what may change on the way."""
    passed = {"weights.name", "data.name", *(f"settings.{name}" for name in free)}
    here, there = dict(_flat(wanted)), dict(_flat(found))
    missing = object()
    names = [name for name in {**here, **there} if here.get(name, missing) != there.get(name, missing)]
    return [name for name in names if not any(name == one or name.startswith(f"{one}.") for one in passed)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in values.items():
        flat += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return flat
