"""One evaluation from names to results: open, check, run and write; a stopped evaluation is resumed."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mamp.errors import ConfigError, DataError
from mamp.evaluate.data import Labelled
from mamp.evaluate.protocol import Job, Protocol
from mamp.evaluate.recipes import get_evaluation_recipe
from mamp.evaluate.registry import get_protocol
from mamp.evaluate.representation import POSES, UNTRAINED, Representation, load_representation
from mamp.evaluate.result import read_results, write_result
from mamp.evaluate.settings import changed_settings
from mamp.options import override
from mamp.outputs import claim, dump_json, one_writer, plain, write_whole
from mamp.train.distributed import world

RECORD = "evaluation.json"


def evaluate(
    protocol: str,
    weights: str,
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    seeds: Sequence[int] | None = None,
    *,
    recipe: str | None = None,
    split_protocol: str | None = None,
    overrides: Mapping[str, str | Sequence[str]] | None = None,
    encoder_overrides: Mapping[str, Any] | None = None,
    device: str = "auto",
    cache: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Evaluate weights on a store by a protocol.

    Repeating the call resumes an evaluation that was stopped, and returns the results of one that is finished.

    Args:
        protocol: Name of the protocol; see :data:`mamp.evaluate.registry.PROTOCOLS`.
        weights: What to evaluate; see :func:`mamp.evaluate.representation.load_representation`.
        data: Store of labelled clips, made by ``python -m mamp.prepare``.
        output: Folder of the results.
        seeds: One trial for each; 0 by default, or those of the recipe.
        recipe: Name of the published settings for a data set and split; see :data:`mamp.evaluate.recipes.RECIPES`.
        split_protocol: The split to use, if the set has several; that of the recipe by default.
        overrides: Fields of the protocol's configuration by dotted name, as on the command line.
        encoder_overrides: Fields of the encoder's configuration by dotted name, for random weights.
        device: ``auto`` takes a GPU if there is one.
        cache: Folder for features; ``features`` beside the output by default.
        progress: Show progress bars.

    Returns:
        The contents of ``results.json``; under ``torchrun``, empty in all processes but the main one.

    Raises:
        MAMPError: Something cannot be found or does not fit the rest, or the output holds another evaluation.
        StoppedError: A signal stopped a protocol that trains, after a checkpoint.
    """
    chosen = get_protocol(protocol)
    published = None if recipe is None else get_evaluation_recipe(recipe, protocol)
    notes: list[str] = []
    if published is not None:
        overrides = {**published.settings[protocol], **(overrides or {})}
        seeds = seeds or published.seeds.get(protocol)
        split_protocol = split_protocol or published.split
        notes = [f"Settings of the published runs on {published.dataset} (recipe {published.name})."]
        notes += [published.notes[protocol]] if protocol in published.notes else []
    config = override(chosen.config, overrides or {})
    weights, path = _weights_for(chosen, weights), Path(output)
    seeds = _checked((0,) if seeds is None else seeds)
    changed = dict(encoder_overrides or {})
    with world(device) as here, ExitStack() as held:
        opened, finished = None, False
        with here.together():
            if here.is_main:
                opened = _open(chosen, weights, seeds[0], changed, data, split_protocol)
                held.enter_context(one_writer(path, "evaluation", ConfigError))
                finished = _claim(path, _identity(chosen, config, *opened), seeds, chosen.free)
        if here.sum([float(finished)])[0]:
            return read_results(path) if here.is_main else {}
        representation, labelled = opened or _open(chosen, weights, seeds[0], changed, data, split_protocol)
        kept = None if cache is None else Path(cache)
        job = Job(labelled, weights, path, seeds, config, here, progress, changed, kept, representation)
        result = chosen.run(job)
        result = dataclasses.replace(result, protocol=chosen.name, notes=[*notes, *result.notes])
        if not here.is_main:
            return {}
        write_result(result, path)
        return read_results(path)


def _weights_for(protocol: Protocol, weights: str) -> str:
    """The weights, or random ones if the protocol needs them."""
    if weights.partition(":")[0] == POSES and not protocol.poses:
        raise ConfigError(
            f"{protocol.name}: expected weights of an encoder, found {POSES!r}; only protocols on frozen features take "
            "poses."
        )
    fresh = weights.partition(":")[0] == UNTRAINED
    return weights if fresh or not protocol.fresh else f"{UNTRAINED}:{weights}"


def _checked(seeds: Sequence[int]) -> tuple[int, ...]:
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds: expected different whole numbers from 0 on, found {', '.join(map(str, seeds))}.")
    return tuple(seeds)


def _open(
    protocol: Protocol,
    weights: str,
    seed: int,
    changed: dict[str, Any],
    data: str | os.PathLike[str],
    split_protocol: str | None,
) -> tuple[Representation, Labelled]:
    source = load_representation(weights, seed, changed)
    return source, protocol.open(data, split_protocol, source.config.preprocessing.layout)


def _identity(protocol: Protocol, config: Any, source: Representation, data: Labelled) -> dict[str, Any]:
    """What identifies an evaluation; the names of weights and data are written but not compared."""
    facts = {"protocol": protocol.name, "weights": source.describe(), "data": data.describe()}
    return dict(plain({**facts, "settings": dataclasses.asdict(config)}))


def _claim(output: Path, wanted: dict[str, Any], seeds: tuple[int, ...], free: tuple[str, ...]) -> bool:
    """Claim the folder for this evaluation; return whether the evaluation is finished.

    Raises:
        ConfigError: It holds another evaluation.
        DataError: It cannot be read or written.
    """
    path, results = output / RECORD, output / "results.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Remove the folder, or choose another output folder."
        ) from None
    if found is None and results.exists():
        raise ConfigError(f"{output}: holds other results. Choose another output folder, or remove this one.")
    facts = {"evaluation": wanted, "seeds": list(seeds)}
    free_fields = ("weights.name", "data.name", *(f"settings.{name}" for name in free))
    evaluation = None if found is None else found["evaluation"]
    different = [] if found is None else changed_settings(found["evaluation"], wanted, free_fields)
    claim(path, facts, evaluation, different, "evaluation", ConfigError)
    if found is None or (found["seeds"] == facts["seeds"] and results.exists()):
        return found is not None
    try:
        results.unlink(missing_ok=True)
        write_whole(path, dump_json(facts) + "\n")
    except OSError as error:
        raise DataError(f"{output}: cannot write here ({error}). Choose another output folder.") from None
    return False
