"""What a protocol is, and what it is given to work on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mamp.evaluate.data import Labelled, open_labelled
from mamp.evaluate.predictions import Trial
from mamp.evaluate.representation import Representation, load_representation
from mamp.evaluate.result import Result
from mamp.train.distributed import World


@dataclass(frozen=True)
class Job:
    """One evaluation.

    Attributes:
        data: Clips, labels and splits.
        weights: Name of the weights, for :func:`mamp.evaluate.representation.load_representation`.
        output: Folder of the evaluation, which exists.
        seeds: Seeds of the trials, in order.
        config: The protocol's configuration.
        world: This process among those of the run.
        progress: Show progress bars.
        encoder_overrides: Fields of the encoder's configuration by dotted name, for fresh weights only.
        cache: Folder where features are kept; by default ``features`` beside the output, so that evaluations in one
            folder share them.
        opened: The representation of the first seed, if it is loaded already.
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
    opened: Representation | None = None

    def representation(self, seed: int) -> Representation:
        """What a trial evaluates, on the device of this process; weights that do not depend on the seed load once."""
        found = self.opened
        if found is None or (found.kind == "untrained" and seed != self.seeds[0]):
            found = load_representation(self.weights, seed, self.encoder_overrides)
        if found.encoder is not None:
            found.encoder.to(self.world.device)
        return found

    def result(
        self, headline: str, source: Representation, trials: list[Trial], notes: list[str], **settings: Any
    ) -> Result:
        """What the protocol found; the runner gives it the name of the protocol."""
        told = {**dataclasses.asdict(self.config), **settings}
        device = str(self.world.device)
        return Result("", headline, source.describe(), self.data.describe(), told, trials, notes, device)


@dataclass(frozen=True)
class Protocol:
    """One way to evaluate.

    Attributes:
        name: What the user types.
        description: What it measures, in one or two sentences.
        source: Where it comes from.
        config: A frozen dataclass with the defaults; each field is an option of the command line.
        run: Runs it. All processes call it; the result of the main one counts.
        poses: Whether it also works on normalised poses, without an encoder.
        fresh: Whether it takes only the architecture from the weights.
        free: Fields, or groups of fields, that may change when an evaluation resumes, since the result does not depend
            on them.
        open: Opens the store, from its path, the name of the split and the layout that the weights expect.
    """

    name: str
    description: str
    source: str
    config: Any
    run: Callable[[Job], Result]
    poses: bool = False
    fresh: bool = False
    free: tuple[str, ...] = ()
    open: Callable[[str | os.PathLike[str], str | None, str], Labelled] = open_labelled
