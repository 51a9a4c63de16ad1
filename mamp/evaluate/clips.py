"""Test clips with the preprocessing that the weights expect, each given to exactly one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mamp.classifier import prepare_batch
from mamp.config import MAMPConfig
from mamp.data import ClipStore
from mamp.train.distributed import World

KEPT_BYTES = 1 << 30  # of clips kept between evaluations; more are prepared again each time


@dataclass
class Prepared:
    """Some clips.

    Attributes:
        place: [b] their indices among all clips.
        x: [b, M, T, V, C].
        present: [b, M] whether a person is present, if only those count.
    """

    place: NDArray[np.int64]
    x: Tensor
    present: Tensor | None


class PreparedClips:
    """Clips of a store with the preprocessing that an encoder expects, cropped in the middle, not augmented.

    Args:
        store: The clips.
        clips: [n] indices of the clips.
        config: Configuration of the encoder.
        world: The processes; each takes every ``world.size``-th clip.
        batch: Clips in a batch.
    """

    def __init__(
        self, store: ClipStore, clips: NDArray[np.int64], config: MAMPConfig, world: World, batch: int
    ) -> None:
        self.store, self.clips, self.config, self.world, self.batch = store, clips, config, world, batch
        people = config.preprocessing.max_people or int(store.columns["people"].max())
        size = 4 * people * config.num_frames * config.num_joints * config.dim_in
        self.keeps = size * len(clips) <= KEPT_BYTES * world.size
        self.kept: list[Prepared] = []

    def __iter__(self) -> Iterator[Prepared]:
        if self.kept:
            yield from self.kept
            return
        mine = np.arange(len(self.clips))[self.world.rank :: self.world.size]
        ready = []
        for first in range(0, len(mine), self.batch):
            part = self.prepare(mine[first : first + self.batch])
            ready += [part] if self.keeps else []
            yield part
        self.kept = ready

    def prepare(self, place: NDArray[np.int64]) -> Prepared:
        """Read and preprocess some clips; absent people are zeros."""
        x, present = prepare_batch([self.store.recording(int(clip)) for clip in self.clips[place]], self.config)
        return Prepared(place, x, present)

    def map(self, function: Callable[[Tensor, Tensor | None], Tensor]) -> NDArray[np.float32]:
        """Rows [n, F] of a function of clips, for all clips on all processes."""
        device = self.world.device
        rows = []
        with torch.no_grad():
            for part in self:
                present = None if part.present is None else part.present.to(device)
                rows.append((part.place, function(part.x.to(device), present).float().cpu().numpy()))
        rows = self.world.gather(rows)
        place, values = (np.concatenate([row[i] for row in rows]) for i in (0, 1))
        result = np.empty_like(values)
        result[place] = values
        return result
