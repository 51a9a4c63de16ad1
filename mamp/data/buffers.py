"""Memory that serves one batch after another.

A fresh array of some megabytes costs more than what is written into it: the system hands its pages out one fault at a
time, and takes them back when the array goes.
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


class Buffers:
    """Float tensors of about the same size whose memory is used again.

    Memory is free when nothing holds the tensor made of it any more, nor a view of it, nor a graph of autograd. So a
    tensor may be kept as long as one likes, and is never written to by another batch.

    Args:
        keep: How many free buffers to keep.
        slack: How much larger than asked for a buffer is made, so that a batch a little larger finds room in it.
    """

    def __init__(self, keep: int = 3, slack: float = 1.25) -> None:
        self.keep, self.slack = keep, slack
        self._free: deque[NDArray[Any]] = deque(maxlen=keep)

    def __reduce__(self) -> tuple[Any, ...]:
        return Buffers, (self.keep, self.slack)  # memory stays in its process

    def take(self, *shape: int) -> Tensor:
        """A tensor of this shape on the CPU, float32, of arbitrary content."""
        size = math.prod(shape)
        try:
            memory = self._free.pop()
        except IndexError:
            memory = None
        if memory is None or len(memory) < size:
            memory = torch.empty(math.ceil(size * self.slack), dtype=torch.float32).numpy()
        handed_out = memory[:size]  # an array that only the tensor's storage holds
        weakref.finalize(handed_out, self._free.append, memory).atexit = False
        return torch.from_numpy(handed_out).view(shape)
