"""The processes of a run: a single one, or those started by ``torchrun``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from mamp.errors import MAMPError, TrainingError

_T = TypeVar("_T")


class OtherProcessError(TrainingError):
    """Another process of the run failed; its own message says why."""


@dataclass(frozen=True)
class World:
    """Rank and device of this process, and the number of processes."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """Sum values over all processes."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def gather(self, items: list[_T]) -> list[_T]:
        """Concatenate the items of all processes."""
        if self.size == 1:
            return items
        found: list[list[_T]] = [[] for _ in range(self.size)]
        dist.all_gather_object(found, items)
        return [item for part in found for item in part]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Wait for all processes at the end; a :class:`MAMPError` in one of them raises in all."""
        failure: MAMPError | None = None
        try:
            yield
        except MAMPError as error:
            failure = error
        failed = self.sum([float(failure is not None)])[0]
        if failure is not None:
            raise failure
        if failed:
            raise OtherProcessError("another process of this run failed; its message says why.")


@contextmanager
def world(device: str) -> Iterator[World]:
    """Join the processes of ``torchrun`` (gloo on CPUs, NCCL on GPUs), if any."""
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    if size == 1 or dist.is_initialized():  # the caller may have joined already
        yield World(rank, size, torch.device(device))
        return
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield World(rank, size, torch.device(device))
    finally:
        time.sleep(0.1)  # torch 2.4 joins threads of gloo while it keeps them from letting go of their last tensors
        dist.destroy_process_group()
