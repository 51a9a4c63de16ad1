"""Sampling of training clips, and their crops as packed batches.

All randomness of a step derives from (seed, epoch, step) and is drawn for the whole effective batch, so a step does not
depend on the number of processes or micro-batches, and is reproduced after a restart.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mamp.config import suggest
from mamp.data.augment import COLUMNS, Augmentation, PackedBatch, column
from mamp.data.store import ClipStore
from mamp.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

# Draws shared by the two views of a clip: the crop, and mirroring, since left and right distinguish actions.
SHARED = ("length", "start", "mirror")
READ_AHEAD = 4  # batches per thread


def generator_for(*parts: int | str) -> torch.Generator:
    """CPU generator seeded with a hash of ``parts``."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def training_clips(store: ClipStore, split: str | None, protocol: str | None = None) -> Tensor:
    """Indices of the training clips; see :meth:`ClipStore.split`.

    Raises:
        DataError: There is no such split, or it is the test split of ``protocol``.
    """
    clips = store.split(split, protocol)
    if protocol is not None and split == "test":
        raise DataError(
            f"{store.path}: the split 'test' of the protocol {protocol} is not for training; take the split 'train', "
            "or name no protocol."
        )
    return torch.from_numpy(clips)


def clip_weights(store: ClipStore, by: str | None, weights: Sequence[str]) -> Tensor | None:
    """Sampling weight of each clip: that of its group times its length.

    Args:
        store: The clips.
        by: Column with the group of each clip; ``None`` samples each clip once per epoch and returns ``None``.
        weights: ``group=weight`` pairs; the default weight is 1.

    Raises:
        DataError: There is no such column.
        ConfigError: A pair is malformed, or a weight is not a finite number of at least 0.
    """
    wanted = {}
    for pair in weights:
        name, _, value = pair.partition("=")
        try:
            wanted[name] = float(value)
        except ValueError:
            raise ConfigError(f"data.weights: expected group=weight, found {pair!r}.") from None
        if not 0 <= wanted[name] < np.inf:
            raise ConfigError(f"data.weights: expected a weight of at least 0, found {pair!r}.")
    if by is None:
        return None
    if by not in store.columns:
        raise DataError(f"{store.path}: data.weight_by names the column {by!r}; it has {', '.join(store.columns)}.")
    groups = [str(group) for group in store.columns[by]]
    if unknown := sorted(wanted.keys() - set(groups)):
        logger.warning(
            "%s: no clip has the %s %s, which data.weights names.%s",
            store.path,
            by,
            ", ".join(unknown),
            suggest(unknown[0], sorted(set(groups))),
        )
    frames = store.columns["frames"].astype(np.float64)
    return torch.from_numpy(frames * np.array([wanted.get(group, 1.0) for group in groups]))


@dataclass(frozen=True)
class Shard:
    """The part of every effective batch that belongs to this process.

    Attributes:
        rank: Rank of this process.
        processes: Number of processes.
        micro_batches: Micro-batches per process and step (gradient accumulation).
    """

    rank: int = 0
    processes: int = 1
    micro_batches: int = 1

    def rows(self, batch_size: int, micro: int) -> slice:
        """Rows of the effective batch in micro-batch ``micro`` of this process."""
        size = batch_size // (self.processes * self.micro_batches)
        first = (micro * self.processes + self.rank) * size
        return slice(first, first + size)


