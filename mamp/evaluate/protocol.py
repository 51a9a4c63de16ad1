"""What a protocol is, and what it is given to work on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mamp.evaluate.data import Labelled
from mamp.evaluate.source import Source, load_source
from mamp.train.distributed import World

if TYPE_CHECKING:
    from mamp.evaluate.result import Result


@dataclass(frozen=True)
class Job:
    """One evaluation.

    Attributes:
        data: Clips, labels and splits.
        weights: Name of the weights, as :func:`mamp.evaluate.source.load_source` takes it.
        output: Folder of the evaluation; exists.
        seeds: Seeds of the trials, in order.
        config: The protocol's configuration.
        world: This process among those of the run.
        progress: Show progress bars.
        encoder_overrides: Fields of the encoder's configuration by dotted name, for fresh weights only.
        cache: Folder where features are kept; by default ``features`` beside the output, so that evaluations beside
            one another share them.
    """

    data: Labelled
    weights: str
    output: Path
    seeds: tuple[int, ...]
    config: Any
    world: World
    progress: bool = False
    encoder_overrides: dict[str, Any] = field(default_factory=dict)
    cache: Path | None = None

    def source(self, seed: int) -> Source:
        """The weights of a trial, on the device of this process."""
        source = load_source(self.weights, seed, self.encoder_overrides)
        if source.encoder is not None:
            source.encoder.to(self.world.device)
        return source


@dataclass(frozen=True)
class Protocol:
    """One way to evaluate.

    Attributes:
        name: What the user types.
        description: What it measures, in one or two sentences.
        source: Where it comes from.
        config: A frozen dataclass with the defaults; each field is an option of the command line.
        run: Does it. All processes call it; the result of the main one counts.
        poses: Whether it can do with normalised poses in place of an encoder.
        fresh: Whether it takes only the architecture from the weights.
        free: Fields, or groups of fields, that may change when an evaluation goes on: the result does not depend on
            them.
    """

    name: str
    description: str
    source: str
    config: Any
    run: Callable[[Job], Result]
    poses: bool = False
    fresh: bool = False
    free: tuple[str, ...] = ()