class TrainingBatches:
    """The micro-batches of each step of one epoch; item ``i`` is step ``first_step + i``.

    Args:
        store: The clips.
        augmentation: Defines the crops.
        batch_size: Effective batch size B, over all processes and micro-batches.
        max_people: Slots for people, M.
        absent_person: Padding of free slots: ``zeros`` or ``copy``; ``none`` pads with zeros.
        seed: Seed of the run.
        epoch: Number of the epoch.
        first_step: First step to return, when resuming within the epoch.
        shard: Part of each batch to return.
        weights: [N] sampling weights, for drawing with replacement; by default each clip is drawn once.
        samples_per_epoch: Clips per epoch; the number of clips by default.
        clips: Indices of the clips to draw from; all by default.
        views: Consecutive rows of a batch that show the same crop of a clip, augmented independently.
    """

    def __init__(
        self,
        store: ClipStore,
        augmentation: Augmentation,
        batch_size: int,
        max_people: int,
        absent_person: str,
        seed: int,
        epoch: int,
        first_step: int = 0,
        shard: Shard | None = None,
        weights: Tensor | None = None,
        samples_per_epoch: int | None = None,
        clips: Tensor | None = None,
        views: int = 1,
    ) -> None:
        self.store, self.augmentation, self.batch_size, self.views = store, augmentation, batch_size, views
        self.max_people, self.absent_person = max_people, absent_person
        self.seed, self.epoch, self.first_step = seed, epoch, first_step
        self.shard = shard or Shard()
        generator = generator_for(seed, "order", epoch)
        clips = torch.arange(len(store)) if clips is None else clips
        count = samples_per_epoch or len(clips)
        if weights is None:
            rounds = range(0, count, max(len(clips), 1))
            drawn = torch.cat([torch.randperm(len(clips), generator=generator) for _ in rounds])[:count]
        else:
            if not weights[clips].any():
                raise ConfigError(f"{store.path}: all training clips have the weight 0 (data.weights).")
            drawn = torch.multinomial(weights[clips].double(), count, replacement=True, generator=generator)
        self.order = clips[drawn[: -(-count // views)]].repeat_interleave(views)
        self._frames = store.columns["frames"].astype(np.int64)
        self._people = store.columns["people"].clip(max=max_people).astype(np.int64)
        if len(self.order) < batch_size:
            raise DataError(
                f"{store.path}: an epoch of {len(self.order)} clips is smaller than one batch of {batch_size}; use a "
                "smaller batch (optim.batch_size) or more clips."
            )

    def __len__(self) -> int:
        return len(self.order) // self.batch_size - self.first_step

    def __getitem__(self, item: int) -> list[PackedBatch]:
        if not 0 <= item < len(self):
            raise IndexError(item)
        step = self.first_step + item
        clips = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        uniform = torch.rand(
            self.batch_size, len(COLUMNS), generator=generator_for(self.seed, "clip", self.epoch, step)
        )
        for name in SHARED:
            shared = column(uniform, name)
            shared.copy_(shared[:: self.views].repeat_interleave(self.views)[: self.batch_size])
        parts = [self.shard.rows(self.batch_size, micro) for micro in range(self.shard.micro_batches)]
        return [self._pack(clips[rows], uniform[rows]) for rows in parts]

    def _pack(self, clips: Tensor, uniform: Tensor) -> PackedBatch:
        index, joints = clips.numpy(), len(self.store.layout.joints)
        frames, count = self._frames[index], self._people[index, None]
        draws = (column(uniform, name).numpy() for name in ("length", "start", "speed"))
        crop_start, length = self.augmentation.crop(frames, *draws)

        slot = np.arange(self.max_people)
        recorded = slot < count
        body_length = recorded * length[:, None]
        start = (body_length.cumsum() - body_length.ravel()).reshape(recorded.shape)
        present = recorded
        if self.absent_person == "copy":
            present = recorded | (count == 1)
            start = np.where(recorded, start, start[:, :1])

        source = (self.store.columns["first_row"][index] + crop_start)[:, None] + slot * frames[:, None]
        bodies = source[recorded], body_length[recorded]
        rows = torch.empty(int(bodies[1].sum()), joints, 3)
        self.store.read_rows(*bodies, out=rows.numpy())
        confidence = None
        if self.store.has_confidence:
            confidence = torch.empty(rows.shape[:2])
            self.store.read_rows(*bodies, confidence.numpy(), "confidence.bin")
        tensor = torch.from_numpy
        return PackedBatch(rows, tensor(start), tensor(length), tensor(present), uniform, clips, confidence)

    def load(self, workers: int = 0, pin_memory: bool = False) -> Iterator[list[PackedBatch]]:
        """Iterate over the remaining steps; ``workers`` threads read ahead.

        Threads rather than processes, since a fork would duplicate the memory of the parent.
        """
        pin_memory = pin_memory and torch.cuda.is_available()

        def read(item: int) -> list[PackedBatch]:
            return [part.pin_memory() if pin_memory else part for part in self[item]]

        if not workers:
            yield from map(read, range(len(self)))
            return
        pool, ahead = ThreadPoolExecutor(workers, "clips"), deque[Future[list[PackedBatch]]]()
        try:
            for item in range(len(self)):
                ahead.append(pool.submit(read, item))
                if len(ahead) > READ_AHEAD * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
